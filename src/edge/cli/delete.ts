import { deploymentName } from "../../model/spec.ts";
import { parseSpan } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { flag } from "./flags.ts";
import { connect, show, type Program } from "./root.ts";
import { deploymentTarget } from "./target.ts";
import { waitUntilGone } from "./wait.ts";
import { watchedWait } from "./watched-wait.ts";
import { waitTimeoutMsDefault } from "./writes.ts";

export function registerDelete(program: Program, context: CliContext): void {
  program
    .command("delete")
    .argument("<name>", "NAME or NAMESPACE/NAME")
    .option("--wait", "until nothing of it is left")
    .option("--timeout <span>", "how long to wait", flag(parseSpan), waitTimeoutMsDefault)
    .action(async (name, options, command) => {
      const flags = command.optsWithGlobals();
      const client = connect(flags, context);
      const key = deploymentTarget(name, flags.namespace);
      const answer = await client.delete(key);
      if (options.wait === true)
        await watchedWait(context, options.timeout, (wait) => waitUntilGone(client, key, wait));
      await show(
        context,
        flags,
        answer,
        () => `${deploymentName(key)}: ${options.wait === true ? "gone" : "being deleted"}\n`,
      );
    });
}
