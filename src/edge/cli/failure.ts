/** How commands end when they do not succeed, and how that is told. */
import { ProblemError, type Problem } from "../../model/problem.ts";
import { AgentUnreachable, Interrupted } from "../client/failures.ts";

/** Part of the CLI's contract (docs/guide/cli.md). `exec` ends with the command's own code instead of 0. */
export const exitCodes = {
  ok: 0,
  refused: 1,
  usage: 2,
  unreachable: 3,
  timeout: 4,
  /** `plan`: apply would change something. */
  changes: 5,
  /** 128 + SIGINT: what was waited for had not come when the caller gave up. */
  interrupted: 130,
  /** Nobody reads the output any more: 128 + SIGPIPE, as other programs end then. */
  brokenPipe: 141,
} as const;

/** A problem as commands report it: the agent's codes, and three of the command line's own. */
export type ReportedProblem = Omit<Problem, "code"> & {
  readonly code: Problem["code"] | "usage" | "timeout" | "interrupted";
};

/** A failure of the command line itself rather than of the agent. */
export class CommandFailure extends Error {
  override readonly name = "CommandFailure";
  readonly problem: ReportedProblem;
  constructor(problem: ReportedProblem) {
    super(problem.message);
    this.problem = problem;
  }
}

export function usageFailure(message: string, next?: string): CommandFailure {
  return new CommandFailure({ code: "usage", message, ...(next === undefined ? {} : { next }) });
}

export function reportOf(error: unknown): { readonly problem: ReportedProblem; readonly exitCode: number } {
  if (error instanceof AgentUnreachable) return { problem: error.problem, exitCode: exitCodes.unreachable };
  if (error instanceof Interrupted) {
    const next = "what was asked for may have been done all the same: muster ps shows it";
    return {
      problem: { code: "interrupted", message: error.message, next },
      exitCode: exitCodes.interrupted,
    };
  }
  if (error instanceof ProblemError) return { problem: error.problem, exitCode: exitCodes.refused };
  if (error instanceof CommandFailure) {
    const { code } = error.problem;
    return {
      problem: error.problem,
      exitCode:
        code === "usage" || code === "timeout" || code === "interrupted"
          ? exitCodes[code]
          : exitCodes.refused,
    };
  }
  return {
    problem: { code: "internal", message: messageOf(error) },
    exitCode: exitCodes.refused,
  };
}

/** A system's refusal speaks for itself; anything else is a bug, and its trace says where. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "code" in error ? error.message : (error.stack ?? error.message);
}

/** The problem, its places one a line, and what to do next. */
export function formatProblem(problem: ReportedProblem): string {
  const lines = [`muster: ${problem.message}`];
  for (const place of problem.places ?? []) {
    const where = [place.file, place.line, place.column].filter((part) => part !== undefined).join(":");
    const parts = [where, place.path ?? ""].filter((part) => part !== "");
    lines.push(`  ${[...parts, place.message].join(": ")}`);
  }
  if (problem.next !== undefined) lines.push(`next: ${problem.next}`);
  return `${lines.join("\n")}\n`;
}
