import { assert } from "../../model/assert.ts";
import type { Instant, Machine } from "../machine.ts";
import type { Rng } from "../rng.ts";
import type { ConsensusEffect, ConsensusInput } from "./effect.ts";
import type { StoredState } from "./entry-log.ts";
import { type ConfState, type MemberId } from "./entry.ts";
import type { Refusal } from "./event.ts";
import { type RaftStatus, RawNode, type Ready } from "./raw-node.ts";
import { TickClock } from "./tick-clock.ts";

/** How a group behaves. Every member of a group should run with the same times. */
export interface ConsensusOptions {
  readonly id: MemberId;
  readonly tickMs: number;
  /** A follower campaigns after between this and twice this many ticks without a leader's word. */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Soft limit of one append message: it may hold one entry that is larger. */
  readonly appendBytesMax: number;
  /** Appends in flight to one follower, by number and by payload. */
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
  /** Payload a leader takes in before it is committed; proposals beyond it are dropped. */
  readonly uncommittedBytesMax: number;
  /** Applied entries kept behind a snapshot, so that a follower a little behind needs no snapshot. */
  readonly tailEntries: number;
}

/** Times for a local network: a leader is missed after 1 to 2 s, or at once when membership says that it is dead. */
export const defaultConsensusOptions: Omit<ConsensusOptions, "id"> = {
  tickMs: 100,
  electionTicks: 10,
  heartbeatTicks: 2,
  appendBytesMax: 256 * 1024,
  inflightMessagesMax: 64,
  inflightBytesMax: 4 * 1024 * 1024,
  uncommittedBytesMax: 16 * 1024 * 1024,
  tailEntries: 256,
};

/**
 * One member of a group as a state machine over time. It applies committed membership changes itself,
 * asks for storage and never waits for it, and needs no timer while it leads a group of one.
 */
export class ConsensusMachine implements Machine<ConsensusInput, ConsensusEffect> {
  readonly #options: ConsensusOptions;
  readonly #raw: RawNode;
  readonly #clock: TickClock;
  #effects: ConsensusEffect[] = [];
  #sequence = 0;
  /** Acknowledgements that this member owes itself once storage up to a sequence is durable. */
  #owed: { sequence: number; ready: Ready }[] = [];
  /** The configuration at the last few applied indexes, for snapshots taken there. */
  #confs: { index: number; conf: ConfState }[];
  #isSnapshotRequested = false;

