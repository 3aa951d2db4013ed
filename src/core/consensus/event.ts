import type { ConfChange } from "./confchange/conf-change.ts";
import type { ChangeError } from "./confchange/changer.ts";
import type { ConfState, MemberId } from "./entry.ts";
import type { CampaignReason, Message } from "./message.ts";

export type Role = "follower" | "pre-candidate" | "candidate" | "leader";

/** What may be lost in a crash, and what others want to know first. */
export interface SoftState {
  readonly role: Role;
  readonly leader: MemberId | undefined;
}

/** Why something that was asked of a member did not happen. */
export type Refusal =
  | "no-leader"
  | "not-leader"
  /** Leadership is being handed over. */
  | "transferring"
  /** Too many uncommitted bytes; try again when some are committed. */
  | "too-many"
  /** This member leads but is not a member any more. */
  | "removed"
  /** Another membership change is not applied yet. */
  | "change-pending"
  /** The present joint configuration must be left first. */
  | "change-joint"
  /** There is no joint configuration to leave. */
  | "change-not-joint";

/** Things worth a log line, a metric or a checker's attention; nothing depends on them. */
export type ConsensusEvent =
  | {
      readonly kind: "campaign-started";
      readonly term: number;
      readonly reason: CampaignReason;
      readonly isPreVote: boolean;
    }
  | { readonly kind: "campaign-refused"; readonly why: "leader" | "not-promotable" | "unapplied-conf-change" }
  | {
      readonly kind: "vote-answered";
      readonly candidate: MemberId;
      readonly term: number;
      readonly isGranted: boolean;
      readonly isPreVote: boolean;
    }
  /** A vote was not even answered, because the leader was heard from a moment ago. */
  | { readonly kind: "vote-ignored"; readonly candidate: MemberId; readonly term: number }
  /** The leader stepped down because it could not hear a quorum. */
  | { readonly kind: "quorum-lost"; readonly term: number }
  | { readonly kind: "transfer-started"; readonly target: MemberId }
  | {
      readonly kind: "transfer-ended";
      readonly target: MemberId;
      readonly why: "timeout" | "removed" | "superseded";
    }
  | {
      readonly kind: "transfer-refused";
      readonly target: MemberId;
      readonly why: "not-leader" | "not-voter" | "self";
    }
  | { readonly kind: "conf-changed"; readonly index: number; readonly conf: ConfState }
  | {
      readonly kind: "conf-change-void";
      readonly index: number;
      readonly change: ConfChange;
      readonly error: ChangeError;
    }
  | { readonly kind: "snapshot-sent"; readonly to: MemberId; readonly index: number }
  | {
      readonly kind: "snapshot-refused";
      readonly from: MemberId;
      readonly index: number;
      readonly why: "old" | "known";
    }
  /** A message that no correct peer sends, or that is not meant for this member. It had no effect. */
  | {
      readonly kind: "bad-message";
      readonly from: MemberId;
      readonly message: Message["kind"];
      readonly why: string;
    };
