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

/** Negative when `a` yields to `b`: by epoch, then version, then the lower founder id wins. */
export function compareCharters(a: Charter, b: Charter): number {
  if (a.epoch !== b.epoch) return a.epoch - b.epoch;
  if (a.version !== b.version) return a.version - b.version;
  if (a.founder === b.founder) return 0;
  return a.founder < b.founder ? 1 : -1;
}
