/** One more program beside a running one: in its control group and network, as its user. */
import { rmSync, writeFileSync } from "node:fs";
import type { ExecRequest, ExecSession } from "../../../ports/container-runtime.ts";
import { spawnWithPipes, spawnWithTerminal } from "../oci/exec-process.ts";
import type { LaunchRequest } from "./launch-request.ts";

export function startExec(
  command: readonly string[],
  file: string,
  request: LaunchRequest,
  terminal: ExecRequest["terminal"],
): ExecSession {
  writeFileSync(file, JSON.stringify(request), { mode: 0o600 });
  const local =
    terminal === undefined ? spawnWithPipes(command) : spawnWithTerminal(command, terminal, false);
  let isOver = false;
  const exitCode = local.exited.finally(() => {
    isOver = true;
    rmSync(file, { force: true });
  });
  return {
    output: local.output,
    write: local.write,
    closeInput: local.closeInput,
    resize: local.resize,
    kill: () => {
      if (!isOver) local.abandon();
    },
    exitCode,
  };
}
