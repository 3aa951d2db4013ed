/** Runs a program for what it says, bounded in time. */
import type { Answer } from "./machine-facts.ts";

const patienceMs = 10_000;
/** After a plain `su`, root's PATH lacks the directories of runc and nft. */
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Where a program is; undefined when it is not installed. */
export function findProgram(name: string): string | undefined {
  return Bun.which(name) ?? Bun.which(name, { PATH: systemPath }) ?? undefined;
}

/** Undefined when the program is not installed. One that does not end in time is killed, and that is its answer. */
export async function tryProgram(
  command: readonly [string, ...string[]],
  input = "",
): Promise<Answer | undefined> {
  const [name, ...args] = command;
  const path = findProgram(name);
  if (path === undefined) return undefined;
  const child = Bun.spawn([path, ...args], {
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
    timeout: patienceMs,
    killSignal: "SIGKILL",
    env: { ...process.env, LC_ALL: "C", PATH: `${process.env["PATH"] ?? ""}:${systemPath}` },
  });
  const [out, said] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  const exitCode = await child.exited;
  if (child.signalCode === "SIGKILL")
    return { exitCode, out, said: `${said}\n${name} did not end within ${patienceMs / 1000} s` };
  return { exitCode, out, said };
}
