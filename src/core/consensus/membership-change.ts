import { applyChange } from "./confchange/changer.ts";
import type { ConfChange } from "./confchange/conf-change.ts";
import type { RaftState } from "./raft-state.ts";
import { broadcastAppend, finishReads, maybeCommit, maybeSendAppend } from "./replication.ts";
import { endTransfer } from "./transfer.ts";

/**
 * Puts a committed membership change into force. A change that does not fit the present configuration
 * does nothing, on every replica alike.
 */
export function applyConfChange(raft: RaftState, change: ConfChange, index: number): void {
  const context = { lastIndex: raft.log.lastIndex, flow: raft.options };
  const result = applyChange(raft.tracker, change, context);
  if (!result.ok) {
    raft.events.push({ kind: "conf-change-void", index, change, error: result.error });
    return;
  }
  raft.tracker.adopt(result.membership.config, result.membership.progress);
  raft.events.push({ kind: "conf-changed", index, conf: raft.tracker.confState() });
  if (raft.role === "leader") actOnChange(raft);
}

function actOnChange(raft: RaftState): void {
  const own = raft.tracker.progress.get(raft.id);
  if (own === undefined || own.isLearner) {
    if (raft.options.stepDownOnRemoval) raft.becomeFollower(raft.term, undefined);
    return;
  }
  if (maybeCommit(raft)) {
    // A smaller quorum may hold more than the larger one did.
    broadcastAppend(raft);
  } else {
    for (const member of raft.tracker.members) {
      if (member !== raft.id) maybeSendAppend(raft, member, false);
    }
  }
  finishReads(raft);
  if (raft.transferTarget !== undefined && !raft.tracker.isVoter(raft.transferTarget))
    endTransfer(raft, "removed");
}
