import { assert } from "../../model/assert.ts";
import { emptyProposal, type MemberId } from "./entry.ts";
import { beFollower, takeAppend, takeHeartbeat, takeSnapshot } from "./follower.ts";
import type { CampaignReason, Message, VoteRequest, VoteResponse } from "./message.ts";
import type { RaftState } from "./raft-state.ts";
import { broadcastAppend } from "./replication.ts";

/** Starts a campaign, unless this member leads, may not lead, or has yet to apply a membership change. */
export function campaign(raft: RaftState, reason: CampaignReason): void {
  if (raft.role === "leader") {
    raft.events.push({ kind: "campaign-refused", why: "leader" });
    return;
  }
  if (!raft.isPromotable) {
    raft.events.push({ kind: "campaign-refused", why: "not-promotable" });
    return;
  }
  if (raft.log.unapplied().some((entry) => entry.kind === "conf-change")) {
    raft.events.push({ kind: "campaign-refused", why: "unapplied-conf-change" });
    return;
  }
  raft.campaignReason = reason;
  // A transfer skips the pre-vote: the leader itself gave up its lease.
  if (raft.options.preVote && reason !== "transfer") requestVotes(raft, "pre-vote");
  else requestVotes(raft, "vote");
}

function requestVotes(raft: RaftState, kind: VoteRequest["kind"]): void {
  const isPreVote = kind === "pre-vote";
  if (isPreVote) raft.becomePreCandidate();
  else raft.becomeCandidate();
  const term = isPreVote ? raft.term + 1 : raft.term;
  raft.events.push({ kind: "campaign-started", term, reason: raft.campaignReason, isPreVote });
  for (const voter of raft.tracker.voters) {
    if (voter === raft.id) {
      // A vote for oneself counts when it is durable, like any other.
      raft.respondToVote(`${kind}-response`, raft.id, term);
    } else {
      sendVoteRequest(raft, kind, voter, term);
    }
  }
}

function sendVoteRequest(raft: RaftState, kind: VoteRequest["kind"], to: MemberId, term: number): void {
  const { lastIndex, lastTerm } = raft.log;
  raft.send({ kind, from: raft.id, to, term, lastIndex, lastTerm, reason: raft.campaignReason });
}

/** The receiver's half of an election, the same in every role (Raft paper 5.2, 5.4.1). */
export function answerVoteRequest(raft: RaftState, request: VoteRequest): void {
  const isPreVote = request.kind === "pre-vote";
  if (isPreVote && settleRivalry(raft, request)) return;
  const isFree = raft.vote === undefined && raft.leader === undefined;
  const canVote = raft.vote === request.from || isFree || (isPreVote && request.term > raft.term);
  const isGranted = canVote && raft.log.isUpToDate(request.lastIndex, request.lastTerm);
  // A grant bears the term asked for, which a pre-vote has not brought about.
  raft.respondToVote(`${request.kind}-response`, request.from, isGranted ? request.term : undefined);
  raft.events.push({
    kind: "vote-answered",
    candidate: request.from,
    term: request.term,
    isGranted,
    isPreVote,
  });
  if (isGranted && !isPreVote) {
    raft.electionElapsed = 0;
    raft.vote = request.from;
  }
}

/**
 * Departure: members that learn of their leader's death at the same moment would campaign at the same
 * moment and split the vote. Between two such pre-candidates the one with the better log, then the
 * lower id, goes on; the other gives up and grants. The better one repeats its request, because the
 * first may have met a voter that had not been told yet.
 */
function settleRivalry(raft: RaftState, request: VoteRequest): boolean {
  if (raft.role !== "pre-candidate" || raft.campaignReason !== "leader-dead") return false;
  if (request.reason !== "leader-dead" || request.term !== raft.term + 1) return false;
  if (isBetterCandidate(request, raft)) {
    raft.becomeFollower(raft.term, undefined);
    return false;
  }
  sendVoteRequest(raft, "pre-vote", request.from, request.term);
  return true;
}

function isBetterCandidate(request: VoteRequest, raft: RaftState): boolean {
  const { lastIndex, lastTerm } = raft.log;
  if (request.lastTerm !== lastTerm) return request.lastTerm > lastTerm;
  if (request.lastIndex !== lastIndex) return request.lastIndex > lastIndex;
  return request.from < raft.id;
}

export function stepCandidate(raft: RaftState, message: Message): void {
  switch (message.kind) {
    case "append":
      beFollower(raft, message);
      takeAppend(raft, message);
      return;
    case "heartbeat":
      beFollower(raft, message);
      takeHeartbeat(raft, message);
      return;
    case "snapshot":
      beFollower(raft, message);
      takeSnapshot(raft, message);
      return;
    case "vote-response":
    case "pre-vote-response":
      takeVote(raft, message);
      return;
    default:
      return;
  }
}

/**
 * Departure, as in TiKV's raft-rs: a refusal tells what is committed. Without it, a leader that steps down
 * on its own removal can lock the group: it has entries that the others lack, so it refuses them, and
 * the others still need its vote, because they have not learned that its removal is committed.
 * That an entry is committed is a fact of no term, and holds for whoever has that entry.
 */
export function learnCommit(raft: RaftState, response: VoteResponse): void {
  const { commit, commitTerm } = response;
  const before = raft.log.committed;
  if (!response.rejected || commit <= before || !raft.log.matches(commit, commitTerm)) return;
  raft.log.commitTo(commit);
  // The votes were counted in a configuration that may be out of force.
  const isConfChanged = raft.log.slice(before + 1, commit).some((entry) => entry.kind === "conf-change");
  const isCandidate = raft.role === "candidate" || raft.role === "pre-candidate";
  if (isCandidate && isConfChanged) raft.becomeFollower(raft.term, undefined);
}

function takeVote(raft: RaftState, response: VoteResponse): void {
  const awaited = raft.role === "pre-candidate" ? "pre-vote-response" : "vote-response";
  if (response.kind !== awaited) return;
  // A grant from an earlier pre-vote may bear the present term: it was for another campaign.
  if (raft.role === "pre-candidate" && !response.rejected && response.term !== raft.term + 1) return;
  const verdict = raft.tracker.recordVote(response.from, !response.rejected);
  if (verdict === "pending") return;
  if (verdict === "lost") raft.becomeFollower(raft.term, undefined);
  else if (raft.role === "pre-candidate") requestVotes(raft, "vote");
  else takeOffice(raft);
}

function takeOffice(raft: RaftState): void {
  raft.becomeLeader();
  const isAppended = raft.appendProposals([emptyProposal]);
  assert(isAppended, "an empty entry is never too much");
  broadcastAppend(raft);
}
