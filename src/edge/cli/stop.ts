import { deploymentName } from "../../model/spec.ts";
import { parseSpan } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { flag } from "./flags.ts";
import { connect, show, type Program } from "./root.ts";
import { deploymentTarget } from "./target.ts";
import { waitUntilWhole } from "./wait.ts";
import { watchedWait } from "./watched-wait.ts";
import { waitTimeoutMsDefault } from "./writes.ts";

export function registerStop(program: Program, context: CliContext): void {
  program
    .command("stop")
    .argument("<name>", "NAME or NAMESPACE/NAME")
    .option("--wait", "until no replica runs")
    .option("--timeout <span>", "how long to wait", flag(parseSpan), waitTimeoutMsDefault)
    .action(async (name, options, command) => {
      const flags = command.optsWithGlobals();
      const client = connect(flags, context);
      const key = deploymentTarget(name, flags.namespace);
      const { desired } = await client.inspect(key);
      const answer = await client.scale(key, 0);
      if (options.wait === true)
        await watchedWait(context, options.timeout, (wait) => waitUntilWhole(client, key, answer, wait));
      const stopped = { ...key, ...answer, replicasBefore: desired };
      await show(context, flags, stopped, () =>
        answer.changed
          ? `${deploymentName(key)}: ${options.wait === true ? "stopped" : "stopping"}; muster scale ${deploymentName(key)} ${desired} starts it again\n`
          : `${deploymentName(key)}: stopped already; muster scale ${deploymentName(key)} N starts it\n`,
      );
    });
}
