import type { DeploymentView } from "../../model/views.ts";
import type { CliContext } from "./console.ts";
import { connect, show, type Program } from "./root.ts";
import { formatTable } from "./table.ts";
import { imageWords } from "../../model/template.ts";

export function registerPs(program: Program, context: CliContext): void {
  program
    .command("ps")
    .option("-A, --all-namespaces", "of every namespace")
    .action(async (options, command) => {
      const flags = command.optsWithGlobals();
      const namespace = options.allNamespaces === true ? undefined : flags.namespace;
      const views = await connect(flags, context).deployments(namespace);
      await show(context, flags, views, formatDeployments);
    });
}

function formatDeployments(views: readonly DeploymentView[]): string {
  return formatTable(
    ["NAMESPACE", "NAME", "RUNNING", "STATUS", "IMAGE", "NODES"],
    views.map((view) => [
      view.namespace,
      view.name,
      `${view.running}/${view.desired}`,
      statusOf(view),
      imageWords(view.spec.template),
      [...new Set(view.replicas.map((replica) => replica.nodeName))].toSorted().join(","),
    ]),
  );
}

/** One word, and the first reason when not everything is well. */
function statusOf(view: DeploymentView): string {
  if (view.status !== "active") return view.status;
  const [reason] = view.unplaced;
  if (reason !== undefined) return `not placed: ${reason}`;
  const waiting = view.replicas.find((replica) => !replica.ready && replica.phase !== "completed");
  if (waiting === undefined) return view.running === view.desired ? "ok" : "changing";
  const phase = waiting.phase === "running" ? "not ready" : waiting.phase;
  return waiting.message === undefined ? phase : `${phase}: ${waiting.message}`;
}
