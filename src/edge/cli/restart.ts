import { deploymentName } from "../../model/spec.ts";
import { ProblemError } from "../../model/problem.ts";
import { parseName } from "../manifest/fields.ts";
import { parseSpan } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { usageFailure } from "./failure.ts";
import { flag } from "./flags.ts";
import { markedAsRestarted } from "./restart-mark.ts";
import { connect, show, type AgentFlags, type Program } from "./root.ts";
import { replicaTarget, type Target } from "./target.ts";
import { waitUntilRestarted } from "./wait.ts";
import { watchedWait } from "./watched-wait.ts";
import { showWrites, waitTimeoutMsDefault, type WriteFlags } from "./writes.ts";

interface RestartFlags extends AgentFlags, WriteFlags {
  readonly container?: string;
}

export function registerRestart(program: Program, context: CliContext): void {
  program
    .command("restart")
    .argument("<name>", "NAME or NAME/REPLICA, a namespace may stand before it")
    .option("-c, --container <name>", "of one replica: this container alone", flag(parseName))
    .option("--wait", "until what was restarted runs and is ready")
    .option("--timeout <span>", "how long to wait", flag(parseSpan), waitTimeoutMsDefault)
    .action(async (name, _options, command) => {
      const flags = command.optsWithGlobals();
      const { key, replica } = replicaTarget(name, flags.namespace);
      if (replica !== undefined) await restartOne(context, { key, replica }, flags);
      else if (flags.container === undefined) await restartAll(context, key, flags);
      else throw usageFailure("--container needs a replica", "name one: NAME/REPLICA");
    });
}

/** In place, by the node that holds it. */
async function restartOne(
  context: CliContext,
  { key, replica }: { readonly key: Target["key"]; readonly replica: number },
  flags: RestartFlags,
): Promise<void> {
  const client = connect(flags, context);
  const view = await client.inspect(key);
  const before = view.replicas.find((one) => one.replica === replica)?.restarts ?? 0;
  await client.restartReplica(key, replica, flags.container);
  if (flags.wait === true)
    await watchedWait(context, flags.timeout, (options) =>
      waitUntilRestarted(client, key, { replica, before }, options),
    );
  const done = { ...key, replica, restarted: true };
  const words = flags.wait === true ? "restarted" : "being restarted";
  await show(context, flags, done, () => `${deploymentName(key)}/${replica}: ${words}\n`);
}

/** New replicas, one after the other. */
async function restartAll(context: CliContext, key: Target["key"], flags: RestartFlags): Promise<void> {
  const client = connect(flags, context);
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
}
