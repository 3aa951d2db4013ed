/**
 * Raft for one group (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014;
 * Ongaro's thesis for pre-vote, leadership transfer and reads). Behaviour is modelled on
 * etcd-io/raft 3.6.
 *
 * One voter at a time is elected leader of a term; it alone appends to the log and its followers copy
 * it; what a majority holds is committed and never lost. The numbered invariants are in
 * docs/protocols/consensus.md.
 */
import { findFault } from "./message-check.ts";
import { answerVoteRequest, campaign, learnCommit, stepCandidate } from "./election.ts";
import { beFollower, takeAppend, takeHeartbeat, takeSnapshot } from "./follower.ts";
import { stepLeader, tickLeader } from "./leader.ts";
import type { Message, VoteRequest } from "./message.ts";
import type { RaftState } from "./raft-state.ts";

/** Moves a member's clock on by one tick. */
export function tick(raft: RaftState): void {
  if (raft.role === "leader") {
    tickLeader(raft);
    return;
  }
  raft.electionElapsed++;
  if (!raft.isPromotable || raft.electionElapsed < raft.electionTimeout) return;
  raft.electionElapsed = 0;
  campaign(raft, raft.isLeaderSuspected ? "leader-dead" : "timeout");
}

/** Takes in one message, from a peer or from this member to itself. */
export function receive(raft: RaftState, message: Message): void {
  const fault = findFault(raft, message);
  if (fault !== undefined) {
    raft.events.push({ kind: "bad-message", from: message.from, message: message.kind, why: fault });
    return;
  }
  if (message.kind === "vote-response" || message.kind === "pre-vote-response") learnCommit(raft, message);
  if (message.term > raft.term && !meetHigherTerm(raft, message)) return;
  if (message.term < raft.term) {
    answerLowerTerm(raft, message);
    return;
  }
  if (message.kind === "vote" || message.kind === "pre-vote") {
    answerVoteRequest(raft, message);
    return;
  }
  switch (raft.role) {
    case "leader":
      stepLeader(raft, message);
      return;
    case "follower":
      stepFollower(raft, message);
      return;
    case "candidate":
    case "pre-candidate":
      stepCandidate(raft, message);
      return;
  }
}

/** Adopts a higher term (Raft paper 5.1); false when the message must not be looked at further. */
function meetHigherTerm(raft: RaftState, message: Message): boolean {
  switch (message.kind) {
    case "vote":
    case "pre-vote":
      if (raft.isLeaseHeld && !overridesLease(raft, message)) {
        raft.events.push({ kind: "vote-ignored", candidate: message.from, term: message.term });
        return false;
      }
      if (message.kind === "vote") raft.becomeFollower(message.term, undefined);
      return true;
    case "pre-vote-response":
      // A grant bears the term that this member asked for; only a refusal tells of a term that exists.
      if (message.rejected) raft.becomeFollower(message.term, undefined);
      return true;
    case "append":
    case "heartbeat":
    case "snapshot":
      raft.becomeFollower(message.term, message.from);
      return true;
    default:
      raft.becomeFollower(message.term, undefined);
      return true;
  }
}

/**
 * Departure: a voter also lets go of its lease when both the candidate and its own driver say that the
 * leader's node is dead, so that a death known from elsewhere need not wait out the lease. A leader
 * never takes itself for dead.
 */
function overridesLease(raft: RaftState, request: VoteRequest): boolean {
  if (request.reason === "transfer") return true;
  return request.reason === "leader-dead" && raft.isLeaderSuspected && raft.role !== "leader";
}

/**
 * A sender behind in term is told so where it could not find out by itself: a leader whose heartbeats
 * a member with a higher term would otherwise ignore for ever, and a pre-candidate, which
 * never raises its term on its own.
 */
function answerLowerTerm(raft: RaftState, message: Message): void {
  const isFromLeader = message.kind === "heartbeat" || message.kind === "append";
  if (isFromLeader && (raft.options.checkQuorum || raft.options.preVote)) {
    raft.respondToAppend(message.from, 0);
  } else if (message.kind === "pre-vote") {
    raft.respondToVote("pre-vote-response", message.from, undefined);
  }
}

function stepFollower(raft: RaftState, message: Message): void {
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
    case "timeout-now":
      campaign(raft, "transfer");
      return;
    default:
      return;
  }
}
