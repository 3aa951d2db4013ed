/** What commands that change deployments say, and how they wait. */
import { deploymentName } from "../../model/spec.ts";
import type { DeploymentKey, WriteAnswer } from "../../node/node-api.ts";
import type { MusterClient } from "../client/muster-client.ts";
import type { CliContext } from "./console.ts";
import { show } from "./root.ts";
import { waitUntilWhole } from "./wait.ts";
import { watchedWait } from "./watched-wait.ts";

export const waitTimeoutMsDefault = 60_000;

export interface Write {
  readonly key: DeploymentKey;
  readonly answer: WriteAnswer;
}

export interface WriteFlags {
  readonly json?: true;
  readonly wait?: true;
  readonly timeout: number;
}

/** Waits if asked to, for all at the same time, then prints what was written, with notes on standard error. */
export async function showWrites(
  context: CliContext,
  client: MusterClient,
  writes: readonly Write[],
  flags: WriteFlags,
): Promise<void> {
  if (flags.json !== true)
    for (const { key, answer } of writes)
      for (const note of answer.notes)
        await context.console.complain(`note: ${deploymentName(key)}: ${note}\n`);
  if (flags.wait === true)
    await watchedWait(context, flags.timeout, (options) =>
      Promise.all(writes.map(({ key, answer }) => waitUntilWhole(client, key, answer, options))),
    );
  const answers = writes.map(({ key, answer }) => ({ namespace: key.namespace, name: key.name, ...answer }));
  await show(context, flags, answers, () =>
    writes
      .map(({ key, answer }) => {
        const replicas = answer.desired === 1 ? "1 replica" : `${answer.desired} replicas`;
        const done = flags.wait === true ? "running" : "accepted";
        return `${deploymentName(key)}: ${answer.changed ? done : "unchanged"}, ${replicas}\n`;
      })
      .join(""),
  );
}