  constructor(options: ConsensusOptions, stored: StoredState, rng: Rng, now: Instant) {
    assert(options.electionTicks > options.heartbeatTicks, "elections take longer than heartbeats");
    this.#options = options;
    this.#raw = new RawNode(
      { ...options, preVote: true, checkQuorum: true, stepDownOnRemoval: true, rng },
      stored,
    );
    // All groups of a node tick at the same instants: one wake-up serves them all.
    this.#clock = new TickClock(options.tickMs, Math.floor(now / options.tickMs) * options.tickMs);
    this.#confs = [{ index: this.#raw.log.applied, conf: this.#raw.confState }];
  }

  step(input: ConsensusInput, now: Instant): readonly ConsensusEffect[] {
    this.#passTime(now, input.kind === "timeout");
    this.#take(input);
    this.#drain();
    this.#dropBacklog(now);
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  deadline(): Instant | undefined {
    const ticks = this.#raw.ticksUntilDue;
    return ticks === undefined ? undefined : this.#clock.after(ticks);
  }

  status(): RaftStatus {
    return this.#raw.status();
  }

  /**
   * Only a timeout lets something fall due: after a pause, the messages that wait in the driver's inbox are
   * heard before this member concludes anything from silence. And however long the pause was, one thing
   * falls due, once.
   */
  #passTime(now: Instant, isTimeout: boolean): void {
    const pending = this.#clock.pending(now);
    const due = this.#raw.ticksUntilDue;
    const idleTicks = 2 * this.#options.electionTicks;
    const limit = due === undefined ? idleTicks : isTimeout ? due : due - 1;
    for (let i = 0; i < Math.min(pending, limit); i++) this.#raw.tick();
    const isHeldBack = due !== undefined && !isTimeout;
    this.#clock.take(isHeldBack ? Math.min(pending, limit) : pending);
  }

  /** What was about to fall due has been put off by the input: the time it was held back for is over. */
  #dropBacklog(now: Instant): void {
    if (this.#raw.ticksUntilDue !== 1) this.#clock.take(this.#clock.pending(now));
  }

  #take(input: ConsensusInput): void {
    const raw = this.#raw;
    switch (input.kind) {
      case "timeout":
        return;
      case "message":
        if (input.from === input.message.from && input.from !== this.#options.id) raw.step(input.message);
        else this.#refuseMessage(input.from, input.message.kind);
        return;
      case "propose":
        this.#reportDrop(input, raw.propose({ kind: "normal", data: input.data }));
        return;
      case "propose-conf-change":
        this.#reportDrop(input, raw.propose({ kind: "conf-change", change: input.change }));
        return;
      case "persisted":
        this.#acknowledge(input.upTo);
        return;
      case "campaign":
        if (input.leaderDead === true) raw.suspectLeader();
        raw.campaign(input.leaderDead === true ? "leader-dead" : "timeout");
        return;
      case "leader-suspected":
        raw.suspectLeader();
        return;
      case "transfer-leadership":
        raw.transferLeader(input.to);
        return;
      case "read-index": {
        const reason = raw.readIndex(input.context);
        if (reason !== undefined) this.#dropRead(input.context, reason);
        return;
      }
      case "snapshot-taken":
        this.#keepSnapshot(input.index, input.data);
        return;
      case "unreachable":
        raw.reportUnreachable(input.peer);
        return;
      case "snapshot-sent":
        raw.reportSnapshot(input.peer, input.ok);
        return;
    }
  }

  #drain(): void {
    while (this.#raw.hasReady) this.#carryOut(this.#raw.ready());
    for (const event of this.#raw.takeEvents()) this.#effects.push({ kind: "event", event });
    if (this.#raw.snapshotWanted.length > 0 && !this.#isSnapshotRequested) {
      this.#isSnapshotRequested = true;
      this.#effects.push({ kind: "snapshot-wanted" });
    }
  }

  #carryOut(ready: Ready): void {
    const isLeader = this.#raw.role === "leader";
    // Raft thesis 10.2.1: a leader may send its entries while it writes them itself. It counts itself only when done.
    if (isLeader) this.#send(ready.messages);
    const isStored = this.#persist(ready);
    if (ready.snapshot !== undefined) {
      this.#confs = [{ index: ready.snapshot.index, conf: ready.snapshot.conf }];
      this.#effects.push({ kind: "restore", snapshot: ready.snapshot });
    }
    this.#send(isLeader ? ready.messagesAfterPersist : [...ready.messages, ...ready.messagesAfterPersist]);
    if (ready.softState !== undefined) {
      this.#isSnapshotRequested = false;
      this.#effects.push({ kind: "soft-state", ...ready.softState, term: this.#raw.status().term });
    }
    this.#apply(ready);
    for (const context of ready.droppedReads) this.#dropRead(context, "not-leader");
    for (const read of ready.reads) this.#effects.push({ kind: "read-ready", ...read });
    if (isStored || this.#owed.length > 0) this.#owed.push({ sequence: this.#sequence, ready });
    else this.#raw.persisted(ready);
  }

  #send(messages: Ready["messages"]): void {
    if (messages.length > 0) this.#effects.push({ kind: "send", messages });
  }

  /**
   * True when something has to be stored. A commit index alone is not stored: it is a lower bound that the
   * next leader brings up to date, and what the state machine holds tells as much.
   */
  #persist(ready: Ready): boolean {
    const { entries, snapshot } = ready;
    if (!ready.isHardStateVital && entries.length === 0 && snapshot === undefined) return false;
    this.#effects.push({
      kind: "persist",
      sequence: ++this.#sequence,
      hardState: this.#raw.hardState,
      snapshot,
      discardTo: snapshot?.index,
      truncateFrom: snapshot === undefined ? entries[0]?.index : snapshot.index + 1,
      entries,
    });
    return true;
  }

  #apply(ready: Ready): void {
    if (ready.committed.length === 0) return;
    this.#effects.push({ kind: "apply", entries: ready.committed });
    for (const entry of ready.committed) {
      if (entry.kind !== "conf-change") continue;
      this.#raw.applyConfChange(entry.change, entry.index);
      this.#confs.push({ index: entry.index, conf: this.#raw.confState });
    }
    this.#raw.applied(ready);
  }

  #acknowledge(upTo: number): void {
    const durable = this.#owed.filter((owed) => owed.sequence <= upTo);
    this.#owed = this.#owed.filter((owed) => owed.sequence > upTo);
    for (const { ready } of durable) this.#raw.persisted(ready);
  }

  /** An image older than the one at hand is of no use. */
  #keepSnapshot(index: number, data: Uint8Array): void {
    const { log } = this.#raw;
    if (index <= log.snapshot.index) return;
    this.#isSnapshotRequested = false;
    assert(index <= log.applied, "a snapshot is taken of what was handed out");
    const conf = this.#confs.findLast((known) => known.index <= index)?.conf;
    assert(conf !== undefined, "the configuration at a snapshot's index is known");
    const compactTo = Math.max(index - this.#options.tailEntries, log.firstIndex - 1);
    const snapshot = this.#raw.keepSnapshot(data, index, conf, compactTo);
    this.#confs = this.#confs.filter((known) => known.index >= index || known.conf === conf);
    this.#effects.push({
      kind: "persist",
      sequence: ++this.#sequence,
      hardState: this.#raw.hardState,
      snapshot,
      discardTo: compactTo,
      truncateFrom: undefined,
      entries: [],
    });
  }

  #refuseMessage(
    from: MemberId,
    message: Extract<ConsensusInput, { kind: "message" }>["message"]["kind"],
  ): void {
    const event = { kind: "bad-message", from, message, why: "its sender is not who it says" } as const;
    this.#effects.push({ kind: "event", event });
  }

  #dropRead(context: string, reason: Refusal): void {
    this.#effects.push({ kind: "read-dropped", context, reason, leader: this.#raw.leader });
  }

  #reportDrop(
    proposal: Extract<ConsensusInput, { kind: "propose" | "propose-conf-change" }>,
    reason: Refusal | undefined,
  ): void {
    if (reason === undefined) return;
    this.#effects.push({ kind: "proposal-dropped", proposal, reason, leader: this.#raw.leader });
  }
}
