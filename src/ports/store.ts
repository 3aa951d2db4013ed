/**
 * A node's durable memory: tables of small records, and one append-only log per consensus group.
 *
 * Life cycle: opened with its directory (an adapter's `open`), read once while the agent starts,
 * written by the node's driver for as long as it runs, closed. One process at a time.
 *
 * All writes of one `commit` become durable together or not at all, and the promise resolves only
 * once they survive a power cut. Commits take effect in call order. An adapter may join several
 * pending commits into one; that is why a node has one store for all its groups.
 * What is read is what is durable: a commit that is still pending is not seen.
 * Failures: StoreError `locked` (from `open`), `full` (no space; nothing was written, the store stays usable), `corrupt`, `closed`, `failed`.
 */
import type { GroupId } from "../model/ids.ts";

export type StoreTable =
  /** Node-wide single records: fleet secrets are not among them. */
  | "node"
  /** The promise book, by promise id. */
  | "promises"
  /** Directory records held here as a guardian, by `kind:key`. */
  | "directory"
  /** Last known members, for finding the fleet again after a restart, by node id. */
  | "members"
  /** Records of other tables that could not be read, by `table/key`: kept for who can. */
  | "set-aside"
  /** Per group: hard state, by group id. */
  | "hard-states"
  /** Per group: newest snapshot and what the group is, by group id. */
  | "snapshots";

export type StoreWrite =
  | {
      readonly kind: "put";
      readonly table: StoreTable;
      readonly key: string;
      readonly value: Uint8Array;
    }
  | {
      readonly kind: "delete";
      readonly table: StoreTable;
      readonly key: string;
    }
  /** Replaces everything at and after `firstIndex`; entries are consecutive. */
  | {
      readonly kind: "append";
      readonly group: GroupId;
      readonly firstIndex: number;
      readonly entries: readonly Uint8Array[];
    }
  /** Forgets entries up to and including `throughIndex`. */
  | {
      readonly kind: "compact";
      readonly group: GroupId;
      readonly throughIndex: number;
    }
  /** Forgets the group's log; its records in tables are deleted by their own writes. */
  | { readonly kind: "drop-log"; readonly group: GroupId };

export interface Store {
  commit(writes: readonly StoreWrite[]): Promise<void>;
  get(table: StoreTable, key: string): Promise<Uint8Array | undefined>;
  /** Every record of a table, ordered by key. */
  scan(table: StoreTable): Promise<readonly { readonly key: string; readonly value: Uint8Array }[]>;
  /** The group's log in index order; empty when there is none. */
  readLog(group: GroupId): Promise<readonly { readonly index: number; readonly value: Uint8Array }[]>;
  close(): Promise<void>;
}

export type StoreErrorInfo =
  | { readonly code: "full"; readonly path: string }
  | { readonly code: "corrupt"; readonly path: string; readonly detail: string }
  /** Another process has it, or this one has it open already. */
  | {
      readonly code: "locked";
      readonly path: string;
      readonly holderPid?: number;
    }
  | { readonly code: "closed" }
  | { readonly code: "failed"; readonly detail: string };

export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly info: StoreErrorInfo;
  constructor(message: string, info: StoreErrorInfo, options?: { cause?: unknown }) {
    super(message, options);
    this.info = info;
  }
}
