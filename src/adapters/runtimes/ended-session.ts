import type { ExecSession } from "../../ports/container-runtime.ts";

/**
 * The session of a program that could not be executed, with the reason as its output. As shells count, and Docker: 127
 * for one that is not there, else 126.
 */
export function endedSession(reason: string, isTerminal: boolean): ExecSession {
  const isMissing = /not found|no such file/i.test(reason);
  const data = new TextEncoder().encode(`${reason}${isTerminal ? "\r\n" : "\n"}`);
  async function* output(): ExecSession["output"] {
    yield { stream: isTerminal ? "stdout" : "stderr", data };
  }
  return {
    output: output(),
    write: async () => {},
    closeInput: async () => {},
    resize: () => {},
    kill: () => {},
    exitCode: Promise.resolve(isMissing ? 127 : 126),
  };
}
