import { leaveJointChange } from "./confchange/conf-change.ts";
import type { MemberId, Proposal } from "./entry.ts";
import type { Refusal } from "./event.ts";
import type { AppendResponse, HeartbeatResponse, Message } from "./message.ts";
import type { RaftState } from "./raft-state.ts";
import {
  broadcastAppend,
  broadcastHeartbeat,
  finishReads,
  maybeCommit,
  maybeSendAppend,
} from "./replication.ts";
import type { Progress } from "./tracker/progress.ts";
import { finishTransferIfReady, endTransfer } from "./transfer.ts";

/** Election timeouts after which a snapshot without an answer counts as lost. */
const snapshotAgeMax = 10;

/** Appends a proposal and sends it out; undefined when it was taken in, else why it was not. */
export function proposeAsLeader(raft: RaftState, proposal: Proposal): Refusal | undefined {
  if (!raft.tracker.progress.has(raft.id)) return "removed";
  if (raft.transferTarget !== undefined) return "transferring";
  if (proposal.kind === "conf-change") {
    const refusal = checkConfChange(raft, proposal.change.changes.length === 0);
    if (refusal !== undefined) return refusal;
  }
  if (!raft.appendProposals([proposal])) return "too-many";
  if (proposal.kind === "conf-change") raft.pendingConfIndex = raft.log.lastIndex;
  broadcastAppend(raft);
  return undefined;
}

/**
 * One membership change at a time, counted from when it is in the log until it is applied (thesis 4.1).
 * Departure: etcd appends an empty entry in place of a refused change; here the proposer is told.
 */
function checkConfChange(raft: RaftState, wantsToLeave: boolean): Refusal | undefined {
  if (raft.pendingConfIndex > raft.log.applied) return "change-pending";
  if (raft.tracker.isJoint && !wantsToLeave) return "change-joint";
  if (!raft.tracker.isJoint && wantsToLeave) return "change-not-joint";
  return undefined;
}

/** Proposes to leave a joint configuration that is meant to be left, once the way into it is applied. */
export function leaveJointIfDue(raft: RaftState): void {
  if (raft.role !== "leader" || !raft.tracker.config.autoLeave) return;
  if (raft.log.applied < raft.pendingConfIndex) return;
  proposeAsLeader(raft, { kind: "conf-change", change: leaveJointChange });
}

export function stepLeader(raft: RaftState, message: Message): void {
  const progress = raft.tracker.progress.get(message.from);
  if (progress === undefined) return;
  if (message.kind === "append-response") takeAppendResponse(raft, progress, message);
  else if (message.kind === "heartbeat-response") takeHeartbeatResponse(raft, progress, message);
}

function takeAppendResponse(raft: RaftState, progress: Progress, response: AppendResponse): void {
  progress.isRecentlyActive = true;
  if (response.rejected) {
    takeRejection(raft, progress, response);
    return;
  }
  const from = response.from;
  const isReprobe = progress.match === response.index && progress.mode === "probe";
  if (!progress.maybeUpdate(response.index) && !isReprobe) return;
  if (progress.mode === "probe") {
    progress.becomeReplicate();
  } else if (progress.mode === "replicate") {
    progress.inflights.freeUpTo(response.index);
  } else if (progress.match + 1 >= raft.log.firstIndex) {
    // The follower meets the log again, whether or not this very snapshot brought it there.
    progress.becomeReplicate();
  }
  if (maybeCommit(raft)) broadcastAppend(raft);
  else if (from !== raft.id && progress.canBumpCommit(raft.log.committed)) maybeSendAppend(raft, from, true);
  if (from === raft.id) return;
  // The answer may have opened the window for several messages.
  while (maybeSendAppend(raft, from, false)) continue;
  finishTransferIfReady(raft, from);
}

/**
 * Finds out where to go on. The follower's hint rules out everything above it; where its term there is
 * below ours at the same index, ours rules out more (etcd-io/raft's "follower-side and leader-side probing").
 */
function takeRejection(raft: RaftState, progress: Progress, response: AppendResponse): void {
  const { from, index, hintIndex, hintTerm } = response;
  const matchHint = hintTerm > 0 ? raft.log.findConflict(hintIndex, hintTerm).index : hintIndex;
  if (!progress.maybeDecrease(index, matchHint)) return;
  if (progress.mode === "replicate") progress.becomeProbe();
  maybeSendAppend(raft, from, true);
}

function takeHeartbeatResponse(raft: RaftState, progress: Progress, response: HeartbeatResponse): void {
  progress.isRecentlyActive = true;
  progress.isFlowPaused = false;
  if (progress.match < raft.log.lastIndex || progress.mode === "probe")
    maybeSendAppend(raft, response.from, true);
  if (response.readSequence === 0) return;
  raft.reads.acknowledge(response.from, response.readSequence);
  finishReads(raft);
}

/** A tick of the leader's clock: heartbeats, and once per election timeout a look at the quorum. */
export function tickLeader(raft: RaftState): void {
  raft.heartbeatElapsed++;
  raft.electionElapsed++;
  if (raft.electionElapsed >= raft.options.electionTicks) {
    raft.electionElapsed = 0;
    if (raft.options.checkQuorum) checkQuorum(raft);
    if (raft.role === "leader") {
      endTransfer(raft, "timeout");
      retryLostSnapshots(raft);
    }
  }
  if (raft.role !== "leader" || raft.heartbeatElapsed < raft.options.heartbeatTicks) return;
  raft.heartbeatElapsed = 0;
  broadcastHeartbeat(raft);
}

function checkQuorum(raft: RaftState): void {
  const own = raft.tracker.progress.get(raft.id);
  if (own !== undefined) own.isRecentlyActive = true;
  if (!raft.tracker.isQuorumActive()) {
    raft.events.push({ kind: "quorum-lost", term: raft.term });
    raft.becomeFollower(raft.term, undefined);
    return;
  }
  for (const [member, progress] of raft.tracker.progress) {
    if (member !== raft.id) progress.isRecentlyActive = false;
  }
}

/**
 * Departure: etcd waits for ever for word of a snapshot. A transport that crashes with the receiver
 * may never send it, and the follower would be lost to the group.
 */
function retryLostSnapshots(raft: RaftState): void {
  for (const [peer, progress] of raft.tracker.progress) {
    if (progress.mode !== "snapshot") continue;
    progress.snapshotAge++;
    if (progress.snapshotAge >= snapshotAgeMax) reportSnapshot(raft, peer, false);
  }
}

/** The transport could not deliver to `peer`: what was pipelined to it is probably lost. */
export function reportUnreachable(raft: RaftState, peer: MemberId): void {
  const progress = raft.role === "leader" ? raft.tracker.progress.get(peer) : undefined;
  if (progress?.mode === "replicate") progress.becomeProbe();
}

/** The transport is done with a snapshot. After a failure, the next heartbeat's answer starts over. */
export function reportSnapshot(raft: RaftState, peer: MemberId, isDelivered: boolean): void {
  const progress = raft.role === "leader" ? raft.tracker.progress.get(peer) : undefined;
  if (progress?.mode !== "snapshot") return;
  if (!isDelivered) progress.pendingSnapshot = 0;
  progress.becomeProbe();
  progress.isFlowPaused = true;
}

/** Followers that waited for a snapshot newer than the log had are served. */
export function serveSnapshotWaiters(raft: RaftState): void {
  if (raft.role !== "leader") return;
  const waiting = [...raft.snapshotWanted].sort();
  raft.snapshotWanted.clear();
  for (const peer of waiting) maybeSendAppend(raft, peer, true);
}
