import { assert, defined } from "../../model/assert.ts";
import type { Rng } from "../rng.ts";
import { restoreMembership } from "./confchange/restore.ts";
import { applyChange } from "./confchange/changer.ts";
import { EntryLog, type StoredState } from "./entry-log.ts";
import {
  type Entry,
  type HardState,
  type MemberId,
  payloadBytes,
  type Proposal,
  type Snapshot,
} from "./entry.ts";
import type { ConsensusEvent, Role, SoftState } from "./event.ts";
import type { CampaignReason, Message, VoteResponse } from "./message.ts";
import { ReadQueue, type ReadyRead } from "./read-queue.ts";
import { Progress } from "./tracker/progress.ts";
import { Tracker } from "./tracker/tracker.ts";

/** How a member behaves. Times are in ticks, sizes in bytes. */
export interface RaftOptions {
  readonly id: MemberId;
  /** A follower campaigns after between this and twice this many ticks without a leader's word. */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Soft limit of one append message: it may hold one entry that is larger. */
  readonly appendBytesMax: number;
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
  /** Payload a leader takes in before it is committed; proposals beyond it are dropped. */
  readonly uncommittedBytesMax: number;
  readonly preVote: boolean;
  /** A leader that has not heard from a quorum for an election timeout steps down; a voter that has heard from a leader within one grants no votes. */
  readonly checkQuorum: boolean;
  /** A leader that is no voter any more steps down instead of leading until it is replaced. */
  readonly stepDownOnRemoval: boolean;
  readonly rng: Rng;
}

/**
 * The state of one member and the transitions between roles. What each role does with messages stands
 * in its own file (follower.ts, election.ts, leader.ts); they share this record.
 *
 * R1: `term` never falls. R2: within a term `vote` is set once. R3: what leaves in `afterPersist` rests
 * on state that is not durable yet, what leaves in `outbox` does not.
 */
export class RaftState {
  readonly options: RaftOptions;
  readonly log: EntryLog;
  readonly tracker: Tracker;
  readonly reads = new ReadQueue();

  role: Role = "follower";
  term: number;
  vote: MemberId | undefined;
  leader: MemberId | undefined;

  electionElapsed = 0;
  heartbeatElapsed = 0;
  electionTimeout: number;

  /** This member's driver was told that the last leader's node is dead, and no leader was heard from since. */
  isLeaderSuspected = false;
  /** Why the running campaign was started. */
  campaignReason: CampaignReason = "timeout";
  transferTarget: MemberId | undefined;
  /** Index of the last conf change in the log that may not be applied. */
  pendingConfIndex = 0;
  uncommittedBytes = 0;

  outbox: Message[] = [];
  afterPersist: Message[] = [];
  readyReads: ReadyRead[] = [];
  droppedReads: string[] = [];
  events: ConsensusEvent[] = [];
  /** Followers that need a newer snapshot than the log has. */
  readonly snapshotWanted = new Set<MemberId>();

  constructor(options: RaftOptions, stored: StoredState) {
    this.options = options;
    this.log = new EntryLog(stored);
    this.tracker = new Tracker(options);
    this.term = stored.hardState.term;
    this.vote = stored.hardState.vote;
    this.electionTimeout = this.#drawElectionTimeout();
    this.#restoreConfig(this.log.snapshot);
    this.#replayConfChanges(this.log.snapshot.index + 1, this.log.applied);
  }

  get id(): MemberId {
    return this.options.id;
  }

