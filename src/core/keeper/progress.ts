/** How an instance changes when a step begins or ends. */
import { defined } from "../../model/assert.ts";
import type { Instant } from "../machine.ts";
import { containerEnded } from "./ends.ts";
import { amendPart, entryOf, setMessage, setPartMessage, type Instance } from "./instance.ts";
import type { KeeperInput, StepFailure, StepName } from "./messages.ts";
import type { KeeperOptions } from "./options.ts";
import { noRun, type Part, type StepUnderWay } from "./part.ts";
import { beginProbing } from "./probing.ts";
import { failureDelayMs } from "./restart.ts";

type StepDone = Extract<KeeperInput, { readonly kind: "step-done" }>;

export function networkStepBegun(instance: Instance, underWay: StepUnderWay): void {
  instance.inFlight = underWay;
  if (underWay.step !== "attach") return;
  setMessage(instance, undefined);
  instance.endpoint = "unsure";
  // A new network is a new beginning: what its init containers did may be gone with the old one.
  for (const part of instance.parts) {
    part.hasStarted = false;
    const { attempt, isDone } = entryOf(instance, part);
    if (!part.isInit || !isDone) continue;
    amendPart(instance, part, { isDone: false, attempt: part.isAttemptFresh ? attempt : attempt + 1 });
    part.isAttemptFresh = true;
    // Durable before the network is there, or the next agent takes it for the old one.
    instance.isDirty = true;
  }
}

export function partStepBegun(instance: Instance, part: Part, underWay: StepUnderWay, now: Instant): void {
  const { step } = underWay;
  part.inFlight = underWay;
  part.isAborting = false;
  if (step === "pre-stop" || step === "stop" || step === "kill") {
    sent(instance, part, step, now);
    return;
  }
  if (instance.entry.desired === "running") {
    // What it waited for before is over.
    if (!part.isBegun) setPartMessage(instance, part, undefined);
    setMessage(instance, undefined);
    part.isBegun = true;
  }
  if (step !== "create") return;
  part.state = { kind: "unsure", attempt: entryOf(instance, part).attempt };
  part.isAttemptFresh = false;
}

/** The hook's time counts towards the stop timeout. */
function sent(instance: Instance, part: Part, step: "pre-stop" | "stop" | "kill", now: Instant): void {
  const { ending } = part;
  part.ending = {
    sent: step === "pre-stop" ? "hook" : step,
    until: now,
    killAt: ending?.killAt ?? now + instance.entry.terms.template.stopTimeoutMs,
    cause: ending?.cause,
  };
}

export function networkStepDone(instance: Instance, done: StepDone): void {
  instance.inFlight = undefined;
  instance.networkFailures = 0;
  if (done.step === "attach") {
    instance.endpoint = "ready";
    instance.networkNamespace = defined(done.networkNamespace, "the network namespace of an endpoint");
    return;
  }
  instance.endpoint = "none";
  instance.networkNamespace = undefined;
}

export function partStepDone(
  instance: Instance,
  part: Part,
  done: StepDone,
  now: Instant,
  options: KeeperOptions,
): void {
  part.inFlight = undefined;
  const { state } = part;
  switch (done.step) {
    case "ensure-image":
      part.hasImage = true;
      if (done.imageDigest !== undefined) amendPart(instance, part, { imageDigest: done.imageDigest });
      return;
    case "create":
      if (state.kind === "unsure") part.state = { kind: "created", attempt: state.attempt };
      // The next run has to ask the registry again.
      if (part.template.pull === "always") part.hasImage = false;
      return;
    case "start":
      started(instance, part, now);
      return;
    case "stop": {
      // However long the hook took, the signal is given a moment.
      const { stopTimeoutMs } = instance.entry.terms.template;
      const least = now + Math.min(stopTimeoutMs, options.stopGraceMs);
      waitForEnd(part, Math.max(least, part.ending?.killAt ?? now));
      return;
    }
    case "kill":
      waitForEnd(part, now + options.killGraceMs);
      return;
    case "remove":
      removed(instance, part);
      return;
    case "pre-stop":
    case "attach":
    case "detach":
  }
}

