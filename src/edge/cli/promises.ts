import type { PromisesAnswer } from "../client/muster-client.ts";
import { formatBytes, formatCpu } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { connect, show, type Program } from "./root.ts";
import { formatAge, formatTable } from "./table.ts";

export function registerPromises(program: Program, context: CliContext): void {
  program
    .command("promises")
    .option("--node", "only those of the node that answers")
    .action(async (options, command) => {
      const flags = command.optsWithGlobals();
      const answer = await connect(flags, context).promises(options.node === true ? "node" : "fleet");
      await show(context, flags, answer, formatPromises);
      if (flags.json !== true && answer.unreachable.length > 0)
        await context.console.complain(`not asked, out of reach: ${answer.unreachable.join(", ")}\n`);
    });
}

function formatPromises({ promises }: PromisesAnswer): string {
  const nowMs = Date.now();
  return formatTable(
    ["NODE", "DEPLOYMENT", "REPLICA", "PHASE", "ASSESSMENT", "FOR", "RESTARTS", "CPU", "MEMORY", "MESSAGE"],
    promises.map((promise) => [
      promise.nodeName,
      `${promise.namespace}/${promise.name}`,
      `${promise.replica}`,
      promise.phase,
      promise.assessment,
      formatAge(nowMs - promise.sinceMs),
      `${promise.restarts}`,
      formatCpu(promise.resources.cpuMillis),
      formatBytes(promise.resources.memoryBytes),
      promise.message ?? "",
    ]),
  );
}
