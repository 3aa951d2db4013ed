/** How an instance changes when a step begins or ends and when its container ends. */
import { defined } from "../../model/assert.ts";
import type { Instant } from "../machine.ts";
import { amend, setExitCode, setMessage, type ContainerState, type Instance } from "./instance.ts";
import type { KeeperInput, ObservedContainer, StepFailure, StepName } from "./messages.ts";
import type { KeeperOptions } from "./options.ts";
import { crashDelayMs, describeEnd, failureDelayMs, shouldRestart } from "./restart.ts";

type StepDone = Extract<KeeperInput, { readonly kind: "step-done" }>;

const none: ContainerState = { kind: "none" };

export function stepBegun(instance: Instance, step: StepName): void {
  instance.inFlight = step;
  instance.isAborting = false;
  if (instance.entry.desired === "running") {
    // What it waited for before is over.
    if (!instance.isBegun) setMessage(instance, undefined);
    instance.isBegun = true;
  }
  if (step === "attach") instance.endpoint = "unsure";
  if (step === "create") {
    instance.container = { kind: "unsure", attempt: instance.entry.attempt };
    instance.isAttemptFresh = false;
  }
}

export function stepDone(instance: Instance, done: StepDone, now: Instant, options: KeeperOptions): void {
  instance.inFlight = undefined;
  const { container, entry } = instance;
  switch (done.step) {
    case "ensure-image":
      instance.hasImages = true;
      if (done.imageDigest !== undefined) amend(instance, { imageDigest: done.imageDigest });
      return;
    case "attach":
      instance.endpoint = "ready";
      instance.networkNamespace = defined(done.networkNamespace, "the network namespace of an endpoint");
      return;
    case "create":
      if (container.kind === "unsure") instance.container = { kind: "created", attempt: container.attempt };
      return;
    case "start":
      started(instance, now);
      return;
    case "stop":
      instance.ending = {
        signal: "stop",
        until: now + entry.terms.template.stopTimeoutMs,
      };
      return;
    case "kill":
      instance.ending = { signal: "kill", until: now + options.killGraceMs };
      return;
    case "remove":
      instance.container = none;
      return;
    case "detach":
      instance.endpoint = "none";
      instance.networkNamespace = undefined;
  }
}

function started(instance: Instance, now: Instant): void {
  const { container } = instance;
  if (container.kind === "none") return;
  const { attempt } = container;
  noteStart(instance, attempt);
  instance.ending = undefined;
  // It may have ended before the answer to its start arrived.
  if (container.kind === "ended") return;
  instance.container = { kind: "running", attempt, since: now };
  setMessage(instance, undefined);
}

/** The attempt is known to have run; counted once. */
export function noteStart(instance: Instance, attempt: number): void {
  const { startedAttempt, starts } = instance.entry;
  instance.stepFailures = 0;
  if (attempt <= startedAttempt) return;
  amend(instance, { startedAttempt: attempt, starts: starts + 1 });
}

export function stepFailed(
  instance: Instance,
  step: StepName,
  error: StepFailure,
  now: Instant,
  options: KeeperOptions,
): void {
  instance.inFlight = undefined;
  const { container } = instance;
  const isMissing = error.code === "no-such-container";
  switch (step) {
    case "start":
      if (container.kind === "ended") {
        noteStart(instance, container.attempt);
        return;
      }
      if (container.kind === "created" && !isMissing)
        instance.container = { kind: "unsure", attempt: container.attempt };
      if (isMissing) instance.container = none;
      break;
    case "stop":
    case "kill":
      signalFailed(instance, step, error, now);
      return;
    case "remove":
      if (isMissing) {
        instance.container = none;
        return;
      }
      break;
    case "ensure-image":
    case "attach":
    case "create":
    case "detach":
      break;
  }
  const isCleaning = step === "remove" || step === "detach";
  // Once released, a failed start is of no interest: cleaning up goes on at once.
  if (instance.entry.desired === "released" && !isCleaning) return;
  instance.stepFailures++;
  instance.retryAt = now + failureDelayMs(instance.stepFailures, error.permanent, options);
  setMessage(instance, `cannot ${doing[step]}: ${error.message}`);
}

const doing: Readonly<Record<StepName, string>> = {
  "ensure-image": "get the image",
  attach: "prepare the network",
  create: "create the container",
  start: "start the container",
  stop: "stop the container",
  kill: "kill the container",
  remove: "remove the container",
  detach: "remove the network",
};

/** A signal that cannot be sent is not waited for: the next, harder means follows. */
function signalFailed(instance: Instance, signal: "stop" | "kill", error: StepFailure, now: Instant): void {
  const { container } = instance;
  if (error.code === "no-such-container") instance.container = none;
  else if (error.code === "not-running" && container.kind === "running")
    instance.container = {
      kind: "ended",
      attempt: container.attempt,
      exitCode: undefined,
      ranMs: now - container.since,
      isSettled: false,
    };
  else instance.ending = { signal, until: now };
}

/** The container has ended; `status` is undefined when it is not even there any more. */
export function containerEnded(
  instance: Instance,
  status: ObservedContainer | undefined,
  now: Instant,
): void {
  const { container } = instance;
  if (container.kind === "none" || container.kind === "ended") return;
  const ranMs = container.kind === "running" ? now - container.since : 0;
  instance.container = {
    kind: "ended",
    attempt: container.attempt,
    exitCode: status?.exitCode,
    ranMs,
    isSettled: false,
  };
  setExitCode(instance, status?.exitCode);
  if (instance.entry.desired === "running") setMessage(instance, describeEnd(status));
}

/** Applies the restart policy to an end, once no step is under way. */
export function settleEnd(instance: Instance, now: Instant, options: KeeperOptions): void {
  const { container, entry } = instance;
  if (container.kind !== "ended" || container.isSettled) return;
  if (instance.inFlight !== undefined || entry.desired === "released") return;
  instance.container = { ...container, isSettled: true };
  if (container.ranMs >= options.backoffResetMs) instance.crashes = 0;
  // A container that was made and ended without ever running is a failed start, which no policy forbids to repeat.
  const hasRun = entry.startedAttempt === container.attempt;
  const { restart } = entry.terms.template;
  if (hasRun && !shouldRestart(restart, container.exitCode)) {
    instance.isCompleted = true;
    return;
  }
  instance.crashes++;
  const delayMs = crashDelayMs(instance.crashes, options);
  if (delayMs > 0) instance.retryAt = Math.max(instance.retryAt ?? now, now + delayMs);
}

/** Each run is another attempt: a container id never means two runs (K5). */
export function renewAttempt(instance: Instance): void {
  const { container, entry } = instance;
  if (instance.isAttemptFresh || instance.inFlight !== undefined) return;
  if (entry.desired === "released" || instance.isCompleted) return;
  if (container.kind === "running" || container.kind === "created") return;
  amend(instance, { attempt: entry.attempt + 1 });
  instance.isAttemptFresh = true;
  instance.isDirty = true;
}
