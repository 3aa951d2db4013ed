/** What follows when a container ends: whatever ended it, its restart policy is asked once. */
import type { Instant } from "../machine.ts";
import { amendPart, entryOf, isCompleted, setEnd, setPartMessage, type Instance } from "./instance.ts";
import type { ObservedContainer } from "./messages.ts";
import type { KeeperOptions } from "./options.ts";
import { noRun, type Part } from "./part.ts";
import { crashDelayMs, describeEnd, shouldRestart } from "./restart.ts";

/** The container has ended; `status` is undefined when it is not even there any more. */
export function containerEnded(
  instance: Instance,
  part: Part,
  status: ObservedContainer | undefined,
  now: Instant,
): void {
  const { state } = part;
  if (state.kind === "none" || state.kind === "ended") return;
  const ranMs = state.kind === "running" ? now - state.since : 0;
  const exitCode = status?.exitCode;
  const remains = status?.phase === "unknown" ? "doubtful" : "logs";
  part.state = { kind: "ended", attempt: state.attempt, exitCode, ranMs, isSettled: false, remains };
  part.probes = [];
  amendPart(instance, part, { ready: false, hasStartedUp: false });
  setEnd(instance, part, { exitCode, oomKilled: status?.oomKilled === true });
  if (instance.entry.desired === "running")
    setPartMessage(instance, part, part.ending?.cause ?? describeEnd(status));
}

/** A program that SIGKILL has not ended in time is taken for ended: removing it is the last means. */
export function giveUpOn(instance: Instance, part: Part, now: Instant): void {
  const { ending, state } = part;
  if (state.kind !== "running" || part.inFlight !== undefined) return;
  if (ending?.sent !== "kill" || now < ending.until) return;
  containerEnded(instance, part, undefined, now);
  if (part.state.kind === "ended") part.state = { ...part.state, remains: "doubtful" };
}

/** Applies the restart policy to an end, once no step is under way; the answer is why it ended, at the first time. */
export function settleEnd(
  instance: Instance,
  part: Part,
  now: Instant,
  options: KeeperOptions,
): string | undefined {
  const { state } = part;
  if (state.kind !== "ended" || state.isSettled || state.remains === "doubtful") return undefined;
  if (part.inFlight !== undefined || instance.entry.desired === "released") return undefined;
  part.state = state.remains === "nothing" ? noRun : { ...state, isSettled: true };
  if (state.ranMs >= options.backoffResetMs) part.crashes = 0;
  const entry = entryOf(instance, part);
  const cause = entry.message ?? "ended";
  // A container that was made and ended without ever running is a failed start, which no policy forbids to repeat.
  const hasRun = entry.startedAttempt === state.attempt;
  // What the node ended is a failure, whatever the program made of it.
  const exitCode = part.ending === undefined ? state.exitCode : undefined;
  part.ending = undefined;
  if (hasRun && isFinal(instance, part, exitCode)) {
    amendPart(instance, part, { isDone: true });
    if (part.isInit && exitCode === 0) setPartMessage(instance, part, undefined);
    return cause;
  }
  part.crashes++;
  const delayMs = crashDelayMs(part.crashes, options);
  if (delayMs > 0) part.retryAt = Math.max(part.retryAt ?? now, now + delayMs);
  return cause;
}

/** An init container is done by success alone; failing for good is an end as well. */
function isFinal(instance: Instance, part: Part, exitCode: number | undefined): boolean {
  const { restart } = instance.entry.terms.template;
  if (part.isInit) return exitCode === 0 || restart === "never";
  return !shouldRestart(restart, exitCode);
}

/** Each run is another attempt: a container id never means two runs (K5). */
export function renewAttempt(instance: Instance, part: Part): void {
  if (part.isAttemptFresh || part.inFlight !== undefined) return;
  if (instance.entry.desired === "released" || isCompleted(instance)) return;
  const { attempt, isDone } = entryOf(instance, part);
  if (isDone || part.state.kind === "running" || part.state.kind === "created") return;
  amendPart(instance, part, { attempt: attempt + 1 });
  part.isAttemptFresh = true;
  instance.isDirty = true;
}

/** Another run is wanted, and the ends before it count no more: what runs is ended, what waits begins now. */
export function renewRun(part: Part, cause: string, now: Instant): void {
  part.crashes = 0;
  if (part.state.kind === "running") beginEnding(part, cause, now);
  else part.retryAt = undefined;
}

/** Begins to end a container that is promised; its restart policy decides what follows. */
export function beginEnding(part: Part, cause: string, now: Instant): void {
  part.ending ??= { sent: "nothing", until: now, killAt: undefined, cause };
}
