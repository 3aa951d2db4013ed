import { shortId } from "../../model/ids.ts";
import type { CohortView } from "../../model/views.ts";
import type { CliContext } from "./console.ts";
import { connect, show, type Program } from "./root.ts";
import { formatFacts, formatTable } from "./table.ts";
import { deploymentTarget } from "./target.ts";

export function registerCohort(program: Program, context: CliContext): void {
  program
    .command("cohort")
    .command("show")
    .description("show a deployment's members, their roles, and what they can lose")
    .argument("<name>", "NAME or NAMESPACE/NAME")
    .action(async (name, _options, command) => {
      const flags = command.optsWithGlobals();
      const view = await connect(flags, context).cohort(deploymentTarget(name, flags.namespace));
      await show(context, flags, view, formatCohort);
    });
}

function formatCohort(view: CohortView): string {
  const facts: [string, string][] = [
    ["deployment", `${view.namespace}/${view.name}`],
    ["group", view.group],
    ["term", `${view.term}, committed up to ${view.commitIndex}`],
    ["tolerates", view.tolerates === 1 ? "the loss of 1 voter" : `the loss of ${view.tolerates} voters`],
    [
      "known from",
      `${view.freshness.source} ${shortId(view.freshness.node)} at index ${view.freshness.index}`,
    ],
  ];
  for (const note of [view.note, view.freshness.note]) if (note !== undefined) facts.push(["note", note]);
  const table = formatTable(
    ["NODE", "ID", "ROLES", "STATUS", "MATCH"],
    view.members.map((member) => [
      member.name,
      shortId(member.node),
      member.roles.join(","),
      member.status,
      member.match === undefined ? "" : `${member.match}`,
    ]),
  );
  return `${formatFacts(facts)}\n${table}`;
}
