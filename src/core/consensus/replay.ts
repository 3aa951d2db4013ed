import { assert, defined } from "../../model/assert.ts";
import { createRng } from "../rng.ts";
import type { ConfChange, MemberChange } from "./confchange/conf-change.ts";
import { type ConfState, emptyConfState, emptyProposal, type MemberId, type Snapshot } from "./entry.ts";
import type { Message } from "./message.ts";
import { type Ready, RawNode } from "./raw-node.ts";
import type { RaftOptions } from "./raft-state.ts";
import {
  decodeAscii,
  describeEntry,
  describeMessage,
  describeProgress,
  describeSnapshot,
  encodeAscii,
  firstVersionMark,
  messageName,
  roleNames,
} from "./replay-format.ts";
import { argValues, type TranscriptCase } from "./transcript.ts";

interface ReplayNode {
  readonly id: MemberId;
  readonly raw: RawNode;
  /** The state machine: the payloads applied so far, joined. */
  state: string;
}

const electionTicks = 3;
const heartbeatTicks = 1;

/**
 * Replays the interaction scenarios of etcd-io/raft against RawNode: members numbered from 1, one shared
 * queue of messages, everything done by the directives alone. Test code: it prints what the
 * directives print there, apart from log lines.
 */
export class Replay {
  readonly #nodes: ReplayNode[] = [];
  #inTransit: Message[] = [];
  #output: string[] = [];
  #isQuiet = false;

  /** Carries out one directive and returns its output; "ok" stands for none. */
  run(one: TranscriptCase): string[] {
    this.#output = [];
    if (one.command === "log-level") this.#isQuiet = one.args[0]?.key === "none";
    else this.#dispatch(one);
    const isQuiet = this.#isQuiet || argValues(one, "log-level")[0] === "none";
    return isQuiet || this.#output.length === 0 ? ["ok"] : this.#output;
  }

  #dispatch(one: TranscriptCase): void {
    const nodes = one.args
      .filter((arg) => this.#find(arg.key) !== undefined)
      .map((arg) => this.#node(arg.key));
    const subject = (): ReplayNode => defined(nodes[0], `a node in ${one.command}`);
    switch (one.command) {
      case "add-nodes":
        this.#addNodes(one);
        return;
      case "campaign":
        subject().raw.campaign("timeout");
        return;
      case "propose":
        this.#report(
          subject().raw.propose({ kind: "normal", data: encodeAscii(defined(one.args[1], "a payload").key) }),
        );
        return;
      case "propose-conf-change":
        this.#proposeConfChange(subject(), parseConfChange(one));
        return;
      case "process-ready":
        nodes.forEach((node) => this.#print(this.#processReady(node), nodes.length > 1 ? node : undefined));
        return;
      case "deliver-msgs":
        this.#deliverMessages(one);
        return;
      case "stabilize":
        this.#stabilize(nodes.length > 0 ? nodes : this.#nodes);
        return;
      case "tick-heartbeat":
        for (let i = 0; i < heartbeatTicks; i++) subject().raw.tick();
        return;
      case "tick-election":
        for (let i = 0; i < electionTicks; i++) subject().raw.tick();
        return;
      case "set-randomized-election-timeout":
        subject().raw.setElectionTimeout(Number(argValues(one, "timeout")[0]));
        return;
      case "compact":
        subject().raw.log.compact(Number(one.args[1]?.key));
        this.#printLog(subject());
        return;
      case "report-unreachable":
        subject().raw.reportUnreachable(defined(nodes[1], "a peer").id);
        return;
      case "send-snapshot":
        this.#sendSnapshot(subject(), defined(nodes[1], "a receiver"));
        return;
      case "transfer-leadership":
        this.#node(argValues(one, "from")[0] ?? "").raw.transferLeader(argValues(one, "to")[0] ?? "");
        return;
      case "raft-log":
        this.#printLog(subject());
        return;
      case "raft-state":
        this.#nodes.forEach((node) => this.#printState(node));
        return;
      case "status":
        for (const [id, progress] of subject().raw.status().progress)
          this.#output.push(`${id}: ${describeProgress(progress)}`);
        this.#output.sort();
        return;
      default:
        throw new Error(`line ${one.line}: unknown directive ${one.command}`);
    }
  }

  /** etcd appends an empty entry in place of a change that does not fit. */
  #proposeConfChange(node: ReplayNode, change: ConfChange): void {
    const refusal = node.raw.propose({ kind: "conf-change", change });
    const isReplaced = refusal?.startsWith("change-") === true;
    this.#report(isReplaced ? node.raw.propose(emptyProposal) : refusal);
  }

