import type { ContainerReport } from "../../model/promise.ts";
import type { DeploymentView } from "../../model/views.ts";
import { shortId } from "../../model/ids.ts";
import { formatBytes, formatCpu } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { withoutMark } from "./restart-mark.ts";
import { connect, show, type Program } from "./root.ts";
import { formatAge, formatFacts, formatTable } from "./table.ts";
import { deploymentTarget } from "./target.ts";
import { imageWords, mainContainer, portsOf, requestOf } from "../../model/template.ts";

export function registerInspect(program: Program, context: CliContext): void {
  program
    .command("inspect")
    .argument("<name>", "NAME or NAMESPACE/NAME")
    .option("--manifest", "print a manifest that declares the same")
    .action(async (name, options, command) => {
      const flags = command.optsWithGlobals();
      const view = await connect(flags, context).inspect(deploymentTarget(name, flags.namespace));
      if (options.manifest === true) {
        // Only who asks for it pays for the parser.
        const { manifestText, shortManifest } = await import("../manifest/manifest-text.ts");
        await show(context, flags, shortManifest(withoutMark(view.spec)), manifestText);
        return;
      }
      await show(context, flags, view, formatDeployment);
    });
}

function formatDeployment(view: DeploymentView): string {
  const { template } = view.spec;
  const facts: [string, string][] = [
    ["name", `${view.namespace}/${view.name}`],
    ["id", view.id],
    ["status", `${view.status}, ${view.running} of ${view.desired} running`],
    ["image", imageWords(template)],
    ["template", view.templateHash],
    [
      "resources",
      `cpu ${formatCpu(requestOf(template).cpuMillis)}, memory ${formatBytes(requestOf(template).memoryBytes)}`,
    ],
    ["restart", template.restart],
    ["steward", view.steward === undefined ? "none" : shortId(view.steward)],
    ["epoch", `${view.epoch}`],
    [
      "known from",
      `${view.freshness.source} ${shortId(view.freshness.node)} at index ${view.freshness.index}`,
    ],
  ];
  const { entrypoint, command } = mainContainer(template);
  if (entrypoint !== undefined) facts.splice(4, 0, ["entrypoint", JSON.stringify(entrypoint)]);
  if (command !== undefined) facts.splice(4, 0, ["command", JSON.stringify(command)]);
  for (const port of portsOf(template))
    facts.push([
      "port",
      `${port.published === undefined ? "" : `${port.published}:`}${port.container}/${port.protocol}`,
    ]);
  if (view.freshness.note !== undefined) facts.push(["note", view.freshness.note]);
  for (const reason of view.unplaced) facts.push(["not placed", reason]);
  return `${formatFacts(facts)}\n${formatReplicas(view)}${formatContainers(view)}`;
}

function formatReplicas(view: DeploymentView): string {
  const nowMs = Date.now();
  return formatTable(
    ["REPLICA", "PHASE", "NODE", "FOR", "RESTARTS", "ADDRESS", "MESSAGE"],
    view.replicas.map((replica) => [
      `${replica.replica}${replica.templateHash === view.templateHash ? "" : " (old)"}`,
      replica.phase === "running" && !replica.ready ? "running, not ready" : replica.phase,
      replica.nodeName,
      formatAge(nowMs - replica.sinceMs),
      `${replica.restarts}`,
      replica.address,
      replica.message ?? "",
    ]),
  );
}

/** Of replicas that have several: with one, its replica's line says it all. */
function formatContainers({ replicas }: DeploymentView): string {
  const rows = replicas.flatMap((replica) =>
    replica.containers.length < 2
      ? []
      : replica.containers.map((container) => [
          `${replica.replica}`,
          `${container.name}${container.isInit ? " (init)" : ""}`,
          container.phase,
          container.ready ? "yes" : "no",
          `${container.restarts}`,
          endWords(container),
          container.message ?? "",
        ]),
  );
  if (rows.length === 0) return "";
  const titles = ["REPLICA", "CONTAINER", "PHASE", "READY", "RESTARTS", "LAST EXIT", "MESSAGE"];
  return `\n${formatTable(titles, rows)}`;
}

function endWords({ exitCode, oomKilled }: ContainerReport): string {
  if (oomKilled === true) return "out of memory";
  return exitCode === undefined ? "" : `${exitCode}`;
}
