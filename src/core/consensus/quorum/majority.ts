import type { MemberId } from "../entry.ts";

/** "pending" means that the missing votes can still decide either way. */
export type VoteResult = "pending" | "lost" | "won";

/**
 * The greatest index that a majority of `voters` holds, where `acked` gives the index each voter is
 * known to hold. No voters: infinity, so that an empty half of a joint quorum never holds back the other.
 */
export function majorityCommitted(
  voters: ReadonlySet<MemberId>,
  acked: (voter: MemberId) => number | undefined,
): number {
  if (voters.size === 0) return Number.POSITIVE_INFINITY;
  const indexes = [...voters].map((voter) => acked(voter) ?? 0).sort((a, b) => b - a);
  return indexes[Math.floor(voters.size / 2)] ?? 0;
}

/** The outcome of an election among `voters`. No voters: won, for the same reason as above. */
export function majorityVote(
  voters: ReadonlySet<MemberId>,
  votes: ReadonlyMap<MemberId, boolean>,
): VoteResult {
  if (voters.size === 0) return "won";
  let granted = 0;
  let missing = 0;
  for (const voter of voters) {
    const vote = votes.get(voter);
    if (vote === undefined) missing++;
    else if (vote) granted++;
  }
  const needed = Math.floor(voters.size / 2) + 1;
  if (granted >= needed) return "won";
  return granted + missing >= needed ? "pending" : "lost";
}
