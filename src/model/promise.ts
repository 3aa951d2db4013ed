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

/** A node's newest word on one of its promises. A greater `seq` replaces a smaller one. */
export interface InstanceReport {
  readonly promise: PromiseId;
  readonly seq: number;
  readonly phase: InstancePhase;
  /** Starts after the first one. */
  readonly restarts: number;
  /** Exit code of the last run that ended. */
  readonly exitCode?: number;
  /** Why, in words for people: what failed or what the node waits for. */
  readonly message?: string;
  /** Wall clock, milliseconds since 1970, when this phase began on the node. */
  readonly sinceMs: number;
  /** Digest of the image that runs. */
  readonly imageDigest?: string;
}

/** The members of a cohort as a holder needs them: whom to report to. */
export interface CohortRef {
  readonly group: GroupId;
  readonly deployment: DeploymentId;
  readonly epoch: number;
  readonly voters: readonly NodeId[];
}
