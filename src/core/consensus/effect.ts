import type { ConfChange } from "./confchange/conf-change.ts";
import type { Entry, HardState, MemberId, Snapshot } from "./entry.ts";
import type { ConsensusEvent, Refusal, Role } from "./event.ts";
import type { Message } from "./message.ts";

/** What a driver tells a member. */
export type ConsensusInput =
  /** The deadline has passed. */
  | { readonly kind: "timeout" }
  | { readonly kind: "message"; readonly from: MemberId; readonly message: Message }
  /** Append `data`, if this member leads. Correlate by what is inside `data`. */
  | { readonly kind: "propose"; readonly data: Uint8Array }
  | { readonly kind: "propose-conf-change"; readonly change: ConfChange }
  /** Every persist effect with a sequence up to this one is durable. */
  | { readonly kind: "persisted"; readonly upTo: number }
  /** Campaign now. `leaderDead` also takes the leader for dead, as "leader-suspected" does. */
  | { readonly kind: "campaign"; readonly leaderDead?: boolean }
  /** Membership says that the leader's node is dead. It holds until a leader is heard from. */
  | { readonly kind: "leader-suspected" }
  | { readonly kind: "transfer-leadership"; readonly to: MemberId }
  /** `context` comes back in "read-ready" or "read-dropped"; unique among the reads that wait. */
  | { readonly kind: "read-index"; readonly context: string }
  /** The state machine's image after applying `index`, an index handed out by "apply" or "restore". */
  | { readonly kind: "snapshot-taken"; readonly index: number; readonly data: Uint8Array }
  /** The transport lost something on its way to `peer`. */
  | { readonly kind: "unreachable"; readonly peer: MemberId }
  /** The transport is done with a snapshot to `peer`. Without this word a lost one is sent again only after ten election timeouts. */
  | { readonly kind: "snapshot-sent"; readonly peer: MemberId; readonly ok: boolean };

/** One atomic change to the stored state of a member. It is carried out in the order of its fields. */
export interface PersistEffect {
  readonly kind: "persist";
  /** Counts up; the driver answers with "persisted". */
  readonly sequence: number;
  /** Replaces the stored hard state. */
  readonly hardState: HardState;
  /** Replaces the stored snapshot. */
  readonly snapshot: Snapshot | undefined;
  /** Stored entries at or below this index are deleted. */
  readonly discardTo: number | undefined;
  /** Stored entries at or above this index are deleted. */
  readonly truncateFrom: number | undefined;
  /** Added to the stored entries. */
  readonly entries: readonly Entry[];
}

/**
 * What a member wants done. The order is a contract, across steps too: a driver keeps one queue per
 * member and starts nothing that stands after a "persist" until that is durable. It may step the member
 * again meanwhile.
 */
export type ConsensusEffect =
  /** Messages may be lost, doubled or reordered, but not forged. */
  | { readonly kind: "send"; readonly messages: readonly Message[] }
  | PersistEffect
  /** Replace the state machine; its `applied` index is the snapshot's. */
  | { readonly kind: "restore"; readonly snapshot: Snapshot }
  /** Apply in order; every committed entry comes once, conf changes (in force already) and empty ones included. */
  | { readonly kind: "apply"; readonly entries: readonly Entry[] }
  | {
      readonly kind: "soft-state";
      readonly role: Role;
      readonly leader: MemberId | undefined;
      readonly term: number;
    }
  /** The state machine, as it stands at this place in the queue, answers the read. */
  | { readonly kind: "read-ready"; readonly context: string; readonly index: number }
  | {
      readonly kind: "read-dropped";
      readonly context: string;
      readonly reason: Refusal;
      readonly leader: MemberId | undefined;
    }
  | {
      readonly kind: "proposal-dropped";
      readonly proposal:
        | { readonly kind: "propose"; readonly data: Uint8Array }
        | { readonly kind: "propose-conf-change"; readonly change: ConfChange };
      readonly reason: Refusal;
      readonly leader: MemberId | undefined;
    }
  /** A follower needs a snapshot newer than any taken: answer with "snapshot-taken" at the applied index. */
  | { readonly kind: "snapshot-wanted" }
  | { readonly kind: "event"; readonly event: ConsensusEvent };
