/** The next step of each container of a promise, and of its network. */
import type { Instant } from "../machine.ts";
import { entryOf, isCompleted, type Instance } from "./instance.ts";
import type { StepName } from "./messages.ts";
import type { Lane, Part } from "./part.ts";

export type Move =
  | { readonly kind: "step"; readonly step: StepName }
  | { readonly kind: "abort" }
  /** A step is under way, or nothing is left to do until something changes. */
  | { readonly kind: "rest" }
  /** Nothing to do before `until`. */
  | { readonly kind: "wait"; readonly until: Instant }
  /** An earlier promise of the same slot is not gone yet. */
  | { readonly kind: "blocked" };

const rest: Move = { kind: "rest" };

function step(name: StepName): Move {
  return { kind: "step", step: name };
}

/** `isBlocked`: an earlier promise of the same slot is still here. */
export function partMove(instance: Instance, part: Part, now: Instant, isBlocked: boolean): Move {
  const isReleased = instance.entry.desired === "released";
  if (part.inFlight !== undefined) {
    const isUseless = isReleased && part.inFlight.step === "ensure-image";
    return isUseless && !part.isAborting ? { kind: "abort" } : rest;
  }
  if (part.retryAt !== undefined && now < part.retryAt) return { kind: "wait", until: part.retryAt };
  if (isReleased) return releaseMove(instance, part, now);
  if (part.state.kind === "running")
    return part.ending === undefined ? rest : endingMove(instance, part, now);
  // It may run on: also one that is not started again has to be gone for certain.
  if (part.state.kind === "ended" && part.state.remains === "doubtful") return step("remove");
  return isCompleted(instance) || entryOf(instance, part).isDone
    ? rest
    : startMove(instance, part, isBlocked);
}

function startMove(instance: Instance, part: Part, isBlocked: boolean): Move {
  const { state } = part;
  if (state.kind === "unsure") return step("remove");
  if (state.kind === "ended" && isTurnOf(instance, part)) return step("remove");
  if (isBlocked) return { kind: "blocked" };
  if (!part.hasImage && state.kind !== "created") return step("ensure-image");
  if (instance.endpoint !== "ready" || instance.inFlight !== undefined) return rest;
  if (!isTurnOf(instance, part)) return rest;
  return step(state.kind === "created" ? "start" : "create");
}

/** Init containers one after another, each to its success; the others in order, each once the one before has started. */
export function isTurnOf(instance: Instance, part: Part): boolean {
  return instance.parts.every((earlier) => {
    if (earlier.index >= part.index) return true;
    if (earlier.isInit) return entryOf(instance, earlier).isDone;
    return earlier.hasStarted || entryOf(instance, earlier).isDone;
  });
}

/** The last container goes first, and the one before it once that has ended. */
function releaseMove(instance: Instance, part: Part, now: Instant): Move {
  const { kind } = part.state;
  if (kind === "none") return rest;
  if (kind === "ended" || kind === "created") return step("remove");
  const isLast = instance.parts.every((later) => later.index <= part.index || !mayRun(later));
  if (!isLast) return rest;
  return kind === "unsure" ? step("remove") : endingMove(instance, part, now);
}

function mayRun({ inFlight, state }: Part): boolean {
  if (state.kind === "ended") return state.remains === "doubtful";
  return state.kind === "running" || state.kind === "unsure" || inFlight?.step === "start";
}

function endingMove(instance: Instance, { ending, template, isInit }: Part, now: Instant): Move {
  const isPatient = instance.entry.terms.template.stopTimeoutMs > 0;
  if (ending === undefined || ending.sent === "nothing") {
    if (!isPatient) return step("kill");
    return step(template.preStop !== undefined && !isInit ? "pre-stop" : "stop");
  }
  if (ending.sent === "hook") return step("stop");
  if (now < ending.until) return { kind: "wait", until: ending.until };
  return ending.sent === "stop" ? step("kill") : rest;
}

/** Of the replica's network: made once all images are here, taken away once all containers are. */
export function networkMove(instance: Instance, now: Instant, isBlocked: boolean): Move {
  const { endpoint, entry, inFlight, parts, retryAt } = instance;
  if (inFlight !== undefined) return rest;
  const wants = entry.desired === "released" ? wantsDetach(instance) : wantsAttach(instance);
  if (!wants || (entry.desired === "running" && isBlocked)) return rest;
  if (endpoint === (entry.desired === "released" ? "none" : "ready")) return rest;
  if (parts.some((part) => part.inFlight !== undefined)) return rest;
  if (retryAt !== undefined && now < retryAt) return { kind: "wait", until: retryAt };
  return step(entry.desired === "released" ? "detach" : "attach");
}

function wantsDetach({ parts }: Instance): boolean {
  return parts.every(({ state }) => state.kind === "none");
}

/** A container that joined a network which is gone has to end first. */
function wantsAttach(instance: Instance): boolean {
  if (isCompleted(instance)) return false;
  return instance.parts.every((part) => {
    const isIdle = part.state.kind === "none" || (part.state.kind === "ended" && !mayRun(part));
    return isIdle && (part.hasImage || entryOf(instance, part).isDone);
  });
}

/** Whether a container waits for a network that those which run do not have. */
export function lacksNetwork(instance: Instance): boolean {
  if (instance.endpoint === "ready" || isCompleted(instance)) return false;
  return instance.parts.some((part) => {
    const isIdle = part.state.kind === "none" || part.state.kind === "ended";
    return isIdle && !part.isInit && part.retryAt === undefined && !entryOf(instance, part).isDone;
  });
}

export function laneOf(instance: Instance, name: StepName): Lane {
  switch (name) {
    case "ensure-image":
      return "image";
    case "pre-stop":
      return "hook";
    case "stop":
    case "kill":
    case "detach":
      return "stop";
    case "attach":
    case "create":
    case "start":
      return "start";
    case "remove":
      return instance.entry.desired === "released" ? "stop" : "start";
  }
}
