import { assert, defined } from "../../model/assert.ts";
import type { Rng } from "../rng.ts";
import { bootstrapState, joiningState } from "./bootstrap.ts";
import { ConsensusMachine, defaultConsensusOptions } from "./consensus-machine.ts";
import { type ConfChange, leaveJointChange, type MemberChange } from "./confchange/conf-change.ts";
import type { ConsensusEffect, ConsensusInput } from "./effect.ts";
import type { StoredState } from "./entry-log.ts";
import type { Entry, MemberId } from "./entry.ts";
import type { Message } from "./message.ts";
import { decodeAscii, encodeAscii } from "./replay-format.ts";
import { SafetyChecker } from "./safety-checker.ts";
import { storedAfter } from "./stored-state.ts";

interface Member {
  readonly id: MemberId;
  /** Undefined while crashed. */
  machine: ConsensusMachine | undefined;
  /** What survives a crash. */
  stored: StoredState;
  /** Effects behind a persist that is not durable yet. */
  queue: ConsensusEffect[];
  /** The state machine: the payload of every applied entry, by index. */
  applied: Map<number, string>;
  lastApplied: number;
}

const ids = ["a", "b", "c", "d", "e"];
const stepMs = 20;
/** Small limits and short timeouts: elections, snapshots and full windows are frequent. */
const groupOptions = {
  ...defaultConsensusOptions,
  tickMs: 30,
  tailEntries: 3,
  appendBytesMax: 100,
  inflightMessagesMax: 4,
};

/**
 * Five members that may be part of one group, in virtual time, with everything that may go wrong: lost,
 * doubled, reordered and late messages, partitions, slow disks, crashes that lose what was not durable,
 * membership changes, compactions, wrong suspicions. Test code.
 */
export class SimulatedGroup {
  readonly #rng: Rng;
  readonly #members = new Map<MemberId, Member>();
  readonly #checker = new SafetyChecker();
  #inTransit: { message: Message; at: number }[] = [];
  #now = 0;
  #proposals = 0;
  #cutOff = new Set<MemberId>();
  #isFaulty = true;
  /** Membership changes and crashes per thousand faults; groups without changes stay large. */
  readonly #changeRate: number;
  readonly #crashRate: number;
  /** A disk finishes a write in one of so many steps. */
  readonly #diskSteps: number;
  trace = 0;
  readonly counts = { committed: 0, terms: 0, crashes: 0, snapshots: 0, confChanges: 0 };

  constructor(rng: Rng) {
    this.#rng = rng;
    this.#changeRate = [0, 3, 30][rng.int(3)] ?? 0;
    this.#crashRate = [8, 40][rng.int(2)] ?? 0;
    this.#diskSteps = [2, 20][rng.int(2)] ?? 1;
    const founders = ids.slice(0, rng.int(2) === 0 ? 3 : 5);
    for (const id of ids) {
      const stored = founders.includes(id) ? bootstrapState(founders, encode([])) : joiningState();
      const member: Member = {
        id,
        machine: undefined,
        stored,
        queue: [],
        applied: new Map(),
        lastApplied: 0,
      };
      this.#members.set(id, member);
      this.#start(member);
    }
  }

  runFaulty(steps: number): void {
    for (let i = 0; i < steps; i++) {
      this.#now += stepMs;
      this.#injectFault();
      this.#advance();
    }
  }

