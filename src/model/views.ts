/** What the API answers and the CLI prints: one set of types for both ends. */
import type { DeploymentId, GroupId, NodeId, PromiseId } from "./ids.ts";
import type { ContainerReport, InstancePhase } from "./promise.ts";
import type { DeploymentSpec, Resources } from "./spec.ts";

export interface NodeView {
  readonly id: NodeId;
  readonly name: string;
  readonly status: "alive" | "suspect" | "dead" | "left";
  readonly addresses: readonly string[];
  readonly version: string;
  readonly architecture: string;
  readonly capacity: Resources;
  readonly free: Resources;
  readonly zone?: string;
  readonly labels: Readonly<Record<string, string>>;
  /** This is the node that answers. */
  readonly self: boolean;
}

/** The answering node itself. */
export interface StatusView {
  readonly id: NodeId;
  readonly name: string;
  readonly version: string;
  readonly commit: string;
  readonly pid: number;
  readonly uptimeMs: number;
  readonly fleet: string;
  readonly members: {
    readonly alive: number;
    readonly suspect: number;
    readonly dead: number;
  };
  readonly promises: number;
  readonly groups: number;
  readonly rssBytes: number;
}

export interface ReplicaView {
  readonly replica: number;
  readonly promise: PromiseId;
  readonly node: NodeId;
  readonly nodeName: string;
  readonly phase: InstancePhase | "awarded" | "broken" | "releasing";
  /** It runs, and all its containers are well: it counts as running. */
  readonly ready: boolean;
  readonly restarts: number;
  readonly exitCode?: number;
  readonly message?: string;
  readonly sinceMs: number;
  readonly templateHash: string;
  readonly address: string;
  /** Init containers first; empty before the node has told of them and while they are being stopped. */
  readonly containers: readonly ContainerReport[];
}

export interface DeploymentView {
  readonly id: DeploymentId;
  readonly namespace: string;
  readonly name: string;
  readonly spec: DeploymentSpec;
  readonly templateHash: string;
  readonly status: "active" | "deleting" | "deleted";
  readonly running: number;
  readonly desired: number;
  readonly steward?: NodeId;
  readonly epoch: number;
  readonly replicas: readonly ReplicaView[];
  /** Why replicas are not placed, one line a reason; empty when all are. */
  readonly unplaced: readonly string[];
  readonly freshness: Freshness;
}

/** How fresh an answer is: straight from the steward, or another member's or guardian's last knowledge. */
export interface Freshness {
  readonly source: "steward" | "member" | "charter";
  readonly node: NodeId;
  /** The log index the answer reflects. */
  readonly index: number;
  readonly note?: string;
}

export interface CohortView {
  readonly deployment: DeploymentId;
  readonly namespace: string;
  readonly name: string;
  readonly group: GroupId;
  readonly epoch: number;
  readonly term: number;
  readonly steward?: NodeId;
  readonly members: readonly {
    readonly node: NodeId;
    readonly name: string;
    readonly roles: readonly ("steward" | "voter" | "learner" | "holder" | "witness")[];
    readonly status: "alive" | "suspect" | "dead" | "left" | "unknown";
    /** Last log index known to be on that voter, where the answering steward knows it. */
    readonly match?: number;
  }[];
  readonly commitIndex: number;
  /** How many voters may die with nothing lost, in words where that is none. */
  readonly tolerates: number;
  readonly note?: string;
  readonly freshness: Freshness;
}

/** A promise in one node's book. */
export interface PromiseView {
  readonly promise: PromiseId;
  readonly namespace: string;
  readonly name: string;
  readonly replica: number;
  readonly node: NodeId;
  readonly nodeName: string;
  readonly phase: InstancePhase;
  readonly assessment: "kept" | "late" | "broken";
  readonly restarts: number;
  readonly sinceMs: number;
  readonly message?: string;
  readonly resources: Resources;
}
