/** What goes into and comes out of the directory machine, and its settings. */
import type { Charter } from "../../model/charter.ts";
import type { NodeId } from "../../model/ids.ts";
import type { DirectoryRecord, RecordRef } from "./record.ts";

/** A record on its way, with the age of its tombstones, so that all holders drop them at about the same time. */
export interface Copy {
  readonly record: DirectoryRecord;
  readonly gone: readonly { readonly name: string; readonly forMs: number }[];
}

export interface Digest extends RecordRef {
  readonly hash: string;
}

export type DirectoryMessage =
  /** Merge these and say what they have become. */
  | { readonly kind: "store"; readonly sequence: number; readonly copies: readonly Copy[] }
  /** What the stored records have become, durable at the sender; `newer` are those that differ from what was sent. */
  | {
      readonly kind: "stored";
      readonly sequence: number;
      readonly digests: readonly Digest[];
      readonly newer: readonly Copy[];
    }
  | { readonly kind: "fetch"; readonly sequence: number; readonly ref: RecordRef }
  | { readonly kind: "found"; readonly sequence: number; readonly copy: Copy | undefined }
  /**
   * Here is what the sender holds of what the receiver should hold. With `range`, that is all of it between the two
   * refs (in the order of their text, the first excluded), so the receiver also returns what the sender lacks.
   */
  | {
      readonly kind: "compare";
      readonly digests: readonly Digest[];
      readonly range: { readonly after: string; readonly through: string } | undefined;
    }
  | {
      readonly kind: "compared";
      readonly same: readonly Digest[];
      readonly wanted: readonly RecordRef[];
      readonly copies: readonly Copy[];
    };

export type DirectoryInput =
  /** `records` as persisted by an earlier life. */
  | { readonly kind: "start"; readonly records: readonly DirectoryRecord[] }
  | { readonly kind: "timeout" }
  /** Every node that is not known to be dead or gone; this node may be among them or not. */
  | { readonly kind: "members-changed"; readonly live: readonly NodeId[] }
  /** Answered by one `put-done` with the same requestId. */
  | { readonly kind: "put"; readonly requestId: number; readonly record: DirectoryRecord }
  /** Answered by one `reply` with the same requestId. */
  | { readonly kind: "get"; readonly requestId: number; readonly ref: RecordRef }
  | { readonly kind: "message"; readonly from: NodeId; readonly message: DirectoryMessage };

export type DirectoryEffect =
  /** Best effort; what matters is sent again. */
  | { readonly kind: "send"; readonly to: NodeId; readonly message: DirectoryMessage }
  | { readonly kind: "persist"; readonly record: DirectoryRecord }
  /** The record is no longer held here. Needs no durability of its own. */
  | { readonly kind: "unpersist"; readonly ref: RecordRef }
  /**
   * `acks` nodes hold the record durably, this one included. `record` is what it has become: compare it with what
   * was put to see who won.
   */
  | {
      readonly kind: "put-done";
      readonly requestId: number;
      readonly acks: number;
      readonly record: DirectoryRecord;
    }
  | { readonly kind: "put-refused"; readonly requestId: number; readonly reason: string }
  /** The newest copy among the guardians that answered in time. */
  | { readonly kind: "reply"; readonly requestId: number; readonly record: DirectoryRecord | undefined }
  | { readonly kind: "event"; readonly event: DirectoryEvent };

export type DirectoryEvent =
  /** A record held here came or changed. */
  | { readonly kind: "record-changed"; readonly record: DirectoryRecord }
  /** Handed over, or its tombstone's time is up. */
  | { readonly kind: "record-dropped"; readonly ref: RecordRef; readonly reason: "handed-over" | "expired" }
  /** Two lineages of one deployment met; the loser has to stand down. */
  | { readonly kind: "charter-deposed"; readonly loser: Charter; readonly winner: Charter }
  | { readonly kind: "message-rejected"; readonly from: NodeId; readonly reason: string };

/** All times are milliseconds. */
export interface DirectoryOptions {
  /** Live nodes that hold each record. */
  readonly guardians: number;
  /** A get answers with what it has after this. */
  readonly getTimeoutMs: number;
  /** A put is acknowledged with what it has after this. */
  readonly putTimeoutMs: number;
  /** Guardians not known to hold a record are asked again this often. */
  readonly retryMs: number;
  /** Everything held is compared with one random neighbour this often. */
  readonly compareIntervalMs: number;
  /** Tombstones are kept this long, which bounds how long a node may be away without bringing back the deleted. */
  readonly tombstoneMs: number;
  /** Most records named or carried in one message. */
  readonly batch: number;
}

export const directoryDefaults: DirectoryOptions = {
  guardians: 5,
  getTimeoutMs: 300,
  putTimeoutMs: 500,
  retryMs: 1_000,
  compareIntervalMs: 10_000,
  tombstoneMs: 86_400_000,
  batch: 256,
};
