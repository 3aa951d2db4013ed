import type { MemberId } from "./entry.ts";
import type { RaftState } from "./raft-state.ts";
import { maybeSendAppend } from "./replication.ts";

/**
 * Hands leadership to `target` (thesis 3.10): bring it up to date, then tell it to campaign at once. While
 * this runs no proposals are taken; it is given up after an election timeout.
 */
export function startTransfer(raft: RaftState, target: MemberId): void {
  if (raft.role !== "leader") {
    raft.events.push({ kind: "transfer-refused", target, why: "not-leader" });
    return;
  }
  if (target === raft.id) {
    raft.events.push({ kind: "transfer-refused", target, why: "self" });
    return;
  }
  const progress = raft.tracker.progress.get(target);
  if (progress === undefined || progress.isLearner) {
    raft.events.push({ kind: "transfer-refused", target, why: "not-voter" });
    return;
  }
  if (raft.transferTarget === target) return;
  endTransfer(raft, "superseded");
  raft.electionElapsed = 0;
  raft.transferTarget = target;
  raft.events.push({ kind: "transfer-started", target });
  if (progress.match === raft.log.lastIndex) sendTimeoutNow(raft, target);
  else maybeSendAppend(raft, target, true);
}

/** Ends a running transfer without effect. */
export function endTransfer(raft: RaftState, why: "timeout" | "removed" | "superseded"): void {
  if (raft.transferTarget === undefined) return;
  raft.events.push({ kind: "transfer-ended", target: raft.transferTarget, why });
  raft.transferTarget = undefined;
}

export function finishTransferIfReady(raft: RaftState, from: MemberId): void {
  if (raft.transferTarget !== from) return;
  if (raft.tracker.progress.get(from)?.match === raft.log.lastIndex) sendTimeoutNow(raft, from);
}

function sendTimeoutNow(raft: RaftState, to: MemberId): void {
  raft.send({ kind: "timeout-now", from: raft.id, to, term: raft.term });
}