  #addNodes(one: TranscriptCase): void {
    const flag = (key: string): boolean => argValues(one, key)[0] === "true";
    const index = Number(argValues(one, "index")[0] ?? 0);
    const voters = [...argValues(one, "voters")].sort();
    const learners = [...argValues(one, "learners")].sort();
    const data = encodeAscii(argValues(one, "content")[0] ?? "");
    const snapshot: Snapshot = { index, term: 1, conf: { ...emptyConfState, voters, learners }, data };
    const count = Number(defined(one.args[0], "a number of nodes").key);
    for (let i = 0; i < count; i++) {
      const id = String(this.#nodes.length + 1);
      const options: RaftOptions = {
        id,
        electionTicks,
        heartbeatTicks,
        appendBytesMax: Number.MAX_SAFE_INTEGER,
        inflightMessagesMax: Number(argValues(one, "inflight")[0] ?? Number.MAX_SAFE_INTEGER),
        inflightBytesMax: Number.MAX_SAFE_INTEGER,
        uncommittedBytesMax: Number.MAX_SAFE_INTEGER,
        preVote: flag("prevote"),
        checkQuorum: flag("checkquorum"),
        stepDownOnRemoval: flag("step-down-on-removal"),
        rng: createRng(this.#nodes.length),
      };
      const raw = new RawNode(options, {
        hardState: { term: 0, vote: undefined, commit: index },
        snapshot: index > 0 ? snapshot : undefined,
        entries: [],
        applied: index,
      });
      this.#nodes.push({ id, raw, state: decodeAscii(data) });
    }
  }

  #stabilize(nodes: readonly ReplayNode[]): void {
    for (let isBusy = true; isBusy;) {
      isBusy = false;
      for (const node of nodes) {
        if (!node.raw.hasReady) continue;
        isBusy = true;
        this.#print(
          [`> ${node.id} handling Ready`, ...this.#processReady(node).map((line) => `  ${line}`)],
          undefined,
        );
      }
      for (const node of nodes) {
        const lines = this.#deliver(node.id, false, undefined);
        if (lines.length === 0) continue;
        isBusy = true;
        this.#print([`> ${node.id} receiving messages`, ...lines.map((line) => `  ${line}`)], undefined);
      }
    }
  }

