/** What the keeper knows of one promise while the agent runs. */
import { defined } from "../../model/assert.ts";
import type { InstancePhase } from "../../model/promise.ts";
import { containerIdAt, endpointIdOf } from "./container-ids.ts";
import type { Instant } from "../machine.ts";
import type { BookEntry, ContainerEntry } from "./messages.ts";
import { partsOf, type Lane, type Part, type StepUnderWay } from "./part.ts";

export interface Instance {
  /** As it is, or is about to be, on disk. */
  entry: BookEntry;
  /** The entry differs from what was last given to `persist`. */
  isDirty: boolean;
  /** Identity of the replica slot on this node. */
  readonly slot: string;
  readonly endpointId: string;
  /** Its containers, init containers first. */
  readonly parts: readonly Part[];
  endpoint: "none" | "unsure" | "ready";
  networkNamespace: string | undefined;
  /** `attach` or `detach`. */
  inFlight: StepUnderWay | undefined;
  /** `attach` or `detach` is not begun before. */
  retryAt: Instant | undefined;
  networkFailures: number;
  /** Some input concerned it since the last pass. */
  isStirred: boolean;
  /** It waits for another promise: for room in a lane, or for its slot. */
  isQueued: boolean;
  /** The one lane that it waits for; undefined when it waits for something else, and each pass looks at it. */
  queuedFor: Lane | undefined;
  /** The next pass that has to look at it. */
  wakeAt: Instant | undefined;
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

export function createInstance(entry: BookEntry, reported = ""): Instance {
  return {
    entry,
    isDirty: false,
    slot: `${entry.terms.deployment}/${entry.terms.replica}`,
    endpointId: endpointIdOf(entry.terms),
    parts: partsOf(entry.terms.template),
    endpoint: "none",
    networkNamespace: undefined,
    inFlight: undefined,
    retryAt: undefined,
    networkFailures: 0,
    isStirred: true,
    isQueued: false,
    queuedFor: undefined,
    wakeAt: undefined,
    startingReportAt: undefined,
    reported,
    reportedEntry: undefined,
    ackedSeq: -1,
    resendAt: undefined,
    resendDelayMs: 0,
    forgetAt: undefined,
  };
}

/** Id of the run that there is, or else of the one that comes next. */
export function runIdOf({ endpointId, entry }: Instance, { index, state }: Part): string {
  const attempt = state.kind === "none" ? (entry.containers[index]?.attempt ?? 0) : state.attempt;
  return containerIdAt(endpointId, index, attempt);
}

/** Changes the entry; it reaches the disk with the next change that has to. */
export function amend(instance: Instance, change: Partial<BookEntry>): void {
  instance.entry = { ...instance.entry, ...change };
}

export function entryOf(instance: Instance, part: Part): ContainerEntry {
  return defined(instance.entry.containers[part.index], "the book's entry of a container");
}

export function amendPart(instance: Instance, part: Part, change: Partial<ContainerEntry>): void {
  replacePart(instance, part, { ...entryOf(instance, part), ...change });
}

function replacePart(instance: Instance, part: Part, entry: ContainerEntry): void {
  amend(instance, { containers: instance.entry.containers.with(part.index, entry) });
}

/** What the next report says in words of the replica as a whole; undefined clears it. */
export function setMessage(instance: Instance, message: string | undefined): void {
  if (instance.entry.message === message) return;
  const { message: _, ...entry } = instance.entry;
  instance.entry = message === undefined ? entry : { ...entry, message };
}

/** What the next report says in words of one container; undefined clears it. */
export function setPartMessage(instance: Instance, part: Part, message: string | undefined): void {
  const { message: old, ...entry } = entryOf(instance, part);
  if (old !== message) replacePart(instance, part, message === undefined ? entry : { ...entry, message });
}

/** How the last run of a container ended; an undefined code: nobody knows. */
export function setEnd(
  instance: Instance,
  part: Part,
  end: { readonly exitCode: number | undefined; readonly oomKilled: boolean },
): void {
  const { exitCode: _code, oomKilled: _oom, ...entry } = entryOf(instance, part);
  replacePart(instance, part, {
    ...entry,
    ...(end.exitCode === undefined ? {} : { exitCode: end.exitCode }),
    ...(end.oomKilled ? { oomKilled: true } : {}),
  });
  if (part.isInit && end.exitCode === 0) return;
  const { exitCode: _, ...whole } = instance.entry;
  instance.entry = end.exitCode === undefined ? whole : { ...whole, exitCode: end.exitCode };
}

/** Nothing of the promise is left on the node. */
export function isGone(instance: Instance): boolean {
  return (
    instance.inFlight === undefined &&
    instance.endpoint === "none" &&
    instance.parts.every(({ inFlight, state }) => inFlight === undefined && state.kind === "none")
  );
}

/** An init container that may not be tried again failed: the others never start. */
export function hasFailedInit(instance: Instance): boolean {
  return instance.parts.some((part) => {
    if (!part.isInit) return false;
    const { isDone, exitCode } = entryOf(instance, part);
    return isDone && exitCode !== 0;
  });
}

/** Nothing more is to be started: by the restart policy, that is all. */
export function isCompleted(instance: Instance): boolean {
  return (
    instance.parts.every((part) => part.isInit || entryOf(instance, part).isDone) || hasFailedInit(instance)
  );
}

export function phaseOf(instance: Instance): InstancePhase {
  const { entry, parts } = instance;
  if (entry.desired === "released") return isGone(instance) ? "stopped" : "stopping";
  if (isCompleted(instance)) return "completed";
  const isWaiting = ({ retryAt, state }: Part): boolean => retryAt !== undefined && state.kind !== "running";
  if (instance.retryAt !== undefined || parts.some(isWaiting)) return "backoff";
  const isUp = (part: Part): boolean =>
    part.isInit || part.state.kind === "running" || entryOf(instance, part).isDone;
  if (parts.every(isUp)) return "running";
  return parts.some(({ isBegun }) => isBegun) || instance.inFlight !== undefined ? "starting" : "admitted";
}
