import type { Append, Heartbeat, InstallSnapshot } from "./message.ts";
import type { RaftState } from "./raft-state.ts";

/** Takes note of a leader's word: it leads this term, and its lease starts over. */
export function beFollower(raft: RaftState, message: Append | Heartbeat | InstallSnapshot): void {
  if (raft.role !== "follower") raft.becomeFollower(message.term, message.from);
  raft.electionElapsed = 0;
  raft.leader = message.from;
  if (!raft.isLeaderSuspected) return;
  raft.isLeaderSuspected = false;
  raft.resetElectionTimeout();
}

/** Appends a leader's entries, or says from where on they would fit (Raft paper 5.3). */
export function takeAppend(raft: RaftState, message: Append): void {
  if (message.prevIndex < raft.log.committed) {
    raft.respondToAppend(message.from, raft.log.committed);
    return;
  }
  const matched = raft.log.appendAfter(message.prevIndex, message.prevTerm, message.entries, message.commit);
  if (matched !== undefined) {
    raft.respondToAppend(message.from, matched);
    return;
  }
  const hint = raft.log.findConflict(Math.min(message.prevIndex, raft.log.lastIndex), message.prevTerm);
  raft.sendAfterPersist({
    kind: "append-response",
    from: raft.id,
    to: message.from,
    term: raft.term,
    index: message.prevIndex,
    rejected: true,
    hintIndex: hint.index,
    hintTerm: hint.term,
  });
}

export function takeHeartbeat(raft: RaftState, message: Heartbeat): void {
  raft.log.commitTo(message.commit);
  const { from, readSequence } = message;
  raft.send({ kind: "heartbeat-response", from: raft.id, to: from, term: raft.term, readSequence });
}

/** Installs a snapshot (Raft paper 7) unless the log already says as much. */
export function takeSnapshot(raft: RaftState, message: InstallSnapshot): void {
  const { snapshot, from } = message;
  if (snapshot.index <= raft.log.committed) {
    raft.events.push({ kind: "snapshot-refused", from, index: snapshot.index, why: "old" });
    raft.respondToAppend(from, raft.log.committed);
    return;
  }
  if (raft.log.matches(snapshot.index, snapshot.term)) {
    raft.log.commitTo(snapshot.index);
    raft.events.push({ kind: "snapshot-refused", from, index: snapshot.index, why: "known" });
    raft.respondToAppend(from, raft.log.committed);
    return;
  }
  raft.restoreFrom(snapshot);
  raft.respondToAppend(from, raft.log.lastIndex);
}
