import { Argument } from "@commander-js/extra-typings";
import { AgentUnreachable } from "../client/failures.ts";
import { completionScript, shells } from "./completion-scripts.ts";
import { completionTree } from "./completion-tree.ts";
import type { CliContext } from "./console.ts";
import { connect, type Program } from "./root.ts";

export function registerCompletion(program: Program, context: CliContext): void {
  program
    .command("completion")
    .addArgument(
      new Argument(
        "<shell>",
        "whose script is printed, or names: the deployments, for these scripts",
      ).choices([...shells, "names"] as const),
    )
    .action(async (shell, _options, command) => {
      if (shell !== "names") {
        await context.console.write(completionScript(shell, completionTree(program)));
        return;
      }
      const flags = command.optsWithGlobals();
      const names = await connect(flags, context)
        .deployments(undefined)
        .then(
          (views) =>
            views.map(({ namespace, name }) =>
              namespace === flags.namespace ? name : `${namespace}/${name}`,
            ),
          // Who completes wants no words about it.
          (error: unknown) => {
            if (error instanceof AgentUnreachable) return [];
            throw error;
          },
        );
      await context.console.write(names.map((name) => `${name}\n`).join(""));
    });
}
