import { formatBytes, parseSpan } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { flag } from "./flags.ts";
import { readRates, redraw } from "./readings.ts";
import { connect, type Program } from "./root.ts";
import { formatTable } from "./table.ts";
import { replicaTarget, type Target } from "./target.ts";
import type { ContainerRate, Rates } from "./usage-rates.ts";

export const intervalMsDefault = 2_000;

export function registerStats(program: Program, context: CliContext): void {
  program
    .command("stats")
    .argument("[name]", "NAME or NAME/REPLICA (default: all of the namespace)")
    .option("-A, --all-namespaces", "of every namespace")
    .option("--node", "only what runs on the node that answers")
    .option("-f, --follow", "read again and again, until interrupted")
    .option("--interval <span>", "time between two readings", flag(parseSpan), intervalMsDefault)
    .action(async (name, options, command) => {
      const given = command.optsWithGlobals();
      const target = name === undefined ? undefined : replicaTarget(name, given.namespace);
      const isWanted = (one: ContainerRate): boolean =>
        target === undefined
          ? options.allNamespaces === true || one.namespace === given.namespace
          : isOf(one, target);
      const follow = options.follow === true;
      const rates = readRates(connect(given, context), context, {
        scope: options.node === true ? "node" : "fleet",
        follow,
        intervalMs: options.interval,
      });
      const isLive = follow && context.console.terminal !== undefined && given.json !== true;
      for await (const reading of rates) {
        const wanted = { ...reading, containers: reading.containers.filter(isWanted) };
        const text = given.json === true ? `${JSON.stringify(wanted.containers)}\n` : formatStats(wanted);
        await context.console.write(isLive ? redraw(text) : text);
      }
    });
}

function isOf(one: ContainerRate, { key, replica }: Target): boolean {
  return (
    one.namespace === key.namespace &&
    one.name === key.name &&
    (replica === undefined || one.replica === replica)
  );
}

function formatStats({ containers, unreachable }: Rates): string {
  const table = formatTable(
    [
      "REPLICA",
      "CONTAINER",
      "NODE",
      "CPU",
      "MEMORY",
      "LIMIT",
      "PIDS",
      "NET IN",
      "NET OUT",
      "READ",
      "WRITTEN",
    ],
    containers.map((one) => [
      `${one.name}/${one.replica}`,
      one.container,
      one.node,
      formatShare(one.cpuMillis),
      formatBytes(one.memoryBytes),
      one.memoryLimitBytes === 0 ? "" : formatBytes(one.memoryLimitBytes),
      `${one.pids}`,
      formatBytes(one.receivedBytes),
      formatBytes(one.sentBytes),
      formatBytes(one.readBytes),
      formatBytes(one.writtenBytes),
    ]),
  );
  return table + formatMissing(unreachable);
}

/** Of one core. */
export function formatShare(cpuMillis: number): string {
  return `${(cpuMillis / 10).toFixed(1)}%`;
}

export function formatMissing(unreachable: readonly string[]): string {
  return unreachable.length === 0 ? "" : `not answering: ${unreachable.join(", ")}\n`;
}
