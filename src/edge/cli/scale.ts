import { parseReplicas } from "../manifest/fields.ts";
import { parseSpan } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { flag } from "./flags.ts";
import { connect, type Program } from "./root.ts";
import { deploymentTarget } from "./target.ts";
import { showWrites, waitTimeoutMsDefault } from "./writes.ts";

export function registerScale(program: Program, context: CliContext): void {
  program
    .command("scale")
    .argument("<name>", "NAME or NAMESPACE/NAME")
    .argument("<replicas>", "how many there shall be", flag(parseReplicas))
    .option("--wait", "until exactly these run")
    .option("--timeout <span>", "how long to wait", flag(parseSpan), waitTimeoutMsDefault)
    .action(async (name, replicas, options, command) => {
      const flags = command.optsWithGlobals();
      const client = connect(flags, context);
      const key = deploymentTarget(name, flags.namespace);
      const answer = await client.scale(key, replicas);
      await showWrites(context, client, [{ key, answer }], flags);
    });
}
