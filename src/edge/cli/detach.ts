/** `up --detach`: the same command line once more, in a session of its own. */
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { shortId } from "../../model/ids.ts";
import { AgentUnreachable } from "../client/failures.ts";
import { MusterClient } from "../client/muster-client.ts";
import type { CliContext } from "./console.ts";
import { CommandFailure } from "./failure.ts";
import { show, type AgentFlags } from "./root.ts";
import { selfCommand } from "./self-command.ts";

const readyTimeoutMs = 30_000;
const pauseMs = 5;
/** How much of the log is shown when the agent ends early. */
const logTailChars = 2000;

export async function startDetached(
  context: CliContext,
  flags: AgentFlags & { readonly json?: true },
  socketPath: string,
): Promise<void> {
  const logPath = join(flags.dataDir, "agent.log");
  const log = await open(logPath, "a", 0o600);
  const child = Bun.spawn(
    [...selfCommand(), ...process.argv.slice(2).filter((argument) => argument !== "--detach")],
    {
      detached: true,
      stdio: ["ignore", log.fd, log.fd],
      env: { ...context.env },
    },
  );
  await log.close();
  child.unref();
  const client = new MusterClient(socketPath);
  const giveUpAt = performance.now() + readyTimeoutMs;
  for (;;) {
    try {
      const status = await client.status();
      await show(
        context,
        flags,
        status,
        () => `${status.name} (${shortId(status.id)}) is ready (pid ${status.pid}); its log is ${logPath}\n`,
      );
      return;
    } catch (error) {
      if (!(error instanceof AgentUnreachable)) throw error;
    }
    if (child.exitCode !== null || child.signalCode !== null)
      throw new CommandFailure({
        code: "internal",
        message: `the agent ended while it was starting:\n${(await readFile(logPath, "utf8")).slice(-logTailChars).trimEnd()}`,
        next: `the whole log is ${logPath}`,
      });
    if (performance.now() > giveUpAt)
      throw new CommandFailure({
        code: "timeout",
        message: `the agent (pid ${child.pid}) does not answer after ${readyTimeoutMs / 1000} s`,
        next: `look into ${logPath}`,
      });
    await Bun.sleep(pauseMs);
  }
}
