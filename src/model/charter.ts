/** The small record at the guardians that lets anyone find a cohort. */
import type { DeploymentId, GroupId, NodeId } from "./ids.ts";

export interface Charter {
  readonly deployment: DeploymentId;
  readonly namespace: string;
  readonly name: string;
  readonly group: GroupId;
  /** Counts foundings of this deployment's cohort; a greater epoch deposes a smaller one. */
  readonly epoch: number;
  /** Counts changes of this charter within the epoch. */
  readonly version: number;
  readonly founder: NodeId;
  readonly voters: readonly NodeId[];
  /** True once the deployment is deleted: the tombstone that keeps it from coming back. */
  readonly deleted: boolean;
}

/**
 * Negative when `a` yields to `b`: by epoch, then by lineage (the lower founder id wins, then the lower group id),
 * then by version. Lineage stands before version, so that a lineage that has lost stays lost however much it is
 * changed by members that have not heard of it yet.
 */
export function compareCharters(a: Charter, b: Charter): number {
  if (a.epoch !== b.epoch) return a.epoch - b.epoch;
  if (a.founder !== b.founder) return a.founder < b.founder ? 1 : -1;
  if (a.group !== b.group) return a.group < b.group ? 1 : -1;
  return a.version - b.version;
}

/** Orders the lineages of one epoch as `compareCharters` does; the lower one wins. */
export function lineageOf({ founder, group }: Charter): string {
  return `${founder.slice(0, 8)}.${group.slice(-8)}`;
}
