/** A promise: a node's durable commitment to run one replica of one template. */
import type { DeploymentId, GroupId, NodeId, PromiseId } from "./ids.ts";
import type { ReplicaTemplate } from "./spec.ts";

/** What a steward awards and a node admits into its book. */
export interface PromiseTerms {
  readonly id: PromiseId;
  readonly group: GroupId;
  readonly deployment: DeploymentId;
  readonly namespace: string;
  readonly name: string;
  /** The cohort's epoch; a node refuses an award of a lower epoch than one it has admitted for the deployment. */
  readonly epoch: number;
  /** The slot, from 0. */
  readonly replica: number;
  readonly templateHash: string;
  readonly template: ReplicaTemplate;
}

/**
 * Where the instance of a promise is in its life, as its node reports it.
 * `admitted` nothing started yet; `starting` image, network or container under way; `running`;
 * `backoff` ended or failed to start, will be tried again; `completed` ended and its restart policy
 * says that is all; `stopping`; `stopped` nothing of it is left on the node.
 */
export type InstancePhase =
  "admitted" | "starting" | "running" | "backoff" | "completed" | "stopping" | "stopped";

/**
 * Where one container of an instance is. `waiting` for its image or its turn; `starting`; `running`;
 * `backoff` ended or failed to start, will be tried again; `completed` ended and is not started again;
 * `stopping` on its way to an end that the node wants.
 */
export type ContainerPhase = "waiting" | "starting" | "running" | "backoff" | "completed" | "stopping";

export interface ContainerReport {
  /** As the template has it. */
  readonly name: string;
  /** Of those that run to their end before the others start. */
  readonly isInit: boolean;
  readonly phase: ContainerPhase;
  /** Runs, and its startup and readiness probes, as far as it has any, say that it is well. */
  readonly ready: boolean;
  /** Starts after the first one. */
  readonly restarts: number;
  /** Of the last run that ended; absent as well when nobody saw it end. */
  readonly exitCode?: number;
  /** The last run that ended was killed because memory ran out. */
  readonly oomKilled?: boolean;
  /** Why, in words for people. */
  readonly message?: string;
  /** Digest of the image that runs. */
  readonly imageDigest?: string;
}

/** A node's newest word on one of its promises. A greater `seq` replaces a smaller one. */
export interface InstanceReport {
  readonly promise: PromiseId;
  readonly seq: number;
  readonly phase: InstancePhase;
  /** Running, and each container that runs is ready: it can be given traffic. */
  readonly ready: boolean;
  /** Of all containers together. */
  readonly restarts: number;
  /** Exit code of the last run that ended. */
  readonly exitCode?: number;
  /** Why, in words for people: what failed or what the node waits for. */
  readonly message?: string;
  /** Wall clock, milliseconds since 1970, when this phase began on the node. */
  readonly sinceMs: number;
  /** Digest of the image that the first container runs. */
  readonly imageDigest?: string;
  /** Init containers first, as in the template; empty once it is being stopped. */
  readonly containers: readonly ContainerReport[];
}

/** The members of a cohort as a holder needs them: whom to report to. */
export interface CohortRef {
  readonly group: GroupId;
  readonly deployment: DeploymentId;
  readonly epoch: number;
  readonly voters: readonly NodeId[];
}
