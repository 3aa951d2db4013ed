/** One command line from start to end; what it returns is the code the process ends with. */
import { CommanderError } from "commander";
import type { CliContext } from "./console.ts";
import { exitCodes, formatProblem, reportOf, usageFailure } from "./failure.ts";
import { createProgram } from "./program.ts";

export async function runCli(argv: readonly string[], context: CliContext): Promise<number> {
  let out = "";
  let complaint = "";
  try {
    const program = await createProgram(argv, context, {
      out: (text) => (out += text),
      error: (text) => (complaint += text),
    });
    await program.parseAsync(argv, { from: "user" });
    return context.exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) {
      await context.console.write(out);
      return exitCodes.ok;
    }
    if (error instanceof Error && "code" in error && error.code === "EPIPE") return exitCodes.brokenPipe;
    const cause = error instanceof CommanderError ? usageOf(error, complaint) : error;
    const { problem, exitCode } = reportOf(cause);
    const end = argv.indexOf("--");
    const json = (end < 0 ? argv : argv.slice(0, end)).includes("--json");
    await context.console.complain(json ? `${JSON.stringify({ problem })}\n` : formatProblem(problem));
    return exitCode;
  }
}

/** Commander prints its help in place of an error when a command is missing. */
function usageOf(error: CommanderError, complaint: string): Error {
  if (error.code === "commander.help") return usageFailure(`no command given\n\n${complaint.trimEnd()}`);
  const [message = error.message] = complaint.trim().split("\n\n");
  return usageFailure(
    message.replace(/^error: /, "").replaceAll("\n", " "),
    "add --help to see what it takes",
  );
}
