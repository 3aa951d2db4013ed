import type { Outcome } from "../../model/outcome.ts";
import type { ReplicaLogLine } from "../../node/node-api.ts";
import type { CliContext } from "./console.ts";
import { flag, parseCount } from "./flags.ts";
import { connect, type Program } from "./root.ts";
import { parseSince } from "./since.ts";
import { replicaTarget } from "./target.ts";

export function registerLogs(program: Program, context: CliContext): void {
  program
    .command("logs")
    .argument("<name>", "NAME or NAME/REPLICA, a namespace may stand before it")
    .option("-c, --container <name>", "of this container of each replica (default: the first)")
    .option("-f, --follow", "go on with what is written next")
    .option("--since <time>", "only what was written since: 10m ago, or 2026-01-31T12:00:00Z", flag(since))
    .option("--tail <lines>", "only the last so many lines", flag(parseCount))
    .option("-t, --timestamps", "put the time before each line")
    .action(async (name, options, command) => {
      const flags = command.optsWithGlobals();
      const { key, replica } = replicaTarget(name, flags.namespace);
      const lines = connect(flags, context).logs(key, {
        follow: options.follow === true,
        signal: context.console.interrupted,
        ...(replica === undefined ? {} : { replica }),
        ...(options.container === undefined ? {} : { container: options.container }),
        ...(options.tail === undefined ? {} : { tail: options.tail }),
        ...(options.since === undefined ? {} : { sinceMs: options.since }),
      });
      const format = (line: ReplicaLogLine): string => {
        if (flags.json === true) return JSON.stringify(line);
        const time = options.timestamps === true ? `${new Date(line.atMs).toISOString()} ` : "";
        return `${time}${replica === undefined ? `${key.name}/${line.replica} | ` : ""}${line.text}`;
      };
      for await (const line of lines) await context.console.write(`${format(line)}\n`);
    });
}

function since(text: string): Outcome<number, string> {
  return parseSince(text, Date.now());
}
