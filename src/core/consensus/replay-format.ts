import type { ConfState, Entry, MemberId, Snapshot } from "./entry.ts";
import type { MemberChange } from "./confchange/conf-change.ts";
import type { Role } from "./event.ts";
import type { Message } from "./message.ts";
import type { Progress, ProgressMode } from "./tracker/progress.ts";

/** Prints the core's values in the notation of etcd-io/raft's transcripts. */

export const roleNames: Readonly<Record<Role, string>> = {
  follower: "StateFollower",
  "pre-candidate": "StatePreCandidate",
  candidate: "StateCandidate",
  leader: "StateLeader",
};

const modeNames: Readonly<Record<ProgressMode, string>> = {
  probe: "StateProbe",
  replicate: "StateReplicate",
  snapshot: "StateSnapshot",
};

const messageNames: Readonly<Record<Message["kind"], string>> = {
  vote: "MsgVote",
  "pre-vote": "MsgPreVote",
  "vote-response": "MsgVoteResp",
  "pre-vote-response": "MsgPreVoteResp",
  append: "MsgApp",
  "append-response": "MsgAppResp",
  heartbeat: "MsgHeartbeat",
  "heartbeat-response": "MsgHeartbeatResp",
  snapshot: "MsgSnap",
  "timeout-now": "MsgTimeoutNow",
};

const changeLetters: Readonly<Record<MemberChange["kind"], string>> = {
  "add-voter": "v",
  "add-learner": "l",
  remove: "r",
  update: "u",
};

/** The context of a change that was proposed in etcd's older form; its type has its own name there. */
export const firstVersionMark = new Uint8Array(0);

export function messageName(message: Message): string {
  return messageNames[message.kind];
}

export function describeProgress(progress: Readonly<Progress>): string {
  const { match, next, inflights } = progress;
  let text = `${modeNames[progress.mode]} match=${match} next=${next}`;
  if (progress.isLearner) text += " learner";
  if (progress.isPaused) text += " paused";
  if (progress.pendingSnapshot > 0) text += ` pendingSnap=${progress.pendingSnapshot}`;
  if (!progress.isRecentlyActive) text += " inactive";
  if (inflights.count > 0) text += ` inflight=${inflights.count}${inflights.isFull ? "[full]" : ""}`;
  return text;
}

export function describeEntry(entry: Entry): string {
  const place = `${entry.term}/${entry.index}`;
  if (entry.kind === "normal") return `${place} EntryNormal ${JSON.stringify(decodeAscii(entry.data))}`;
  const { changes, context } = entry.change;
  const steps = changes.map((change) => `${changeLetters[change.kind]}${change.member}`).join(" ");
  const type = context === firstVersionMark ? "EntryConfChange" : "EntryConfChangeV2";
  return steps === "" ? `${place} ${type}` : `${place} ${type} ${steps}`;
}

export function describeSnapshot(snapshot: Snapshot): string {
  return `Index:${snapshot.index} Term:${snapshot.term} ConfState:${describeConfState(snapshot.conf)}`;
}

export function describeMessage(message: Message): string[] {
  const { from, to, term } = message;
  const head = `${from}->${to} ${messageNames[message.kind]} Term:${term}`;
  switch (message.kind) {
    case "vote":
    case "pre-vote":
      return [`${head} Log:${message.lastTerm}/${message.lastIndex}`];
    case "vote-response":
    case "pre-vote-response":
      return [`${head} Log:0/0${message.rejected ? " Rejected (Hint: 0)" : ""}`];
    case "append": {
      const commit = message.commit > 0 ? ` Commit:${message.commit}` : "";
      return withEntries(`${head} Log:${message.prevTerm}/${message.prevIndex}${commit}`, message.entries);
    }
    case "append-response": {
      const hint = message.rejected ? ` Rejected (Hint: ${message.hintIndex})` : "";
      return [`${head} Log:${message.hintTerm}/${message.index}${hint}`];
    }
    case "heartbeat":
      return [`${head} Log:0/0${message.commit > 0 ? ` Commit:${message.commit}` : ""}`];
    case "snapshot":
      return [`${head} Log:0/0`, `  Snapshot: ${describeSnapshot(message.snapshot)}`];
    default:
      return [`${head} Log:0/0`];
  }
}

export function decodeAscii(data: Uint8Array): string {
  return String.fromCharCode(...data);
}

export function encodeAscii(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

function withEntries(head: string, entries: readonly Entry[]): string[] {
  const lines = entries.map(describeEntry);
  if (lines.length === 0) return [head];
  if (lines.length === 1) return [`${head} Entries:[${lines[0]}]`];
  return [`${head} Entries:[`, ...lines.map((line) => `  ${line}`), "]"];
}

function describeConfState(conf: ConfState): string {
  const list = (members: readonly MemberId[]): string => `[${members.join(" ")}]`;
  return `Voters:${list(conf.voters)} VotersOutgoing:${list(conf.votersOutgoing)} Learners:${list(conf.learners)} LearnersNext:${list(conf.learnersNext)} AutoLeave:${conf.autoLeave}`;
}
