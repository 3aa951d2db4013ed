import type { ConfChange } from "./confchange/conf-change.ts";

/** A member of the group. Compared as plain strings wherever an order is needed. */
export type MemberId = string;

/** A slot of the replicated log. `index` counts from 1 without gaps; `term` never falls along the log. */
export type Entry =
  | { readonly kind: "normal"; readonly term: number; readonly index: number; readonly data: Uint8Array }
  | {
      readonly kind: "conf-change";
      readonly term: number;
      readonly index: number;
      readonly change: ConfChange;
    };

/** What a leader is asked to append, before it has a place in the log. */
export type Proposal =
  | { readonly kind: "normal"; readonly data: Uint8Array }
  | { readonly kind: "conf-change"; readonly change: ConfChange };

/** The membership in force at some index. All lists are sorted and free of duplicates. */
export interface ConfState {
  readonly voters: readonly MemberId[];
  /** Voters of the configuration being left; not empty only while the change is joint (Raft paper 6). */
  readonly votersOutgoing: readonly MemberId[];
  readonly learners: readonly MemberId[];
  /** Outgoing voters that turn into learners when the joint configuration is left. */
  readonly learnersNext: readonly MemberId[];
  readonly autoLeave: boolean;
}

/** A replacement for the log up to and including `index`. */
export interface Snapshot {
  readonly index: number;
  readonly term: number;
  readonly conf: ConfState;
  readonly data: Uint8Array;
}

/** The part of a member's state that must survive a crash before anything that depends on it is sent. */
export interface HardState {
  readonly term: number;
  readonly vote: MemberId | undefined;
  /** A lower bound: losing an update to it alone is harmless. */
  readonly commit: number;
}

/** A configuration without members: the state of a member that has yet to hear from its group. */
export const emptyConfState: ConfState = {
  voters: [],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

const noData = new Uint8Array(0);

/** The entry a new leader appends to commit what its predecessors left (Raft paper 8). */
export const emptyProposal: Proposal = { kind: "normal", data: noData };

const bytesPerEntryHeader = 24;

/** Bytes of user payload, the quantity that uncommitted and in-flight limits are stated in. */
export function payloadBytes(proposal: Proposal | Entry): number {
  if (proposal.kind === "normal") return proposal.data.byteLength;
  return proposal.change.changes.reduce(
    (sum, one) => sum + one.member.length + 1,
    proposal.change.context.byteLength,
  );
}

/** Approximate bytes on the wire, the quantity that the size of a message is limited in. */
export function entryBytes(entry: Entry): number {
  return bytesPerEntryHeader + payloadBytes(entry);
}
