import { formatBytes, parseSpan } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { flag } from "./flags.ts";
import { readRates, redraw } from "./readings.ts";
import { connect, type Program } from "./root.ts";
import { formatMissing, formatShare, intervalMsDefault } from "./stats.ts";
import { formatTable } from "./table.ts";
import { byReplica, type Rates } from "./usage-rates.ts";

/** Lines for the two headings, the gap between the tables, and the cursor. */
const otherLines = 4;

export function registerTop(program: Program, context: CliContext): void {
  program
    .command("top")
    .option("--once", "print it once, as when the output is no terminal")
    .option("--interval <span>", "time between two readings", flag(parseSpan), intervalMsDefault)
    .action(async (options, command) => {
      const given = command.optsWithGlobals();
      const { terminal } = context.console;
      const isLive = terminal !== undefined && options.once !== true && given.json !== true;
      const rates = readRates(connect(given, context), context, {
        scope: "fleet",
        follow: isLive,
        intervalMs: options.interval,
      });
      for await (const reading of rates) {
        if (given.json === true) {
          const { nodes, containers, unreachable } = reading;
          const value = { nodes, replicas: byReplica(containers), unreachable };
          await context.console.write(`${JSON.stringify(value, undefined, 2)}\n`);
        } else if (isLive) await context.console.write(redraw(formatTop(reading, terminal.size().rows)));
        else await context.console.write(formatTop(reading, Number.POSITIVE_INFINITY));
      }
    });
}

/** At most so many lines: the busiest replicas are those that count. */
function formatTop({ nodes, containers, unreachable }: Rates, linesMax: number): string {
  const nodeTable = formatTable(
    ["NODE", "CPU", "CORES", "MEMORY", "OF", "CONTAINERS"],
    nodes.map((one) => [
      one.node,
      formatShare(one.cpuMillis),
      `${one.cpuCount}`,
      formatBytes(one.memoryBytes),
      formatBytes(one.memoryTotalBytes),
      `${one.containers}`,
    ]),
  );
  const room = Math.max(1, linesMax - nodes.length - otherLines);
  const replicaTable = formatTable(
    ["NAMESPACE", "REPLICA", "NODE", "CPU", "MEMORY", "PIDS", "NET IN", "NET OUT"],
    byReplica(containers)
      .slice(0, room)
      .map((one) => [
        one.namespace,
        `${one.name}/${one.replica}`,
        one.node,
        formatShare(one.cpuMillis),
        formatBytes(one.memoryBytes),
        `${one.pids}`,
        formatBytes(one.receivedBytes),
        formatBytes(one.sentBytes),
      ]),
  );
  return `${nodeTable}${formatMissing(unreachable)}\n${replicaTable}`;
}