/** An end that was in doubt is certain now, and meets its policy. */
function removed(instance: Instance, part: Part): void {
  const { state } = part;
  if (instance.entry.desired === "running" && state.kind === "ended" && !state.isSettled) {
    part.state = { ...state, remains: "nothing" };
    return;
  }
  part.state = noRun;
  part.ending = undefined;
}

function waitForEnd(part: Part, until: Instant): void {
  if (part.ending !== undefined) part.ending = { ...part.ending, until };
}

function started(instance: Instance, part: Part, now: Instant): void {
  const { state } = part;
  if (state.kind === "none") return;
  noteStart(instance, part, state.attempt);
  part.ending = undefined;
  // It may have ended before the answer to its start arrived.
  if (state.kind === "ended") return;
  part.state = { kind: "running", attempt: state.attempt, since: now };
  setPartMessage(instance, part, undefined);
  beginProbing(instance, part, now);
}

/** The attempt is known to have run; counted once. */
export function noteStart(instance: Instance, part: Part, attempt: number): void {
  const { startedAttempt, starts } = entryOf(instance, part);
  part.stepFailures = 0;
  part.hasStarted = true;
  if (attempt <= startedAttempt) return;
  amendPart(instance, part, { startedAttempt: attempt, starts: starts + 1 });
}

const doing: Readonly<Record<StepName, string>> = {
  "ensure-image": "get the image",
  attach: "prepare the network",
  create: "create the container",
  start: "start the container",
  "pre-stop": "run the hook before the stop",
  stop: "stop the container",
  kill: "kill the container",
  remove: "remove the container",
  detach: "remove the network",
};

export function networkStepFailed(
  instance: Instance,
  step: StepName,
  error: StepFailure,
  now: Instant,
  options: KeeperOptions,
): void {
  instance.inFlight = undefined;
  // Once released, a failed start is of no interest: cleaning up goes on at once.
  if (instance.entry.desired === "released" && step === "attach") return;
  instance.networkFailures++;
  instance.retryAt = now + failureDelayMs(instance.networkFailures, error.permanent, options);
  setMessage(instance, `cannot ${doing[step]}: ${error.message}`);
}

export function partStepFailed(
  instance: Instance,
  part: Part,
  { step, error }: { readonly step: StepName; readonly error: StepFailure },
  now: Instant,
  options: KeeperOptions,
): void {
  part.inFlight = undefined;
  const { state } = part;
  const isMissing = error.code === "no-such-container";
  switch (step) {
    case "start":
      if (state.kind === "ended") {
        noteStart(instance, part, state.attempt);
        return;
      }
      if (state.kind === "created" && !isMissing) part.state = { kind: "unsure", attempt: state.attempt };
      if (isMissing) part.state = noRun;
      break;
    case "pre-stop":
    case "stop":
    case "kill":
      signalFailed(instance, part, { step, error }, now);
      return;
    case "remove":
      if (isMissing) {
        removed(instance, part);
        return;
      }
      break;
    case "ensure-image":
    case "attach":
    case "create":
    case "detach":
      break;
  }
  if (instance.entry.desired === "released" && step !== "remove") return;
  part.stepFailures++;
  part.retryAt = now + failureDelayMs(part.stepFailures, error.permanent, options);
  setPartMessage(instance, part, `cannot ${doing[step]}: ${error.message}`);
}

/** A signal that cannot be sent is not waited for: the next, harder means follows. So is a hook that fails. */
function signalFailed(
  instance: Instance,
  part: Part,
  { step, error }: { readonly step: StepName; readonly error: StepFailure },
  now: Instant,
): void {
  if (step === "pre-stop") return;
  if (error.code === "no-such-container" || error.code === "not-running") {
    containerEnded(instance, part, undefined, now);
    return;
  }
  waitForEnd(part, now);
}
