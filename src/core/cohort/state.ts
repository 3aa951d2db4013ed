/**
 * What every member of a cohort knows: the value that log entries change. Treated as immutable; a
 * command yields a new one, so a snapshot may be taken of it at any time.
 */
import type { HistoryEvent } from "../../model/event.ts";
import type { DeploymentId, GroupId, NodeId, PromiseId } from "../../model/ids.ts";
import type { Outcome } from "../../model/outcome.ts";
import type { Problem } from "../../model/problem.ts";
import type { ContainerReport, InstancePhase } from "../../model/promise.ts";
import type { DeploymentSpec, ReplicaTemplate } from "../../model/spec.ts";

/**
 * `awarded`: in the log, the node has not answered. `promised`: in the node's book. `releasing`: to
 * be stopped. `broken`: its node is lost; kept to be released should the node come back.
 */
export type PromiseStage = "awarded" | "promised" | "releasing" | "broken";

export interface PromiseRecord {
  readonly id: PromiseId;
  readonly replica: number;
  readonly node: NodeId;
  readonly templateHash: string;
  readonly stage: PromiseStage;
  /** As last reported; `admitted` before the first report. */
  readonly phase: InstancePhase;
  /** All its containers run and are well, as last reported. */
  readonly ready: boolean;
  /** Of the newest report in the log; 0 before the first. */
  readonly seq: number;
  readonly restarts: number;
  readonly exitCode?: number;
  readonly message?: string;
  readonly imageDigest?: string;
  /** Wall clock when this stage or phase began. */
  readonly sinceMs: number;
  /** As of the newest report in the log; empty before the first. */
  readonly containers: readonly ContainerReport[];
}

/** The answer to a write; the same fields as the API's answer. */
export interface WriteReceipt {
  readonly deployment: DeploymentId;
  readonly templateHash: string;
  readonly desired: number;
  /** False when the deployment already was exactly so. */
  readonly changed: boolean;
  readonly epoch: number;
  readonly index: number;
  /** Empty in the log; added by the steward that replies. */
  readonly notes: readonly string[];
}

export type RequestAnswer = Outcome<WriteReceipt, Problem>;

export interface CohortState {
  readonly group: GroupId;
  readonly deployment: DeploymentId;
  readonly epoch: number;
  readonly founder: NodeId;
  /** Index of the last applied entry. */
  readonly index: number;
  readonly status: "active" | "deleting" | "deleted";
  readonly spec: DeploymentSpec;
  readonly templateHash: string;
  /** Counts changes of the spec. */
  readonly specVersion: number;
  readonly charterVersion: number;
  /** As last written to the log; consensus itself is the authority. */
  readonly voters: readonly NodeId[];
  /** The last steward in the log, and its term; undefined and 0 before the first. */
  readonly steward: NodeId | undefined;
  readonly stewardTerm: number;
  readonly nextOrdinal: number;
  /**
   * How many slots are empty for another reason than an update: never filled, or their node was lost.
   * When these have no place, an update goes on in spite of them; it waits only for what it emptied.
   */
  readonly emptyOtherwise: number;
  /** By id, in the order they were awarded. */
  readonly promises: ReadonlyMap<PromiseId, PromiseRecord>;
  /** By hash: those of occupied slots and the wanted one. */
  readonly templates: ReadonlyMap<string, ReplicaTemplate>;
  /** The newest `requestsMax` user requests and what they were answered, oldest first. */
  readonly requests: ReadonlyMap<string, RequestAnswer>;
  readonly unplaced: {
    readonly key: string;
    readonly reasons: readonly string[];
  };
  /** The newest `historyMax` lines, oldest first. */
  readonly history: readonly HistoryEvent[];
  /** All lines there ever were. */
  readonly historyCount: number;
}

/** Answers kept for requests that are repeated. */
export const requestsMax = 256;
/** History lines kept in the state. */
export const historyMax = 1_000;
/** Broken promises kept to be released; the oldest are dropped, and answered `unknown` should they report. */
export const brokenMax = 256;

/** Whether the promise keeps its slot from being given away: all but a broken one do. */
export function isOccupying(promise: PromiseRecord): boolean {
  return promise.stage !== "broken";
}

/** Whether the promise serves its slot or is on its way to. */
export function isServing(promise: PromiseRecord): boolean {
  return promise.stage === "awarded" || promise.stage === "promised";
}

/** Whether it runs and can be given traffic: what counts as running of what a deployment desires. */
export function isRunning(promise: PromiseRecord): boolean {
  return promise.stage === "promised" && promise.phase === "running" && promise.ready;
}

/** Whether the slot needs nothing more: it runs and is ready, or it ran and is finished. */
export function isAvailable(promise: PromiseRecord): boolean {
  return isRunning(promise) || (promise.stage === "promised" && promise.phase === "completed");
}
