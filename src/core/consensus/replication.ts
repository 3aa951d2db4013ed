import { defined } from "../../model/assert.ts";
import { type MemberId, payloadBytes } from "./entry.ts";
import type { RaftState } from "./raft-state.ts";
import { jointCommitted } from "./quorum/joint.ts";
import type { Progress } from "./tracker/progress.ts";

/**
 * Sends `to` the entries it lacks, or a snapshot when the log no longer has them. False when nothing
 * was sent: flow control holds back, or there is nothing to say and `sendIfEmpty` is not set.
 */
export function maybeSendAppend(raft: RaftState, to: MemberId, sendIfEmpty: boolean): boolean {
  const progress = raft.tracker.progress.get(to);
  if (progress === undefined || progress.isPaused) return false;
  const prevIndex = progress.next - 1;
  const prevTerm = raft.log.term(prevIndex);
  if (prevTerm === undefined) return maybeSendSnapshot(raft, to, progress);
  // With a full window an empty append still goes out, to learn whether the earlier ones arrived.
  const isThrottled = progress.mode === "replicate" && progress.inflights.isFull;
  const entries = isThrottled ? [] : raft.log.batch(progress.next, raft.options.appendBytesMax);
  if (entries.length === 0 && !sendIfEmpty) return false;
  const commit = raft.log.committed;
  raft.send({ kind: "append", from: raft.id, to, term: raft.term, prevIndex, prevTerm, entries, commit });
  progress.sentEntries(
    entries.length,
    entries.reduce((sum, entry) => sum + payloadBytes(entry), 0),
  );
  progress.sentCommit = commit;
  return true;
}

function maybeSendSnapshot(raft: RaftState, to: MemberId, progress: Progress): boolean {
  // A member that does not answer would only pin the snapshot in some queue.
  if (!progress.isRecentlyActive) return false;
  const snapshot = raft.log.snapshot;
  const { voters, votersOutgoing, learners } = snapshot.conf;
  const knowsReceiver = [voters, votersOutgoing, learners].some((members) => members.includes(to));
  if (!knowsReceiver || snapshot.index + 1 < raft.log.firstIndex) {
    raft.snapshotWanted.add(to);
    return false;
  }
  progress.becomeSnapshot(snapshot.index);
  raft.send({ kind: "snapshot", from: raft.id, to, term: raft.term, snapshot });
  raft.events.push({ kind: "snapshot-sent", to, index: snapshot.index });
  return true;
}

/** Sends every other member what it lacks, or the new commit index. */
export function broadcastAppend(raft: RaftState): void {
  for (const member of raft.tracker.members) {
    if (member !== raft.id) maybeSendAppend(raft, member, true);
  }
}

export function broadcastHeartbeat(raft: RaftState): void {
  for (const to of raft.tracker.members) {
    if (to === raft.id) continue;
    const progress = defined(raft.tracker.progress.get(to), "a member's progress");
    // Beyond `match` the follower's entries may not be this leader's.
    const commit = Math.min(progress.match, raft.log.committed);
    raft.send({
      kind: "heartbeat",
      from: raft.id,
      to,
      term: raft.term,
      commit,
      readSequence: raft.reads.newest,
    });
    progress.sentCommit = commit;
  }
}

/** Commits what a quorum holds; true when the commit index moved. */
export function maybeCommit(raft: RaftState): boolean {
  const isAdvanced = raft.log.maybeCommit(raft.tracker.committed(), raft.term);
  if (isAdvanced) startPostponedReads(raft);
  return isAdvanced;
}

/** Asks a quorum whether this leader still leads; the read is ready when it says yes (thesis 6.4). */
export function startRead(raft: RaftState, context: string): void {
  // Until then an earlier leader's commits may be unknown here, even to a group of one after a restart.
  if (raft.log.term(raft.log.committed) !== raft.term) {
    raft.reads.postpone(context);
    return;
  }
  raft.reads.add(context, raft.log.committed);
  raft.reads.acknowledge(raft.id, raft.reads.newest);
  if (!finishReads(raft)) broadcastHeartbeat(raft);
}

/** Hands out the reads that a quorum has vouched for; true if the newest was among them. */
export function finishReads(raft: RaftState): boolean {
  const confirmed = jointCommitted(raft.tracker.config, (voter) => raft.reads.acknowledged(voter));
  raft.readyReads.push(...raft.reads.takeUpTo(confirmed));
  return raft.reads.newest === 0;
}

function startPostponedReads(raft: RaftState): void {
  if (raft.log.term(raft.log.committed) !== raft.term) return;
  for (const context of raft.reads.takePostponed()) startRead(raft, context);
}
