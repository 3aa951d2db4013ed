import type { ConfState, MemberId } from "../entry.ts";
import { type JointVoters, jointCommitted, jointMembers, jointVote } from "../quorum/joint.ts";
import type { VoteResult } from "../quorum/majority.ts";
import type { FlowLimits, Progress } from "./progress.ts";

/**
 * The configuration in force. T1: `learners` and the voters are disjoint. T2: `learnersNext` is a
 * subset of `outgoing`. T3: outside a joint change, `outgoing` and `learnersNext` are empty.
 */
export interface GroupConfig extends JointVoters {
  readonly learners: ReadonlySet<MemberId>;
  readonly learnersNext: ReadonlySet<MemberId>;
  readonly autoLeave: boolean;
}

export const emptyGroupConfig: GroupConfig = {
  incoming: new Set(),
  outgoing: new Set(),
  learners: new Set(),
  learnersNext: new Set(),
  autoLeave: false,
};

/** The members of a group, how far each one is, and the votes of the running election. */
export class Tracker {
  readonly flow: FlowLimits;
  #config: GroupConfig = emptyGroupConfig;
  #progress: ReadonlyMap<MemberId, Progress> = new Map();
  readonly #votes = new Map<MemberId, boolean>();

  constructor(flow: FlowLimits) {
    this.flow = flow;
  }

  get config(): GroupConfig {
    return this.#config;
  }

  get progress(): ReadonlyMap<MemberId, Progress> {
    return this.#progress;
  }

  get isJoint(): boolean {
    return this.#config.outgoing.size > 0;
  }

  /** Members in id order: the order that messages to all of them are made in. */
  get members(): MemberId[] {
    return [...this.#progress.keys()].sort();
  }

  get voters(): MemberId[] {
    return jointMembers(this.#config);
  }

  adopt(config: GroupConfig, progress: ReadonlyMap<MemberId, Progress>): void {
    this.#config = config;
    this.#progress = progress;
  }

  confState(): ConfState {
    return {
      voters: [...this.#config.incoming].sort(),
      votersOutgoing: [...this.#config.outgoing].sort(),
      learners: [...this.#config.learners].sort(),
      learnersNext: [...this.#config.learnersNext].sort(),
      autoLeave: this.#config.autoLeave,
    };
  }

  /** Replaces every member's progress, as a change of term or role does. */
  resetProgress(fresh: (member: MemberId, isLearner: boolean) => Progress): void {
    const next = new Map<MemberId, Progress>();
    for (const [member, progress] of this.#progress) next.set(member, fresh(member, progress.isLearner));
    this.#progress = next;
  }

  isVoter(member: MemberId): boolean {
    return this.#config.incoming.has(member) || this.#config.outgoing.has(member);
  }

  /** The greatest index on a quorum. */
  committed(): number {
    return jointCommitted(this.#config, (voter) => this.#progress.get(voter)?.match);
  }

  isQuorumActive(): boolean {
    const votes = new Map<MemberId, boolean>();
    for (const [member, progress] of this.#progress) {
      if (!progress.isLearner) votes.set(member, progress.isRecentlyActive);
    }
    return this.tally(votes) === "won";
  }

  /** The verdict of the present voters on any yes/no question. */
  tally(votes: ReadonlyMap<MemberId, boolean>): VoteResult {
    return jointVote(this.#config, votes);
  }

  resetVotes(): void {
    this.#votes.clear();
  }

  /** A voter's first answer counts; later ones are ignored. */
  recordVote(voter: MemberId, granted: boolean): VoteResult {
    if (!this.#votes.has(voter)) this.#votes.set(voter, granted);
    return this.tally(this.#votes);
  }
}
