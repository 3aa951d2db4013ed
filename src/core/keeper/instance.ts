/** What the keeper knows of one promise while the agent runs, and the single next step that follows from it. */
import type { Instant } from "../machine.ts";
import type { InstancePhase } from "../../model/promise.ts";
import type { BookEntry, StepName } from "./messages.ts";

/** The container that exists, or may exist, for a promise; there is one at most. */
export type ContainerState =
  | { readonly kind: "none" }
  /** Being made, or a step failed: it may be there in any state. */
  | { readonly kind: "unsure"; readonly attempt: number }
  | { readonly kind: "created"; readonly attempt: number }
  | {
      readonly kind: "running";
      readonly attempt: number;
      readonly since: Instant;
    }
  | {
      readonly kind: "ended";
      readonly attempt: number;
      /** Undefined: nobody saw how it ended. */
      readonly exitCode: number | undefined;
      /** How long it ran; 0 when unknown. */
      readonly ranMs: number;
      /** The restart policy has been applied to this end. */
      readonly isSettled: boolean;
    };

/** A signal was sent on the way to the end, and what comes next waits until then. */
export interface Ending {
  readonly signal: "stop" | "kill";
  readonly until: Instant;
}

export interface Instance {
  /** As it is, or is about to be, on disk. */
  entry: BookEntry;
  /** The entry differs from what was last given to `persist`. */
  isDirty: boolean;
  /** Identity of the replica slot on this node. */
  readonly slot: string;
  /** It ended, and its restart policy says that is all. */
  isCompleted: boolean;
  hasImages: boolean;
  endpoint: "none" | "unsure" | "ready";
  networkNamespace: string | undefined;
  container: ContainerState;
  /** No container was ever created under the entry's attempt. */
  isAttemptFresh: boolean;
  /** Some step towards running was begun since the agent started. */
  isBegun: boolean;
  inFlight: StepName | undefined;
  isAborting: boolean;
  /** Nothing is begun before. */
  retryAt: Instant | undefined;
  /** Steps that failed since one led to a running container. */
  stepFailures: number;
  /** Ends in a row without a long run in between. */
  crashes: number;
  ending: Ending | undefined;
  /** Serial of the last step begun or ended; an observation begun before says nothing of this instance. */
  touched: number;
  /** An unreported start is reported then. */
  startingReportAt: Instant | undefined;
  /** What the newest report said, to tell when there is news. */
  reported: string;
  /** The entry as it was found to hold no news. */
  reportedEntry: BookEntry | undefined;
  ackedSeq: number;
  resendAt: Instant | undefined;
  resendDelayMs: number;
  /** A stopped promise leaves the book then, acked or not. */
  forgetAt: Instant | undefined;
}

export function createInstance(entry: BookEntry): Instance {
  return {
    entry,
    isDirty: false,
    slot: `${entry.terms.deployment}/${entry.terms.replica}`,
    isCompleted: entry.phase === "completed",
    hasImages: false,
    endpoint: "none",
    networkNamespace: undefined,
    container: { kind: "none" },
    isAttemptFresh: false,
    isBegun: false,
    inFlight: undefined,
    isAborting: false,
    retryAt: undefined,
    stepFailures: 0,
    crashes: 0,
    ending: undefined,
    touched: 0,
    startingReportAt: undefined,
    reported: contentOf(entry),
    reportedEntry: undefined,
    ackedSeq: -1,
    resendAt: undefined,
    resendDelayMs: 0,
    forgetAt: undefined,
  };
}

/** Everything of a report but its number; equal contents need no new report. */
export function contentOf(entry: BookEntry): string {
  const { phase, sinceMs, starts, message, imageDigest } = entry;
  return JSON.stringify([phase, sinceMs, starts, reportedExitCode(entry), message, imageDigest]);
}

/** How the last run ended; while stopping it is not news yet, the report of the end brings it. */
export function reportedExitCode({ phase, exitCode }: BookEntry): number | undefined {
  return phase === "stopping" ? undefined : exitCode;
}

/** Changes the entry; it reaches the disk with the next change that has to. */
export function amend(instance: Instance, change: Partial<BookEntry>): void {
  instance.entry = { ...instance.entry, ...change };
}

/** What the next report says in words; undefined clears it. */
export function setMessage(instance: Instance, message: string | undefined): void {
  const { message: _, ...entry } = instance.entry;
  instance.entry = message === undefined ? entry : { ...entry, message };
}

/** How the last run ended; undefined clears it. */
export function setExitCode(instance: Instance, exitCode: number | undefined): void {
  const { exitCode: _, ...entry } = instance.entry;
  instance.entry = exitCode === undefined ? entry : { ...entry, exitCode };
}

/** Nothing of the promise is left on the node. */
export function isGone(instance: Instance): boolean {
  return (
    instance.inFlight === undefined && instance.container.kind === "none" && instance.endpoint === "none"
  );
}

export function phaseOf(instance: Instance): InstancePhase {
  const { entry } = instance;
  if (entry.desired === "released") return isGone(instance) ? "stopped" : "stopping";
  if (instance.isCompleted) return "completed";
  if (instance.container.kind === "running") return "running";
  if (instance.retryAt !== undefined) return "backoff";
  return instance.isBegun ? "starting" : "admitted";
}

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

/** The single next step (K3). `isBlocked`: an earlier promise of the same slot is still here. */
export function nextMove(instance: Instance, now: Instant, isBlocked: boolean): Move {
  const isReleased = instance.entry.desired === "released";
  if (instance.inFlight !== undefined) {
    const isUseless = isReleased && instance.inFlight === "ensure-image";
    return isUseless && !instance.isAborting ? { kind: "abort" } : rest;
  }
  if (instance.retryAt !== undefined && now < instance.retryAt)
    return { kind: "wait", until: instance.retryAt };
  return isReleased ? releaseMove(instance, now) : startMove(instance, isBlocked);
}

function startMove(instance: Instance, isBlocked: boolean): Move {
  const { container, endpoint } = instance;
  if (instance.isCompleted || container.kind === "running") return rest;
  if (container.kind === "ended" || container.kind === "unsure") return step("remove");
  if (isBlocked) return { kind: "blocked" };
  if (!instance.hasImages) return step("ensure-image");
  if (endpoint !== "ready") return step("attach");
  return step(container.kind === "created" ? "start" : "create");
}

function releaseMove(instance: Instance, now: Instant): Move {
  const { container, ending } = instance;
  if (container.kind === "none") return instance.endpoint === "none" ? rest : step("detach");
  if (container.kind !== "running") return step("remove");
  if (ending === undefined) return step(instance.entry.terms.template.stopTimeoutMs > 0 ? "stop" : "kill");
  if (now < ending.until) return { kind: "wait", until: ending.until };
  return step(ending.signal === "stop" ? "kill" : "remove");
}

/** Steps of one lane share a bound, so that slow pulls hold up no starts and starts hold up no stops. */
export type Lane = "image" | "start" | "stop";

export function laneOf(instance: Instance, name: StepName): Lane {
  if (instance.entry.desired === "released") return "stop";
  return name === "ensure-image" ? "image" : "start";
}
