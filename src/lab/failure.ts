/** A lab's errors as the command line reports them. */
import { CommandFailure, type ReportedProblem } from "../edge/cli/failure.ts";
import { LabError, type LabErrorInfo } from "./errors.ts";

const codes: Readonly<Record<LabErrorInfo["code"], ReportedProblem["code"]>> = {
  exists: "already-exists",
  "no-lab": "not-found",
  "no-machine": "not-found",
  "machine-state": "conflict",
  "agent-state": "conflict",
  "command-failed": "internal",
  "agent-failed": "internal",
  unsuitable: "unsupported",
  timeout: "timeout",
};

/** Runs the command; what a lab throws becomes a failure with its code and next step. */
export async function reportLabErrors(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof LabError)) throw error;
    throw new CommandFailure({
      code: codes[error.info.code],
      message: error.message,
      ...(error.next === undefined ? {} : { next: error.next }),
    });
  }
}
