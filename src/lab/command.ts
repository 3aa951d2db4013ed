/** Runs the system's own tools (ip, nft, nsenter) with argument arrays, never through a shell. */
import { LabError } from "./errors.ts";

export interface CommandOptions {
  readonly input?: string;
  /** Failure is an answer, not an error: the result is undefined then. */
  readonly mayFail?: boolean;
}

/** Standard output of the command; LabError `command-failed` when it exits with another code than 0. */
export async function command(
  args: readonly string[],
  options: CommandOptions & { readonly mayFail: true },
): Promise<string | undefined>;
export async function command(args: readonly string[], options?: CommandOptions): Promise<string>;
export async function command(
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string | undefined> {
  const child = Bun.spawn([...args], {
    stdin: options.input === undefined ? "ignore" : new Blob([options.input]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, complaint, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  if (exitCode === 0) return output;
  if (options.mayFail === true) return undefined;
  throw new LabError(`${args.join(" ")}: ${complaint.trim() || `exit code ${exitCode}`}`, {
    code: "command-failed",
    command: args.join(" "),
    output: complaint.trim(),
  });
}
