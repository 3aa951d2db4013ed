import type { Entry, MemberId, Snapshot } from "./entry.ts";

/**
 * Why a member campaigns. "transfer": the leader asked it to, so leases do not protect that leader.
 * "leader-dead": its driver was told that the leader's node is dead; only voters that were told the
 * same let go of their lease.
 */
export type CampaignReason = "timeout" | "transfer" | "leader-dead";

interface Envelope {
  readonly from: MemberId;
  readonly to: MemberId;
  /** The sender's term; in a pre-vote and its grant, the term the candidate would campaign in. */
  readonly term: number;
}

/** Asks for a vote. A pre-vote asks whether a vote would be granted and changes nothing (thesis 9.6). */
export interface VoteRequest extends Envelope {
  readonly kind: "vote" | "pre-vote";
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly reason: CampaignReason;
}

export interface VoteResponse extends Envelope {
  readonly kind: "vote-response" | "pre-vote-response";
  readonly rejected: boolean;
  /** Rejected: the last entry that the voter knows to be committed. The candidate may not know it yet. */
  readonly commit: number;
  readonly commitTerm: number;
}

export interface Append extends Envelope {
  readonly kind: "append";
  readonly prevIndex: number;
  readonly prevTerm: number;
  readonly entries: readonly Entry[];
  readonly commit: number;
}

export interface AppendResponse extends Envelope {
  readonly kind: "append-response";
  /** Accepted: the last index known to match. Rejected: the `prevIndex` that did not match. */
  readonly index: number;
  readonly rejected: boolean;
  /** Rejected: the greatest index at which the logs may still agree, and the follower's term there. */
  readonly hintIndex: number;
  readonly hintTerm: number;
}

export interface Heartbeat extends Envelope {
  readonly kind: "heartbeat";
  /** Never beyond what the receiver is known to hold. */
  readonly commit: number;
  /** Sequence of the newest read waiting for a quorum; 0 when none is. */
  readonly readSequence: number;
}

export interface HeartbeatResponse extends Envelope {
  readonly kind: "heartbeat-response";
  readonly readSequence: number;
}

export interface InstallSnapshot extends Envelope {
  readonly kind: "snapshot";
  readonly snapshot: Snapshot;
}

/** The leader's request that the receiver campaigns at once (thesis 3.10). */
export interface TimeoutNow extends Envelope {
  readonly kind: "timeout-now";
}

export type Message =
  | VoteRequest
  | VoteResponse
  | Append
  | AppendResponse
  | Heartbeat
  | HeartbeatResponse
  | InstallSnapshot
  | TimeoutNow;
