import type { Append, Message } from "./message.ts";
import type { RaftState } from "./raft-state.ts";

/** What is wrong with a message that no correct peer sends; undefined when nothing is. */
export function findFault(raft: RaftState, message: Message): string | undefined {
  if (message.to !== raft.id) return "it is meant for another member";
  switch (message.kind) {
    case "append":
      return findRivalLeader(raft, message) ?? findBrokenEntries(message);
    case "heartbeat":
      if (message.term >= raft.term && message.commit > raft.log.lastIndex)
        return "it commits entries that are not here";
      return findRivalLeader(raft, message);
    case "snapshot":
      if (message.snapshot.conf.voters.length === 0) return "its snapshot has no voters";
      if (message.snapshot.term > message.term) return "its snapshot is from a later term";
      return findRivalLeader(raft, message);
    case "append-response":
      if (raft.role !== "leader" || message.term !== raft.term || message.rejected) return undefined;
      return message.index > raft.log.lastIndex ? "it acknowledges entries that do not exist" : undefined;
    default:
      return undefined;
  }
}

function findRivalLeader(raft: RaftState, message: Message): string | undefined {
  if (message.term !== raft.term) return undefined;
  if (raft.leader !== undefined && raft.leader !== message.from) return "another member leads this term";
  return undefined;
}

function findBrokenEntries(message: Append): string | undefined {
  let index = message.prevIndex;
  let term = message.prevTerm;
  for (const entry of message.entries) {
    if (entry.index !== index + 1) return "its entries have gaps";
    if (entry.term < term || entry.term > message.term) return "its entries' terms are out of order";
    index = entry.index;
    term = entry.term;
  }
  return undefined;
}
