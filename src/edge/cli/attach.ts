import { mainContainer } from "../../model/template.ts";
import { parseName } from "../manifest/fields.ts";
import type { CliContext } from "./console.ts";
import { usageFailure } from "./failure.ts";
import { flag } from "./flags.ts";
import { connect, type Program } from "./root.ts";
import { attend } from "./session-console.ts";
import { replicaTarget } from "./target.ts";

/** Control and P, control and Q. */
const detachKeys = [16, 17] as const;

export function registerAttach(program: Program, context: CliContext): void {
  program
    .command("attach")
    .argument("<name>", "NAME or NAME/REPLICA, a namespace may stand before it")
    .option("-c, --container <name>", "which of its containers (default: the first)", flag(parseName))
    .option("--no-stdin", "only look, pass no input on")
    .action(async (name, options, command) => {
      const given = command.optsWithGlobals();
      const { key, replica } = replicaTarget(name, given.namespace);
      const client = connect(given, context);
      const { template } = (await client.inspect(key)).spec;
      const container =
        options.container === undefined
          ? mainContainer(template)
          : template.containers.find((one) => one.name === options.container);
      if (container === undefined)
        throw usageFailure(
          `${key.name} has no container ${options.container}`,
          `it has ${template.containers.map((one) => one.name).join(", ")}`,
        );
      const terminal = container.terminal === true ? context.console.terminal : undefined;
      const session = await client.attach(
        key,
        { container: container.name, ...(replica === undefined ? {} : { replica }) },
        terminal?.size(),
      );
      const passesInput = container.stdin === true && options.stdin;
      if (terminal !== undefined && passesInput)
        await context.console.complain("attached; control-P control-Q lets go\n");
      const end = await attend(session, context, {
        terminal,
        passesInput,
        detachKeys: terminal === undefined ? [] : detachKeys,
      });
      // Who stops looking has not failed.
      context.exitCode = end.kind === "ended" ? end.exitCode : 0;
    });
}
