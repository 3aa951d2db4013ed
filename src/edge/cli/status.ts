import { formatBytes } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { connect, show, type Program } from "./root.ts";
import { formatAge, formatFacts } from "./table.ts";

export function registerStatus(program: Program, context: CliContext): void {
  program.command("status").action(async (_options, command) => {
    const flags = command.optsWithGlobals();
    await show(context, flags, await connect(flags, context).status(), (status) =>
      formatFacts([
        ["node", `${status.name} (${status.id})`],
        ["fleet", status.fleet],
        ["version", `${status.version} (${status.commit})`],
        ["up for", `${formatAge(status.uptimeMs)} (pid ${status.pid})`],
        [
          "members",
          `${status.members.alive} alive, ${status.members.suspect} suspect, ${status.members.dead} dead`,
        ],
        ["promises", `${status.promises}`],
        ["cohorts", `${status.groups}`],
        ["memory", formatBytes(status.rssBytes)],
      ]),
    );
  });
}