  /** Ends all faults; the group must then agree on a leader, commit, and bring every member up to date. */
  heal(): void {
    this.#isFaulty = false;
    this.#cutOff = new Set();
    for (const member of this.#members.values()) if (member.machine === undefined) this.#start(member);
    const limit = this.#now + 60_000;
    let marker: string | undefined;
    while (!this.#isSettled(marker)) {
      assert(this.#now < limit, `the group recovers within a minute: ${this.#describe()}`);
      this.#now += stepMs;
      this.#advance();
      const leader = this.#leader();
      if (leader?.machine?.status().conf.votersOutgoing.length !== 0 && leader !== undefined) {
        this.#step(leader, { kind: "propose-conf-change", change: leaveJointChange });
      }
      if (marker === undefined && leader !== undefined) {
        marker = this.#propose(leader);
      } else if (marker !== undefined && !this.#isKnown(marker) && this.#rng.int(100) === 0) {
        marker = undefined;
      }
    }
    this.counts.committed = this.#checker.committedCount;
    this.counts.terms = this.#checker.termCount;
  }

  #leader(): Member | undefined {
    return this.#live().find((member) => member.machine?.status().role === "leader");
  }

  #isKnown(marker: string): boolean {
    return [...this.#members.values()].some((member) => [...member.applied.values()].includes(marker));
  }

  #isSettled(marker: string | undefined): boolean {
    const leader = this.#leader();
    if (marker === undefined || leader === undefined) return false;
    const { conf } = defined(leader.machine, "a leader runs").status();
    if (conf.votersOutgoing.length > 0) return false;
    const members = [...conf.voters, ...conf.learners].map((id) =>
      defined(this.#members.get(id), "a member"),
    );
    return members.every((member) => [...member.applied.values()].includes(marker));
  }

  #live(): Member[] {
    return [...this.#members.values()].filter((member) => member.machine !== undefined);
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items.length === 0 ? undefined : items[this.#rng.int(items.length)];
  }

  #start(member: Member): void {
    const { snapshot } = member.stored;
    member.applied = decode(snapshot?.data);
    member.lastApplied = snapshot?.index ?? 0;
    member.stored = { ...member.stored, applied: snapshot?.index ?? 0 };
    const options = { ...groupOptions, id: member.id };
    member.machine = new ConsensusMachine(options, member.stored, this.#rng, this.#now);
  }

  #crash(member: Member): void {
    member.machine = undefined;
    member.queue = [];
    this.counts.crashes++;
  }

  #injectFault(): void {
    const member = defined(this.#pick([...this.#members.values()]), "a member");
    const { machine } = member;
    const leader = this.#leader();
    if (leader !== undefined && this.#rng.int(12) === 0) this.#propose(leader);
    const dice = this.#rng.int(1000);
    if (machine === undefined) {
      if (dice < 60 + 4 * this.#crashRate) this.#start(member);
      return;
    }
    const faults: readonly (readonly [number, () => void])[] = [
      [this.#crashRate, () => this.#crash(member)],
      [12, () => this.#redrawPartition(member)],
      [100, () => this.#propose(member)],
      [
        this.#changeRate,
        () => this.#step(member, { kind: "propose-conf-change", change: this.#drawChange() }),
      ],
      [15, () => this.#step(member, { kind: "campaign", leaderDead: this.#rng.int(2) === 0 })],
      [10, () => this.#startRivalry()],
      [10, () => this.#step(member, { kind: "leader-suspected" })],
      [10, () => this.#step(member, { kind: "transfer-leadership", to: this.#pick(ids) ?? "" })],
      [20, () => this.#step(member, { kind: "read-index", context: `${this.#checker.committedIndex}` })],
      [20, () => this.#takeSnapshot(member)],
      [5, () => this.#step(member, { kind: "unreachable", peer: this.#pick(ids) ?? "" })],
    ];
    let mark = 0;
    for (const [rate, inject] of faults) {
      mark += rate;
      if (dice >= mark) continue;
      inject();
      return;
    }
  }

  #redrawPartition(member: Member): void {
    this.#cutOff = new Set(this.#rng.int(3) === 0 ? [] : [member.id, this.#pick(ids) ?? ""]);
  }

  /** Late copies of a leader's request make several members campaign at once, without a pre-vote. */
  #startRivalry(): void {
    for (const { id, machine } of this.#live()) {
      const status = machine?.status();
      if (status?.leader === undefined || status.leader === id || this.#rng.int(2) === 0) continue;
      const message: Message = { kind: "timeout-now", from: status.leader, to: id, term: status.term };
      this.#inTransit.push({ message, at: this.#now });
    }
  }

  #drawChange(): ConfChange {
    const kinds = ["add-voter", "add-voter", "add-learner", "remove"] as const;
    const steps = this.#rng.int(3);
    const changes: MemberChange[] = [];
    for (let i = 0; i < steps; i++) {
      changes.push({ kind: this.#pick(kinds) ?? "add-voter", member: this.#pick(ids) ?? "a" });
    }
    const transition = this.#pick(["auto", "auto", "implicit", "explicit"] as const) ?? "auto";
    return { transition, changes, context: new Uint8Array(0) };
  }

  #propose(member: Member): string {
    const text = `p${++this.#proposals}`;
    this.#step(member, { kind: "propose", data: encodeAscii(text) });
    return text;
  }

  #takeSnapshot(member: Member): void {
    const last = lastApplied(member);
    if (last === 1) return;
    this.#step(member, { kind: "snapshot-taken", index: last, data: encode([...member.applied]) });
    this.counts.snapshots++;
  }

  #advance(): void {
    const due = this.#inTransit.filter((one) => one.at <= this.#now);
    this.#inTransit = this.#inTransit.filter((one) => one.at > this.#now);
    for (const { message } of due) {
      const member = defined(this.#members.get(message.to), "a receiver");
      this.#step(member, { kind: "message", from: message.from, message });
    }
    for (const member of this.#live()) {
      const deadline = member.machine?.deadline();
      if (deadline !== undefined && deadline <= this.#now) this.#step(member, { kind: "timeout" });
      if (!this.#isFaulty || this.#rng.int(this.#diskSteps) === 0) this.#flush(member);
    }
  }

  #step(member: Member, input: ConsensusInput): void {
    if (member.machine === undefined) return;
    const effects = member.machine.step(input, this.#now);
    this.#checker.observe(member.machine.status());
    this.#mix(effects.length * 31 + member.machine.status().term);
    member.queue.push(...effects);
    while (member.queue.length > 0 && member.queue[0]?.kind !== "persist") this.#carryOut(member);
  }

  /** The disk is done with the write at the head of the queue. */
  #flush(member: Member): void {
    const head = member.queue[0];
    if (head?.kind !== "persist") return;
    member.queue.shift();
    member.stored = storedAfter(member.stored, head);
    this.#checker.observeStored(member.id, head);
    while (member.queue.length > 0 && member.queue[0]?.kind !== "persist") this.#carryOut(member);
    this.#step(member, { kind: "persisted", upTo: head.sequence });
  }

  #carryOut(member: Member): void {
    const effect = defined(member.queue.shift(), "an effect");
    switch (effect.kind) {
      case "send":
        effect.messages.forEach((message) => this.#transmit(message));
        return;
      case "restore":
        member.applied = decode(effect.snapshot.data);
        member.lastApplied = effect.snapshot.index;
        this.#answerSnapshot(member.id, true);
        return;
      case "apply":
        effect.entries.forEach((entry) => this.#apply(member, entry));
        return;
      case "snapshot-wanted":
        this.#takeSnapshot(member);
        return;
      case "read-ready":
        this.#checker.checkRead(Number(effect.context), effect.index);
        assert(lastApplied(member) >= effect.index, "a read sees what it must");
        return;
      case "event":
        assert(effect.event.kind !== "bad-message", `peers are correct: ${JSON.stringify(effect.event)}`);
        if (effect.event.kind === "conf-changed") this.counts.confChanges++;
        return;
      default:
        return;
    }
  }

  #apply(member: Member, entry: Entry): void {
    const last = lastApplied(member);
    assert(entry.index === last + 1, `entries are applied in order: ${entry.index} after ${last}`);
    this.#checker.observeApplied(entry);
    const text = entry.kind === "normal" ? decodeAscii(entry.data) : JSON.stringify(entry.change.changes);
    member.applied.set(entry.index, text);
    member.lastApplied = entry.index;
    this.#mix(entry.index * 7 + entry.term);
  }

  /** A transport knows whether a snapshot arrived; here the leader is told when it was installed or got lost. */
  #answerSnapshot(peer: MemberId, ok: boolean): void {
    for (const member of this.#live()) this.#step(member, { kind: "snapshot-sent", peer, ok });
  }

  #transmit(message: Message): void {
    const isCut = this.#cutOff.has(message.from) !== this.#cutOff.has(message.to);
    if (isCut || (this.#isFaulty && this.#rng.int(10) === 0)) {
      if (message.kind === "snapshot") this.#answerSnapshot(message.to, false);
      return;
    }
    const delay = (): number =>
      this.#isFaulty && this.#rng.int(20) === 0 ? this.#rng.int(3000) : this.#rng.int(60);
    this.#inTransit.push({ message, at: this.#now + delay() });
    if (this.#isFaulty && this.#rng.int(20) === 0) this.#inTransit.push({ message, at: this.#now + delay() });
    if (message.kind === "snapshot" && !this.#isFaulty) return;
  }

  #describe(): string {
    const lines = this.#live().map(({ id, machine }) => {
      const { role, term, leader, commit, lastIndex, conf } = defined(machine, "a running member").status();
      return `${id} ${role} term ${term} leader ${leader} commit ${commit}/${lastIndex} ${JSON.stringify(conf)}`;
    });
    return lines.join("\n");
  }

  #mix(value: number): void {
    this.trace = (Math.imul(this.trace ^ value, 0x01000193) + 1) >>> 0;
  }
}

/** Entries are applied in order, and founding stands at index 1. */
function lastApplied(member: Member): number {
  return Math.max(1, member.lastApplied);
}

function encode(applied: readonly (readonly [number, string])[]): Uint8Array {
  return encodeAscii(JSON.stringify(applied));
}

function decode(data: Uint8Array | undefined): Map<number, string> {
  if (data === undefined || data.byteLength === 0) return new Map();
  const parsed: [number, string][] = JSON.parse(decodeAscii(data));
  return new Map(parsed);
}
