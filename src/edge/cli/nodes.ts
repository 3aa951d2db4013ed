import { shortId } from "../../model/ids.ts";
import type { NodeView } from "../../model/views.ts";
import { formatBytes, formatCpu } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { connect, show, type Program } from "./root.ts";
import { formatTable } from "./table.ts";

export function registerNodes(program: Program, context: CliContext): void {
  program.command("nodes").action(async (_options, command) => {
    const flags = command.optsWithGlobals();
    await show(context, flags, await connect(flags, context).nodes(), formatNodes);
  });
}

function formatNodes(nodes: readonly NodeView[]): string {
  return formatTable(
    ["NAME", "ID", "STATUS", "ADDRESS", "CPU FREE", "MEMORY FREE", "ZONE", "LABELS", "VERSION"],
    nodes.map((node) => [
      node.self ? `${node.name} *` : node.name,
      shortId(node.id),
      node.status,
      node.addresses[0] ?? "",
      `${formatCpu(node.free.cpuMillis)} of ${formatCpu(node.capacity.cpuMillis)}`,
      `${formatBytes(node.free.memoryBytes)} of ${formatBytes(node.capacity.memoryBytes)}`,
      node.zone ?? "",
      Object.entries(node.labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(","),
      node.version,
    ]),
  );
}