  #processReady(node: ReplayNode): string[] {
    const ready = node.raw.ready();
    const lines = describeReady(ready);
    if (ready.snapshot !== undefined) node.state = decodeAscii(ready.snapshot.data);
    for (const entry of ready.committed) {
      if (entry.kind === "conf-change") node.raw.applyConfChange(entry.change, entry.index);
      else node.state += decodeAscii(entry.data);
      node.raw.applied({ ...ready, committed: [entry] });
      node.raw.keepSnapshot(encodeAscii(node.state), entry.index, node.raw.confState, 0);
    }
    this.#inTransit.push(...ready.messages, ...ready.messagesAfterPersist);
    node.raw.persisted(ready);
    return lines;
  }

  #deliverMessages(one: TranscriptCase): void {
    const type = argValues(one, "type")[0];
    for (const arg of one.args) {
      if (arg.key === "drop")
        arg.values.forEach((id) => this.#print(this.#deliver(id, true, type), undefined));
      else if (arg.key !== "type") this.#print(this.#deliver(arg.key, false, type), undefined);
    }
  }

  #deliver(to: MemberId, isDropped: boolean, type: string | undefined): string[] {
    const isChosen = (message: Message): boolean =>
      message.to === to && (type === undefined || messageName(message) === type);
    const chosen = this.#inTransit.filter(isChosen);
    this.#inTransit = this.#inTransit.filter((message) => !isChosen(message));
    return chosen.flatMap((message) => {
      const [first = "", ...rest] = describeMessage(message);
      if (isDropped) return [`dropped: ${first}`, ...rest];
      const node = this.#node(to);
      const isStranger = message.kind.endsWith("-response") && !isMember(node.raw.confState, message.from);
      node.raw.step(message);
      return isStranger ? [first, ...rest, "raft: cannot step as peer not found"] : [first, ...rest];
    });
  }

  #sendSnapshot(from: ReplayNode, to: ReplayNode): void {
    const { term } = from.raw.status();
    const message: Message = {
      kind: "snapshot",
      from: from.id,
      to: to.id,
      term,
      snapshot: from.raw.log.snapshot,
    };
    this.#print(describeMessage(message), undefined);
    this.#inTransit.push(message);
  }

  #printLog(node: ReplayNode): void {
    const { firstIndex, lastIndex } = node.raw.log;
    if (lastIndex < firstIndex) {
      this.#output.push(`log is empty: first index=${firstIndex}, last index=${lastIndex}`);
      return;
    }
    this.#output.push(...node.raw.log.slice(firstIndex, lastIndex).map(describeEntry));
  }

  #printState(node: ReplayNode): void {
    const { role, term, leader, conf } = node.raw.status();
    const isVoter = conf.voters.includes(node.id) || conf.votersOutgoing.includes(node.id);
    this.#output.push(
      `${node.id}: ${roleNames[role]} (${isVoter ? "Voter" : "Non-Voter"}) Term:${term} Lead:${leader ?? 0}`,
    );
  }

  #report(refusal: string | undefined): void {
    if (refusal !== undefined) this.#output.push("raft proposal dropped");
  }

  #print(lines: readonly string[], header: ReplayNode | undefined): void {
    if (header === undefined) this.#output.push(...lines);
    else this.#output.push(`> ${header.id} handling Ready`, ...lines.map((line) => `  ${line}`));
  }

  #find(id: string): ReplayNode | undefined {
    return this.#nodes.find((node) => node.id === id);
  }

  #node(id: string): ReplayNode {
    return defined(this.#find(id), `node ${id}`);
  }
}

function isMember(conf: ConfState, id: MemberId): boolean {
  return [conf.voters, conf.votersOutgoing, conf.learners].some((members) => members.includes(id));
}

function describeReady(ready: Ready): string[] {
  const lines: string[] = [];
  if (ready.softState !== undefined) {
    const { leader, role } = ready.softState;
    lines.push(`Lead:${leader ?? 0} State:${roleNames[role]}`);
  }
  if (ready.hardState !== undefined) {
    const { term, vote, commit } = ready.hardState;
    lines.push(`HardState Term:${term}${vote === undefined ? "" : ` Vote:${vote}`} Commit:${commit}`);
  }
  if (ready.entries.length > 0) lines.push("Entries:", ...ready.entries.map(describeEntry));
  if (ready.snapshot !== undefined) lines.push(`Snapshot ${describeSnapshot(ready.snapshot)}`);
  if (ready.committed.length > 0) lines.push("CommittedEntries:", ...ready.committed.map(describeEntry));
  const messages = [...ready.messages, ...ready.messagesAfterPersist];
  if (messages.length > 0) lines.push("Messages:", ...messages.flatMap(describeMessage));
  return lines;
}

function parseConfChange(one: TranscriptCase): ConfChange {
  const kinds = new Map<string, MemberChange["kind"]>([
    ["v", "add-voter"],
    ["l", "add-learner"],
    ["r", "remove"],
    ["u", "update"],
  ]);
  const words = one.input
    .join(" ")
    .split(" ")
    .filter((word) => word !== "");
  const changes = words.map((word): MemberChange => {
    const kind = defined(kinds.get(word.charAt(0)), `a known step in ${word}`);
    return { kind, member: word.slice(1) };
  });
  const asked = argValues(one, "transition")[0] ?? "auto";
  assert(asked === "auto" || asked === "implicit" || asked === "explicit", "a known transition");
  const isFirstVersion = argValues(one, "v1")[0] === "true";
  return { transition: asked, changes, context: isFirstVersion ? firstVersionMark : new Uint8Array(0) };
}
