/** Waiting until what was asked for is so. */
import { ProblemError } from "../../model/problem.ts";
import type { DeploymentView } from "../../model/views.ts";
import type { DeploymentKey, WriteAnswer } from "../../node/node-api.ts";
import { Interrupted } from "../client/failures.ts";
import type { MusterClient } from "../client/muster-client.ts";
import { CommandFailure } from "./failure.ts";
import { formatAge } from "./table.ts";

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Told how far it is, in words for people, whenever that is another thing than before. */
  readonly onState?: (state: string) => void;
}

/** How often is asked: soon at first, because most things are quick here. */
const firstPauseMs = 20;
const pauseMsMax = 250;

/** Problems that pass while a cohort heals. */
const passing: ReadonlySet<string> = new Set(["no-quorum", "no-steward", "unreachable", "too-many-requests"]);

/** Resolves with the deployment once exactly its replicas run, all of them as of the write. */
export function waitUntilWhole(
  client: MusterClient,
  key: DeploymentKey,
  write: WriteAnswer,
  options: WaitOptions,
): Promise<DeploymentView> {
  return poll(key, options, async () => {
    const view = await client.inspect(key);
    return { done: hasSeen(view, write) && isWhole(view) ? view : undefined, state: describe(view) };
  });
}

/** Resolves once the replica runs, has been started more often than `before`, and is ready. */
export function waitUntilRestarted(
  client: MusterClient,
  key: DeploymentKey,
  { replica, before }: { readonly replica: number; readonly before: number },
  options: WaitOptions,
): Promise<true> {
  return poll(key, options, async () => {
    const view = await client.inspect(key);
    const one = view.replicas.find((each) => each.replica === replica);
    const isDone = one?.phase === "running" && one.ready && one.restarts > before;
    return { done: isDone ? true : undefined, state: `replica ${replica} is ${one?.phase ?? "gone"}` };
  });
}

/** Resolves once nothing of the deployment is left. */
export async function waitUntilGone(
  client: MusterClient,
  key: DeploymentKey,
  options: WaitOptions,
): Promise<void> {
  await poll(key, options, async () => {
    try {
      const view = await client.inspect(key);
      const gone = view.status === "deleted" && view.replicas.length === 0;
      return { done: gone ? true : undefined, state: `${view.replicas.length} replicas are still there` };
    } catch (error) {
      if (error instanceof ProblemError && error.problem.code === "not-found")
        return { done: true, state: "" };
      throw error;
    }
  });
}

async function poll<T>(
  key: DeploymentKey,
  options: WaitOptions,
  look: () => Promise<{ readonly done: T | undefined; readonly state: string }>,
): Promise<T> {
  const giveUpAt = performance.now() + options.timeoutMs;
  let pauseMs = firstPauseMs;
  let state = "";
  for (;;) {
    try {
      const seen = await look();
      if (seen.done !== undefined) return seen.done;
      if (seen.state !== state) options.onState?.(`${key.namespace}/${key.name}: ${seen.state}`);
      state = seen.state;
    } catch (error) {
      if (error instanceof ProblemError && passing.has(error.problem.code)) state = error.problem.message;
      else if (!(error instanceof Interrupted)) throw error;
    }
    const next = `what was asked for stays asked for; muster events ${key.name} -n ${key.namespace} shows what happens`;
    if (options.signal.aborted)
      throw new CommandFailure({
        code: "interrupted",
        message: `no longer waiting for ${key.namespace}/${key.name}: ${state}`,
        next,
      });
    if (performance.now() + pauseMs > giveUpAt)
      throw new CommandFailure({
        code: "timeout",
        message: `${key.namespace}/${key.name} is not there yet after ${formatAge(options.timeoutMs)}: ${state}`,
        next,
      });
    await Bun.sleep(pauseMs);
    pauseMs = Math.min(pauseMsMax, pauseMs * 1.5);
  }
}

function hasSeen(view: DeploymentView, write: WriteAnswer): boolean {
  if (view.epoch !== write.epoch) return view.epoch > write.epoch;
  return view.freshness.index >= write.index;
}

function isWhole(view: DeploymentView): boolean {
  const held = view.replicas.filter((replica) => replica.phase !== "broken" && replica.phase !== "stopped");
  return held.length === view.desired && held.every((replica) => isSettled(view, replica));
}

function isSettled(view: DeploymentView, replica: DeploymentView["replicas"][number]): boolean {
  return replica.templateHash === view.templateHash && (replica.ready || replica.phase === "completed");
}

function describe(view: DeploymentView): string {
  const settled = view.replicas.filter((replica) => isSettled(view, replica)).length;
  const reasons = new Set([
    ...view.unplaced,
    ...view.replicas.flatMap((replica) =>
      isSettled(view, replica) || replica.message === undefined ? [] : [replica.message],
    ),
  ]);
  return [`${settled} of ${view.desired} replicas run`, ...[...reasons].slice(0, 3)].join("; ");
}
