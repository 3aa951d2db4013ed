import { assert } from "../../model/assert.ts";
import type { ConfChange } from "./confchange/conf-change.ts";
import { campaign } from "./election.ts";
import type { EntryLog, StoredState } from "./entry-log.ts";
import {
  type ConfState,
  type Entry,
  type HardState,
  type MemberId,
  payloadBytes,
  type Proposal,
  type Snapshot,
} from "./entry.ts";
import type { ConsensusEvent, Refusal, Role, SoftState } from "./event.ts";
import {
  leaveJointIfDue,
  proposeAsLeader,
  reportSnapshot,
  reportUnreachable,
  serveSnapshotWaiters,
} from "./leader.ts";
import { applyConfChange } from "./membership-change.ts";
import type { CampaignReason, Message } from "./message.ts";
import { receive, tick } from "./raft.ts";
import { type RaftOptions, RaftState } from "./raft-state.ts";
import type { ReadyRead } from "./read-queue.ts";
import { startRead } from "./replication.ts";
import type { Progress } from "./tracker/progress.ts";
import { startTransfer } from "./transfer.ts";

/** Everything that a member wants done since the last time it was asked. */
export interface Ready {
  /** Present when it differs from the last one. */
  readonly softState: SoftState | undefined;
  readonly hardState: HardState | undefined;
  /** The hard state differs in more than the commit index, which may be lost. */
  readonly isHardStateVital: boolean;
  /** Replaces the whole stored log, and the state machine. */
  readonly snapshot: Snapshot | undefined;
  /** To be stored; they replace what is stored from the first one's index on. */
  readonly entries: readonly Entry[];
  /** To be applied, in order, once the above is stored. */
  readonly committed: readonly Entry[];
  /** A leader's may leave before anything is stored. */
  readonly messages: readonly Message[];
  /** May leave only when the above is stored. */
  readonly messagesAfterPersist: readonly Message[];
  /** This member's own acknowledgements; `persisted` takes them in. */
  readonly ownMessages: readonly Message[];
  readonly reads: readonly ReadyRead[];
  readonly droppedReads: readonly string[];
}

/** A member's state at a glance. */
export interface RaftStatus {
  readonly id: MemberId;
  readonly role: Role;
  readonly term: number;
  readonly vote: MemberId | undefined;
  readonly leader: MemberId | undefined;
  readonly commit: number;
  readonly applied: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly conf: ConfState;
  readonly transferTarget: MemberId | undefined;
  /** What a leader knows of the members; empty elsewhere. */
  readonly progress: ReadonlyMap<MemberId, Readonly<Progress>>;
}

/**
 * One member, driven by hand: verbs go in, `ready()` says what to do, `persisted` and `applied` report
 * back. It counts ticks and knows no time. ConsensusMachine wraps it for a driver.
 */
export class RawNode {
  readonly #raft: RaftState;
  #lastSoftState: SoftState;
  #lastHardState: HardState;

  constructor(options: RaftOptions, stored: StoredState) {
    this.#raft = new RaftState(options, stored);
    this.#lastSoftState = this.#raft.softState;
    this.#lastHardState = this.#raft.hardState;
  }

  get log(): EntryLog {
    return this.#raft.log;
  }

  get role(): Role {
    return this.#raft.role;
  }

  get leader(): MemberId | undefined {
    return this.#raft.leader;
  }

