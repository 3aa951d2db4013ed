import { ProblemError } from "../../model/problem.ts";
import { deploymentName, type DeploymentSpec } from "../../model/spec.ts";
import { imageWords } from "../../model/template.ts";
import type { DeploymentView } from "../../model/views.ts";
import { templateHashOf } from "../../wire/digest.ts";
import type { MusterClient } from "../client/muster-client.ts";
import { differences, type Difference } from "../manifest/differences.ts";
import type { CliContext } from "./console.ts";
import { exitCodes } from "./failure.ts";
import { fileOption, readSpecs } from "./manifest-files.ts";
import { withMarkOf } from "./restart-mark.ts";
import { connect, show, type Program } from "./root.ts";

interface DeploymentPlan {
  readonly namespace: string;
  readonly name: string;
  readonly action: "create" | "change" | "none";
  /** Replicas that would end and be started anew, because what they run changes. */
  readonly replaced: number;
  readonly desired: number;
  readonly images: string;
  readonly fields: readonly Difference[];
}

export function registerPlan(program: Program, context: CliContext): void {
  program
    .command("plan")
    .option(...fileOption)
    .addHelpText(
      "after",
      `\nExit code 0: apply would change nothing. ${exitCodes.changes}: it would change something.`,
    )
    .action(async (options, command) => {
      const flags = command.optsWithGlobals();
      const specs = await readSpecs(options.file, flags.namespace, context);
      const client = connect(flags, context);
      const plans: DeploymentPlan[] = [];
      for (const spec of specs) plans.push(planOf(spec, await existing(client, spec)));
      await show(context, flags, plans, formatPlans);
      if (plans.some(({ action }) => action !== "none")) context.exitCode = exitCodes.changes;
    });
}

async function existing(client: MusterClient, spec: DeploymentSpec): Promise<DeploymentView | undefined> {
  try {
    const view = await client.inspect(spec);
    return view.status === "active" ? view : undefined;
  } catch (error) {
    if (error instanceof ProblemError && error.problem.code === "not-found") return undefined;
    throw error;
  }
}

function planOf(declared: DeploymentSpec, view: DeploymentView | undefined): DeploymentPlan {
  const spec = view === undefined ? declared : withMarkOf(view.spec, declared);
  const about = {
    namespace: spec.namespace,
    name: spec.name,
    desired: spec.replicas,
    images: imageWords(spec.template),
  };
  if (view === undefined) return { ...about, action: "create", replaced: 0, fields: [] };
  const isOther = templateHashOf(spec.template) !== view.templateHash;
  const isScaled = spec.replicas !== view.spec.replicas;
  return {
    ...about,
    action: isOther || isScaled ? "change" : "none",
    replaced: isOther ? Math.min(spec.replicas, view.replicas.length) : 0,
    fields: differences(view.spec, spec),
  };
}

function formatPlans(plans: readonly DeploymentPlan[]): string {
  const count = (action: DeploymentPlan["action"]): number =>
    plans.filter((plan) => plan.action === action).length;
  const lines = plans.map(
    (plan) => `${deploymentName(plan)}: ${headOf(plan)}\n${plan.fields.map(lineOf).join("")}`,
  );
  return `${lines.join("")}plan: ${count("create")} to create, ${count("change")} to change, ${count("none")} unchanged; nothing was done\n`;
}

function headOf({ action, desired, replaced, images }: DeploymentPlan): string {
  if (action === "none") return "unchanged";
  if (action === "create") return `create, ${replicas(desired)} of ${images}`;
  return replaced === 0 ? "change, nothing that runs is replaced" : `change, ${replicas(replaced)} replaced`;
}

function replicas(count: number): string {
  return count === 1 ? "1 replica" : `${count} replicas`;
}

function lineOf({ path, before, after }: Difference): string {
  if (before?.includes("\n") === true || after?.includes("\n") === true)
    return `  ${path}: ${textWords(before)} -> ${textWords(after)}${firstOther(before, after)}\n`;
  return `  ${path}: ${valueWords(before)} -> ${valueWords(after)}\n`;
}

const shownMax = 200;

function valueWords(value: string | undefined): string {
  if (value === undefined) return "(none)";
  const shown = value.length > shownMax ? `${value.slice(0, shownMax)}...` : value;
  return value === "" || /[\p{Cc}]|^ | $/u.test(shown) ? JSON.stringify(shown) : shown;
}

function textWords(text: string | undefined): string {
  if (text === undefined) return "(none)";
  const lines = text.replace(/\n$/, "").split("\n").length;
  return lines === 1 ? "1 line" : `${lines} lines`;
}

function firstOther(before: string | undefined, after: string | undefined): string {
  if (before === undefined || after === undefined) return "";
  const old = before.split("\n");
  const recent = after.split("\n");
  const at = recent.findIndex((line, index) => line !== old[index]);
  const line = at < 0 ? recent.length : at;
  return `, line ${line + 1}: ${valueWords(old[line])} -> ${valueWords(recent[line])}`;
}