  get hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.committed };
  }

  get softState(): SoftState {
    return { role: this.role, leader: this.leader };
  }

  /** This member may campaign: it is a voter and its state machine is not about to be replaced. */
  get isPromotable(): boolean {
    const own = this.tracker.progress.get(this.id);
    return own !== undefined && !own.isLearner && !this.log.hasReceivedSnapshot;
  }

  /** The leader was heard from recently enough that its followers must not help to unseat it. */
  get isLeaseHeld(): boolean {
    return (
      this.options.checkQuorum &&
      this.leader !== undefined &&
      this.electionElapsed < this.options.electionTicks
    );
  }

  send(message: Message): void {
    this.outbox.push(message);
  }

  sendAfterPersist(message: Message): void {
    this.afterPersist.push(message);
  }

  respondToAppend(to: MemberId, index: number): void {
    this.sendAfterPersist({
      kind: "append-response",
      from: this.id,
      to,
      term: this.term,
      index,
      rejected: false,
      hintIndex: 0,
      hintTerm: 0,
    });
  }

  /** Answers a candidate; a refusal bears this member's own term and what it knows to be committed. */
  respondToVote(kind: VoteResponse["kind"], to: MemberId, grantedTerm: number | undefined): void {
    const rejected = grantedTerm === undefined;
    const term = grantedTerm ?? this.term;
    const commit = rejected ? this.log.committed : 0;
    const commitTerm = rejected ? defined(this.log.term(commit), "a term for the commit index") : 0;
    this.sendAfterPersist({ kind, from: this.id, to, term, rejected, commit, commitTerm });
  }

  becomeFollower(term: number, leader: MemberId | undefined): void {
    this.#reset(term);
    this.role = "follower";
    this.leader = leader;
  }

  /** Changes neither term nor vote: a pre-candidate has not campaigned yet. */
  becomePreCandidate(): void {
    assert(this.role !== "leader", "a leader does not campaign");
    this.role = "pre-candidate";
    this.leader = undefined;
    this.tracker.resetVotes();
  }

  becomeCandidate(): void {
    assert(this.role !== "leader", "a leader does not campaign");
    this.#reset(this.term + 1);
    this.role = "candidate";
    this.vote = this.id;
  }

  becomeLeader(): void {
    assert(this.role === "candidate", "only a candidate is elected");
    this.#reset(this.term);
    this.role = "leader";
    this.leader = this.id;
    const own = defined(this.tracker.progress.get(this.id), "a leader's own progress");
    own.becomeReplicate();
    own.isRecentlyActive = true;
    this.isLeaderSuspected = false;
    // Conservative: one of the entries not yet applied may be a conf change.
    this.pendingConfIndex = this.log.lastIndex;
  }

  /** Appends to the leader's own log; false when too much is uncommitted already. */
  appendProposals(proposals: readonly Proposal[]): boolean {
    const bytes = proposals.reduce((sum, proposal) => sum + payloadBytes(proposal), 0);
    const isOverLimit = this.uncommittedBytes + bytes > this.options.uncommittedBytesMax;
    if (this.uncommittedBytes > 0 && bytes > 0 && isOverLimit) return false;
    this.uncommittedBytes += bytes;
    const first = this.log.lastIndex + 1;
    this.log.append(
      proposals.map((proposal, i): Entry => ({ ...proposal, term: this.term, index: first + i })),
    );
    this.respondToAppend(this.id, this.log.lastIndex);
    return true;
  }

  /** Installs a leader's snapshot in place of log and membership. */
  restoreFrom(snapshot: Snapshot): void {
    this.log.restore(snapshot);
    this.#restoreConfig(snapshot);
  }

  /** Draws a new election timeout, a short one while the leader is known to be dead. */
  resetElectionTimeout(): void {
    this.electionTimeout = this.#drawElectionTimeout();
  }

  #drawElectionTimeout(): number {
    const ticks = this.options.electionTicks;
    if (this.isLeaderSuspected) return Math.ceil(ticks / 5) + this.options.rng.int(Math.ceil(ticks / 2));
    return ticks + this.options.rng.int(ticks);
  }

  #reset(term: number): void {
    assert(term >= this.term, "R1: the term never falls");
    if (term !== this.term) {
      this.term = term;
      this.vote = undefined;
    }
    this.leader = undefined;
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    this.resetElectionTimeout();
    this.transferTarget = undefined;
    this.tracker.resetVotes();
    const last = this.log.lastIndex;
    this.tracker.resetProgress(
      (member, isLearner) =>
        new Progress({
          match: member === this.id ? last : 0,
          next: last + 1,
          isLearner,
          isRecentlyActive: false,
          flow: this.options,
        }),
    );
    this.pendingConfIndex = 0;
    this.uncommittedBytes = 0;
    this.droppedReads.push(...this.reads.clear());
    this.snapshotWanted.clear();
  }

  #restoreConfig(snapshot: Snapshot): void {
    const membership = restoreMembership(snapshot.conf, {
      lastIndex: this.log.lastIndex,
      flow: this.options,
    });
    this.tracker.adopt(membership.config, membership.progress);
    const own = this.tracker.progress.get(this.id);
    if (own !== undefined) own.maybeUpdate(own.next - 1);
  }

  /** A state machine that outlives the snapshot has already seen the changes between the two. */
  #replayConfChanges(from: number, to: number): void {
    for (const entry of this.log.slice(from, to)) {
      if (entry.kind !== "conf-change") continue;
      const context = { lastIndex: this.log.lastIndex, flow: this.options };
      const result = applyChange(this.tracker, entry.change, context);
      if (result.ok) this.tracker.adopt(result.membership.config, result.membership.progress);
    }
  }
}
