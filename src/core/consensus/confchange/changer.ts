import { assert } from "../../../model/assert.ts";
import type { MemberId } from "../entry.ts";
import { Progress, type FlowLimits } from "../tracker/progress.ts";
import type { GroupConfig } from "../tracker/tracker.ts";
import { type ConfChange, type MemberChange, procedureOf } from "./conf-change.ts";

/** A configuration together with what is known of each of its members. */
export interface Membership {
  readonly config: GroupConfig;
  readonly progress: ReadonlyMap<MemberId, Progress>;
}

export type ChangeError =
  | "already-joint"
  | "not-joint"
  | "no-voters-to-join"
  | "joint-in-progress"
  | "more-than-one-voter"
  | "no-voters-left";

export type ChangeResult = { ok: true; membership: Membership } | { ok: false; error: ChangeError };

/** Where new members' progress starts. */
export interface ChangeContext {
  readonly lastIndex: number;
  readonly flow: FlowLimits;
}

/**
 * Computes the membership after a change. Nothing is changed in place: an error leaves the caller with
 * what it had. Replicas agree because the result depends on the membership and the change alone.
 */
export function applyChange(before: Membership, change: ConfChange, context: ChangeContext): ChangeResult {
  const procedure = procedureOf(change);
  switch (procedure.kind) {
    case "leave-joint":
      return leaveJoint(before, context);
    case "enter-joint":
      return enterJoint(before, change.changes, procedure.autoLeave, context);
    case "simple":
      return changeSimply(before, change.changes, context);
  }
}

/** Applies steps that change at most one voter, without a joint configuration. */
export function changeSimply(
  before: Membership,
  changes: readonly MemberChange[],
  context: ChangeContext,
): ChangeResult {
  if (before.config.outgoing.size > 0) return { ok: false, error: "joint-in-progress" };
  const draft = new Draft(before, context);
  changes.forEach((change) => draft.apply(change));
  if (draft.incoming.size === 0) return { ok: false, error: "no-voters-left" };
  if (before.config.incoming.symmetricDifference(draft.incoming).size > 1)
    return { ok: false, error: "more-than-one-voter" };
  return { ok: true, membership: draft.finish(false) };
}

/** Applies any steps, keeping the old majority as the outgoing half. */
export function enterJoint(
  before: Membership,
  changes: readonly MemberChange[],
  autoLeave: boolean,
  context: ChangeContext,
): ChangeResult {
  if (before.config.outgoing.size > 0) return { ok: false, error: "already-joint" };
  if (before.config.incoming.size === 0) return { ok: false, error: "no-voters-to-join" };
  const draft = new Draft(before, context);
  for (const voter of before.config.incoming) draft.outgoing.add(voter);
  changes.forEach((change) => draft.apply(change));
  if (draft.incoming.size === 0) return { ok: false, error: "no-voters-left" };
  return { ok: true, membership: draft.finish(autoLeave) };
}

/** Drops the outgoing half. */
export function leaveJoint(before: Membership, context: ChangeContext): ChangeResult {
  if (before.config.outgoing.size === 0) return { ok: false, error: "not-joint" };
  const draft = new Draft(before, context);
  draft.dissolveOutgoing();
  return { ok: true, membership: draft.finish(false) };
}

class Draft {
  readonly incoming: Set<MemberId>;
  readonly outgoing: Set<MemberId>;
  readonly #learners: Set<MemberId>;
  readonly #learnersNext: Set<MemberId>;
  readonly #progress = new Map<MemberId, Progress>();
  readonly #context: ChangeContext;

  constructor(before: Membership, context: ChangeContext) {
    this.#context = context;
    this.incoming = new Set(before.config.incoming);
    this.outgoing = new Set(before.config.outgoing);
    this.#learners = new Set(before.config.learners);
    this.#learnersNext = new Set(before.config.learnersNext);
    for (const [member, progress] of before.progress)
      this.#progress.set(member, progress.clone(context.flow));
  }

  /** A step that names nobody is void. */
  apply(change: MemberChange): void {
    if (change.member === "") return;
    switch (change.kind) {
      case "add-voter":
        this.#makeVoter(change.member);
        return;
      case "add-learner":
        this.#makeLearner(change.member);
        return;
      case "remove":
        this.#remove(change.member);
        return;
      case "update":
        return;
    }
  }

  dissolveOutgoing(): void {
    for (const member of this.#learnersNext) {
      this.#learners.add(member);
      this.#setLearner(member, true);
    }
    this.#learnersNext.clear();
    for (const member of this.outgoing) {
      if (!this.incoming.has(member) && !this.#learners.has(member)) this.#progress.delete(member);
    }
    this.outgoing.clear();
  }

  finish(autoLeave: boolean): Membership {
    const config: GroupConfig = {
      incoming: this.incoming,
      outgoing: this.outgoing,
      learners: this.#learners,
      learnersNext: this.#learnersNext,
      autoLeave,
    };
    checkInvariants(config, this.#progress);
    return { config, progress: this.#progress };
  }

  #makeVoter(member: MemberId): void {
    this.#learners.delete(member);
    this.#learnersNext.delete(member);
    this.incoming.add(member);
    if (!this.#setLearner(member, false)) this.#introduce(member, false);
  }

  /** An outgoing voter stays a voter until the joint configuration is left, hence `learnersNext`. */
  #makeLearner(member: MemberId): void {
    const known = this.#progress.get(member);
    if (known === undefined) {
      this.#learners.add(member);
      this.#introduce(member, true);
      return;
    }
    if (known.isLearner) return;
    this.incoming.delete(member);
    if (this.outgoing.has(member)) {
      this.#learnersNext.add(member);
      return;
    }
    this.#learners.add(member);
    known.isLearner = true;
  }

  #remove(member: MemberId): void {
    this.incoming.delete(member);
    this.#learners.delete(member);
    this.#learnersNext.delete(member);
    if (!this.outgoing.has(member)) this.#progress.delete(member);
  }

  #setLearner(member: MemberId, isLearner: boolean): boolean {
    const known = this.#progress.get(member);
    if (known === undefined) return false;
    known.isLearner = isLearner;
    return true;
  }

  /** New members count as active, so that a quorum check right after the change does not unseat the leader. */
  #introduce(member: MemberId, isLearner: boolean): void {
    const next = Math.max(this.#context.lastIndex, 1);
    this.#progress.set(
      member,
      new Progress({ match: 0, next, isLearner, isRecentlyActive: true, flow: this.#context.flow }),
    );
  }
}

function checkInvariants(config: GroupConfig, progress: ReadonlyMap<MemberId, Progress>): void {
  const voters = config.incoming.union(config.outgoing);
  assert(config.learners.isDisjointFrom(voters), "T1: learners and voters are disjoint");
  assert(config.learnersNext.isSubsetOf(config.outgoing), "T2: next learners are outgoing voters");
  assert(config.outgoing.size > 0 || !config.autoLeave, "T3: only a joint configuration is left by itself");
  const members = voters.union(config.learners);
  assert(members.size === progress.size, "T4: every member has progress, and nobody else");
  for (const member of members) {
    const known = progress.get(member);
    assert(known !== undefined, "T4: every member has progress");
    assert(known.isLearner === config.learners.has(member), "T5: progress knows learners from voters");
  }
}
