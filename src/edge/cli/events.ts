import type { HistoryEvent } from "../../model/event.ts";
import { shortId } from "../../model/ids.ts";
import type { CliContext } from "./console.ts";
import { flag, parseCount } from "./flags.ts";
import { connect, type Program } from "./root.ts";
import { deploymentTarget } from "./target.ts";

export function registerEvents(program: Program, context: CliContext): void {
  program
    .command("events")
    .argument("<name>", "NAME or NAMESPACE/NAME")
    .option("-f, --follow", "go on with what happens next")
    .option("--since <index>", "only what came from this log index on", flag(parseCount), 0)
    .action(async (name, options, command) => {
      const flags = command.optsWithGlobals();
      const events = connect(flags, context).events(deploymentTarget(name, flags.namespace), {
        follow: options.follow === true,
        sinceIndex: options.since,
        signal: context.console.interrupted,
      });
      for await (const event of events)
        await context.console.write(flags.json === true ? `${JSON.stringify(event)}\n` : formatEvent(event));
    });
}

function formatEvent(event: HistoryEvent): string {
  const about = [
    event.replica === undefined ? "" : `replica ${event.replica}`,
    event.node === undefined ? "" : `on ${shortId(event.node)}`,
  ].filter((part) => part !== "");
  const actor = event.actor === "user" ? "user" : shortId(event.actor);
  const columns = [
    new Date(event.atMs).toISOString(),
    `${event.epoch}.${event.index}`.padEnd(6),
    event.kind.padEnd(13),
    actor.padEnd(8),
    [about.join(" "), event.cause].filter((part) => part !== "").join(": "),
  ];
  return `${columns.join("  ").trimEnd()}\n`;
}
