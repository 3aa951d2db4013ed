/** The nouns of placement: what a steward asks for, and what a node answers. */
import type { DeploymentId, GroupId, NodeId } from "./ids.ts";
import type { PortSpec, Resources } from "./spec.ts";

/** A call for volunteers: `count` replicas, each with these needs. */
export interface PlacementRequest {
  readonly group: GroupId;
  readonly deployment: DeploymentId;
  readonly count: number;
  readonly resources: Resources;
  readonly ports: readonly PortSpec[];
  readonly images: readonly string[];
}

/** A quote that reserves nothing. */
export interface Offer {
  readonly node: NodeId;
  /** How many of the replicas asked for fit here, 1..count. */
  readonly slots: number;
  /** Replicas of the same deployment that the node has promised already. */
  readonly held: number;
  /** All promises in the node's book. */
  readonly promises: number;
  /** What stays free before any of the replicas is added. */
  readonly free: Resources;
  readonly capacity: Resources;
  /** All of the images are on the node already. */
  readonly hasImages: boolean;
}

/** Why a node does not volunteer. `detail` names the numbers or the holder, for people. */
export interface Refusal {
  readonly node: NodeId;
  readonly reason:
    "cpu" | "memory" | "port-taken" | "policy" | "unreachable" | "stopping" | "stale-epoch" | "busy";
  readonly detail: string;
  /** What the node has free, when the reason is cpu or memory. */
  readonly free?: Resources;
}

export type CallAnswer =
  { readonly kind: "offer"; readonly offer: Offer } | { readonly kind: "refusal"; readonly refusal: Refusal };
