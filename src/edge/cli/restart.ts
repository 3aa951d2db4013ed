import { deploymentName } from "../../model/spec.ts";
import { ProblemError } from "../../model/problem.ts";
import { parseSpan } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { flag } from "./flags.ts";
import { markedAsRestarted } from "./restart-mark.ts";
import { connect, type Program } from "./root.ts";
import { deploymentTarget } from "./target.ts";
import { showWrites, waitTimeoutMsDefault } from "./writes.ts";

export function registerRestart(program: Program, context: CliContext): void {
  program
    .command("restart")
    .argument("<name>", "NAME or NAMESPACE/NAME")
    .option("--wait", "until every replica is a new one, and runs")
    .option("--timeout <span>", "how long to wait", flag(parseSpan), waitTimeoutMsDefault)
    .action(async (name, _options, command) => {
      const flags = command.optsWithGlobals();
      const client = connect(flags, context);
      const key = deploymentTarget(name, flags.namespace);
      const view = await client.inspect(key);
      // A charter's bare facts are no spec to declare again.
      if (view.freshness.source !== "steward")
        throw new ProblemError({
          code: "no-steward",
          message: `${deploymentName(key)} cannot be restarted: no steward answers`,
          next: "try again in a moment; muster cohort show says who is missing",
        });
      const answer = await client.declare(markedAsRestarted(view.spec, Date.now()), { createOnly: false });
      await showWrites(context, client, [{ key, answer }], flags);
    });
}
