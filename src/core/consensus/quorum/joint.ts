import type { MemberId } from "../entry.ts";
import { majorityCommitted, majorityVote, type VoteResult } from "./majority.ts";

/** Two majorities that must both agree (Raft paper 6). `outgoing` is empty outside a joint change. */
export interface JointVoters {
  readonly incoming: ReadonlySet<MemberId>;
  readonly outgoing: ReadonlySet<MemberId>;
}

export function jointCommitted(voters: JointVoters, acked: (voter: MemberId) => number | undefined): number {
  return Math.min(majorityCommitted(voters.incoming, acked), majorityCommitted(voters.outgoing, acked));
}

export function jointVote(voters: JointVoters, votes: ReadonlyMap<MemberId, boolean>): VoteResult {
  const incoming = majorityVote(voters.incoming, votes);
  const outgoing = majorityVote(voters.outgoing, votes);
  if (incoming === "lost" || outgoing === "lost") return "lost";
  return incoming === "won" && outgoing === "won" ? "won" : "pending";
}

/** Every voter of either half, sorted. */
export function jointMembers(voters: JointVoters): MemberId[] {
  return [...new Set([...voters.incoming, ...voters.outgoing])].sort();
}
