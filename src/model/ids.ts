/** Names of things. All are plain strings; how each is derived is said here and nowhere else. */

/** 32 hex digits: the first 128 bits of SHA-256 over a node's raw Ed25519 public key. */
export type NodeId = string;
/** 32 hex digits: the first 128 bits of SHA-256 over `namespace`, a NUL byte and `name`. */
export type DeploymentId = string;
/** One lineage of a cohort: `deploymentId.epoch.lineage`, the lineage drawn at founding; a re-founded cohort has another one. */
export type GroupId = string;
/** `groupId/ordinal`: ordinals count up in the cohort's log, so an id is never used twice. */
export type PromiseId = string;
/** `namespace/name`, as users write it. */
export type DeploymentName = string;

export const idPattern = /^[0-9a-f]{32}$/;

/** The id of a cohort lineage; `lineage` is eight random hex digits, so that a founding tried twice never meets its own leftovers. */
export function groupIdOf(deployment: DeploymentId, epoch: number, lineage: string): GroupId {
  return `${deployment}.${epoch}.${lineage}`;
}

/** The first eight digits: what tables and messages show people. */
export function shortId(id: string): string {
  return id.slice(0, 8);
}
