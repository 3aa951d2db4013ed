/** One line of a deployment's immutable history. "If it is not in the log it did not happen." */
import type { DeploymentName, NodeId, PromiseId } from "./ids.ts";

export type HistoryKind =
  | "declared"
  | "scaled"
  | "deleted"
  | "called"
  | "awarded"
  | "promised"
  | "refused"
  | "starting"
  | "running"
  | "ready"
  | "unready"
  | "backoff"
  | "completed"
  | "broken"
  | "releasing"
  | "released"
  | "steward"
  | "voter-added"
  | "voter-removed"
  | "unplaceable"
  | "placeable";

export interface HistoryEvent {
  readonly deployment: DeploymentName;
  /** Index of the log entry; several events may come from one entry. */
  readonly index: number;
  readonly epoch: number;
  /** Wall clock of the steward that proposed the entry, milliseconds since 1970. */
  readonly atMs: number;
  readonly kind: HistoryKind;
  /** Who did it: a node, or "user". */
  readonly actor: NodeId | "user";
  readonly node?: NodeId;
  readonly replica?: number;
  readonly promise?: PromiseId;
  /** Why, in words for people. */
  readonly cause: string;
}