  tick(): void {
    tick(this.#raft);
  }

  /**
   * Ticks until the next one that does something; undefined while none will: a member that may not
   * campaign, or a leader of nobody but itself.
   */
  get ticksUntilDue(): number | undefined {
    const raft = this.#raft;
    if (raft.role !== "leader") {
      return raft.isPromotable ? Math.max(1, raft.electionTimeout - raft.electionElapsed) : undefined;
    }
    if (raft.tracker.progress.size <= 1) return undefined;
    const heartbeat = raft.options.heartbeatTicks - raft.heartbeatElapsed;
    const election = raft.options.electionTicks - raft.electionElapsed;
    return Math.max(1, Math.min(heartbeat, election));
  }

  /** Sets the randomised election timeout, in ticks, for scripted runs. */
  setElectionTimeout(ticks: number): void {
    this.#raft.electionTimeout = ticks;
  }

  campaign(reason: CampaignReason): void {
    campaign(this.#raft, reason);
  }

  /** Takes the last leader for dead until a leader is heard from. */
  suspectLeader(): void {
    const raft = this.#raft;
    if (raft.role === "leader" || raft.isLeaderSuspected) return;
    raft.isLeaderSuspected = true;
    raft.electionElapsed = 0;
    raft.resetElectionTimeout();
  }

  propose(proposal: Proposal): Refusal | undefined {
    const { role, leader } = this.#raft;
    if (role === "leader") return proposeAsLeader(this.#raft, proposal);
    return leader === undefined ? "no-leader" : "not-leader";
  }

  applyConfChange(change: ConfChange, index: number): void {
    applyConfChange(this.#raft, change, index);
  }

  step(message: Message): void {
    receive(this.#raft, message);
  }

  transferLeader(target: MemberId): void {
    startTransfer(this.#raft, target);
  }

  /** Asks for the index that a linearizable read has to wait for; it comes in `Ready.reads`. */
  readIndex(context: string): Refusal | undefined {
    const { role, leader } = this.#raft;
    if (role !== "leader") return leader === undefined ? "no-leader" : "not-leader";
    startRead(this.#raft, context);
    return undefined;
  }

  reportUnreachable(peer: MemberId): void {
    reportUnreachable(this.#raft, peer);
  }

  reportSnapshot(peer: MemberId, isDelivered: boolean): void {
    reportSnapshot(this.#raft, peer, isDelivered);
  }

  /** Keeps the state machine's snapshot for followers and forgets entries up to `compactTo`. */
  keepSnapshot(data: Uint8Array, index: number, conf: ConfState, compactTo: number): Snapshot {
    const term = this.#raft.log.term(index);
    assert(term !== undefined, "a snapshot is taken inside the log");
    const snapshot: Snapshot = { index, term, conf, data };
    this.#raft.log.keepSnapshot(snapshot);
    this.#raft.log.compact(compactTo);
    serveSnapshotWaiters(this.#raft);
    return snapshot;
  }

  get hardState(): HardState {
    return this.#raft.hardState;
  }

  /** Followers that cannot go on until a newer snapshot is kept, sorted. */
  get snapshotWanted(): readonly MemberId[] {
    return [...this.#raft.snapshotWanted].sort();
  }

  get confState(): ConfState {
    return this.#raft.tracker.confState();
  }

  get hasReady(): boolean {
    const raft = this.#raft;
    return (
      raft.outbox.length > 0 ||
      raft.afterPersist.length > 0 ||
      raft.readyReads.length > 0 ||
      raft.droppedReads.length > 0 ||
      raft.log.hasReceivedSnapshot ||
      raft.log.hasUnpersisted ||
      raft.log.hasUnapplied ||
      !isSameSoftState(raft.softState, this.#lastSoftState) ||
      !isSameHardState(raft.hardState, this.#lastHardState)
    );
  }

  /** Takes out what is to be done. It is handed out once; the caller sees to it. */
  ready(): Ready {
    const raft = this.#raft;
    const { softState, hardState } = raft;
    const isVital =
      hardState.term !== this.#lastHardState.term || hardState.vote !== this.#lastHardState.vote;
    const ready: Ready = {
      softState: isSameSoftState(softState, this.#lastSoftState) ? undefined : softState,
      hardState: isSameHardState(hardState, this.#lastHardState) ? undefined : hardState,
      isHardStateVital: isVital,
      snapshot: raft.log.takeReceivedSnapshot(),
      entries: raft.log.takeUnpersisted(),
      committed: raft.log.unapplied(),
      messages: raft.outbox,
      messagesAfterPersist: raft.afterPersist.filter((message) => message.to !== raft.id),
      ownMessages: raft.afterPersist.filter((message) => message.to === raft.id),
      reads: raft.readyReads,
      droppedReads: raft.droppedReads,
    };
    this.#lastSoftState = softState;
    this.#lastHardState = hardState;
    raft.outbox = [];
    raft.afterPersist = [];
    raft.readyReads = [];
    raft.droppedReads = [];
    return ready;
  }

  /** What happened since the last call; nothing waits on it. */
  takeEvents(): readonly ConsensusEvent[] {
    const { events } = this.#raft;
    this.#raft.events = [];
    return events;
  }

  /** What `ready` asked to store is durable. */
  persisted(ready: Ready): void {
    for (const message of ready.ownMessages) receive(this.#raft, message);
  }

  /** What `ready` asked to apply is applied, conf changes by `applyConfChange`. */
  applied(ready: Ready): void {
    const last = ready.committed.at(-1);
    if (last === undefined) return;
    const raft = this.#raft;
    raft.log.appliedTo(last.index);
    const bytes = ready.committed.reduce((sum, entry) => sum + payloadBytes(entry), 0);
    raft.uncommittedBytes = Math.max(0, raft.uncommittedBytes - bytes);
    leaveJointIfDue(raft);
  }

  status(): RaftStatus {
    const raft = this.#raft;
    return {
      id: raft.id,
      role: raft.role,
      term: raft.term,
      vote: raft.vote,
      leader: raft.leader,
      commit: raft.log.committed,
      applied: raft.log.applied,
      firstIndex: raft.log.firstIndex,
      lastIndex: raft.log.lastIndex,
      conf: raft.tracker.confState(),
      transferTarget: raft.transferTarget,
      progress: raft.role === "leader" ? raft.tracker.progress : new Map(),
    };
  }
}

function isSameSoftState(a: SoftState, b: SoftState): boolean {
  return a.role === b.role && a.leader === b.leader;
}

function isSameHardState(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.vote === b.vote && a.commit === b.commit;
}
