/**
 * The one member that reconciles, for one term. It acts only once its own entry is committed: from
 * then on its state holds everything any steward before it has written. Everything it remembers
 * here is soft; losing it costs a repeated message.
 */
import type { Charter } from "../../model/charter.ts";
import type { NodeId, PromiseId } from "../../model/ids.ts";
import type { Refusal } from "../../model/placement.ts";
import type { Instant } from "../machine.ts";
import { CallDesk } from "./call-desk.ts";
import type { CohortCommand } from "./commands.ts";
import { Errands } from "./errands.ts";
import { isUnknown, nodeName, type Fleet } from "./fleet.ts";
import type { CohortInput, VoterChange } from "./messages.ts";
import type { CohortOptions } from "./options.ts";
import type { PlacementPolicy } from "./placement-policy.ts";
import type { Proposals } from "./proposals.ts";
import { reconcile } from "./reconcile.ts";
import { ReportDesk } from "./report-desk.ts";
import { isOccupying, isServing, type CohortState } from "./state.ts";
import { earlier, type Turn } from "./turn.ts";
import { VoterDesk, type GroupConfig } from "./voter-desk.ts";

type Input<Kind extends CohortInput["kind"]> = Extract<CohortInput, { readonly kind: Kind }>;

export class Steward {
  readonly self: NodeId;
  readonly term: number;
  readonly #options: CohortOptions;
  readonly #proposals: Proposals;
  readonly #proposeChange: (change: VoterChange) => number;
  readonly #calls: CallDesk;
  readonly #errands = new Errands();
  readonly #reports = new ReportDesk();
  readonly #group = new VoterDesk();
  readonly #unknownSince = new Map<NodeId, Instant>();
  #isSettled = false;
  #publishedVersion = 0;
  #pausedUntil: Instant | undefined;
  #deadline: Instant | undefined;

  constructor(
    who: { readonly self: NodeId; readonly term: number },
    ports: {
      readonly policy: PlacementPolicy;
      readonly proposals: Proposals;
      readonly proposeChange: (change: VoterChange) => number;
    },
    options: CohortOptions,
  ) {
    this.self = who.self;
    this.term = who.term;
    this.#options = options;
    this.#proposals = ports.proposals;
    this.#proposeChange = ports.proposeChange;
    this.#calls = new CallDesk(ports.policy, options);
  }

  /** Its own entry is in the state: it knows all, and may act. */
  isActive(state: CohortState): boolean {
    return state.steward === this.self && state.stewardTerm === this.term;
  }

  isLost(fleet: Fleet, node: NodeId, now: Instant): boolean {
    if (node === this.self || fleet.alive.has(node)) return false;
    if (fleet.dead.has(node)) return true;
    const since = this.#unknownSince.get(node);
    // Added as the deadline is: `now - since` may fall short of the grace by a rounding when the timer fires.
    return since !== undefined && now >= since + this.#options.unknownGraceMs;
  }

  deadline(): Instant | undefined {
    return this.#deadline;
  }

  callAnswer(input: Input<"call-answer">): void {
    this.#calls.answer(input.callId, input.node, input.answer);
  }

  awardAnswer(turn: Turn, input: Input<"award-answer">): void {
    const settling = this.#proposals.settling();
    const promised: PromiseId[] = [];
    const refused: { promise: PromiseId; refusal: Refusal }[] = [];
    for (const { promise: id, refusal } of input.results) {
      const promise = turn.state.promises.get(id);
      if (promise?.node !== input.node || settling.has(id)) continue;
      if (refusal === undefined) {
        this.#calls.awardKept(input.node);
        if (promise.stage === "awarded") promised.push(id);
      } else if (promise.stage !== "promised") {
        if (refused.length === 0) this.#calls.awardRefused(input.node, refusal, turn.now);
        refused.push({ promise: id, refusal });
      }
    }
    if (promised.length > 0 || refused.length > 0) turn.propose({ kind: "answer", promised, refused });
  }

  releaseAnswer(turn: Turn, input: Input<"release-answer">): void {
    for (const id of input.accepted)
      this.#errands.releaseAccepted(id, turn.now + this.#options.releaseCheckMs);
    this.#proposeReleased(turn, input.node, input.unknown);
  }

  report(turn: Turn, input: Input<"report">): void {
    this.#reports.receive(turn, input.node, input.reports);
    if (input.inquiry === undefined) return;
    const expected = this.#errands.inquiryAnswered(input.node, input.inquiry);
    if (expected === undefined) return;
    const named = new Set(input.reports.map((report) => report.promise));
    const missing = [...expected].filter((id) => !named.has(id));
    this.#proposeReleased(turn, input.node, missing);
    const lost = missing.filter((id) => {
      const promise = turn.state.promises.get(id);
      return promise !== undefined && isServing(promise);
    });
    if (lost.length > 0)
      turn.propose({
        kind: "break",
        promises: lost,
        reason: `${nodeName(turn.fleet, input.node)} no longer has it`,
      });
  }

  fleetChanged(before: Fleet | undefined, turn: Turn): void {
    this.#calls.fleetChanged(before, turn.fleet, turn.now);
    const returned = new Set<NodeId>();
    for (const { node } of turn.state.promises.values())
      if (
        turn.fleet.alive.has(node) &&
        before !== undefined &&
        !before.alive.has(node) &&
        !before.suspect.has(node)
      )
        returned.add(node);
    for (const node of returned) this.#errands.inquire(node);
  }

  configChanged(config: GroupConfig): void {
    this.#group.configChanged(config);
  }

  progress(node: NodeId, caughtUp: boolean): void {
    this.#group.progress(node, caughtUp);
  }

  /** An entry was applied; `isOwn` when this steward proposed it. */
  applied(
    turn: Turn,
    command: CohortCommand,
    entry: { readonly isOwn: boolean; readonly before: CohortState },
  ): void {
    const { before } = entry;
    if (command.kind === "report" && entry.isOwn) this.#reports.committed(turn, command.batches);
    const isFreed =
      (command.kind === "report" || command.kind === "released") &&
      turn.state.promises.size < before.promises.size;
    if (isFreed || turn.state.specVersion !== before.specVersion) this.#calls.retryNow(turn.now);
    if (command.kind === "voters-changed" && this.#isSettled) this.#inquireAll(turn);
  }

  /** Consensus did not take a proposal; `command` is undefined when it was a change of voters. */
  dropped(proposal: number, command: CohortCommand | undefined, now: Instant): void {
    this.#pausedUntil = now + this.#options.proposePauseMs;
    if (this.#group.dropped(proposal)) return;
    if (command?.kind === "report") this.#reports.dropped(command.batches);
  }

  /** All that a report asks for: what is wanted has not changed before it is in the log. */
  advanceReports(turn: Turn): void {
    const isPaused = this.#pausedUntil !== undefined && turn.now < this.#pausedUntil;
    if (this.#isSettled && !isPaused) this.#reports.advance(turn);
  }

  /** Does everything that is to be done now. */
  advance(turn: Turn, config: GroupConfig | undefined): void {
    this.#deadline = undefined;
    if (this.#pausedUntil !== undefined && turn.now < this.#pausedUntil) {
      this.#deadline = this.#pausedUntil;
      return;
    }
    this.#pausedUntil = undefined;
    if (!this.isActive(turn.state)) {
      if (!turn.isInFlight("steward")) turn.propose({ kind: "steward", node: this.self, term: this.term });
      return;
    }
    if (!this.#isSettled) this.#inquireAll(turn);
    this.#isSettled = true;
    this.#watchUnknown(turn, config);
    this.#reports.advance(turn);
    this.#restore(turn);
    const settling = this.#proposals.settling();
    this.#errands.advance(turn, (promise) => settling.has(promise));
    this.#group.advance(turn, config, this.#proposeChange);
    this.#publish(turn);
    for (const deadline of [this.#calls.deadline(), this.#errands.deadline(), this.#group.deadline()])
      this.#deadline = earlier(this.#deadline, deadline);
  }

  /** Proposes what brings the deployment nearer to what is wanted. */
  #restore(turn: Turn): void {
    const wanted = reconcile(turn.state, turn.isLost);
    if (!turn.isInFlight("break"))
      for (const [node, promises] of wanted.breaks)
        turn.propose({
          kind: "break",
          promises,
          reason: `node ${nodeName(turn.fleet, node)} is dead`,
        });
    if (!turn.isInFlight("release"))
      for (const { promises, reason } of wanted.releases) turn.propose({ kind: "release", promises, reason });
    this.#calls.advance(turn, wanted.missing);
  }

  #proposeReleased(turn: Turn, node: NodeId, ids: readonly PromiseId[]): void {
    const settling = this.#proposals.settling();
    const promises = ids.filter((id) => {
      const promise = turn.state.promises.get(id);
      return promise?.node === node && !isServing(promise) && !settling.has(id);
    });
    if (promises.length > 0)
      turn.propose({
        kind: "released",
        promises,
        reason: `${nodeName(turn.fleet, node)} has nothing of it`,
      });
  }

  #inquireAll(turn: Turn): void {
    const nodes = new Set<NodeId>();
    for (const promise of turn.state.promises.values()) nodes.add(promise.node);
    for (const node of nodes) this.#errands.inquire(node);
  }

  /** Keeps the time since when membership does not know a node that matters here. */
  #watchUnknown(turn: Turn, config: GroupConfig | undefined): void {
    const relevant = new Set<NodeId>(config?.voters);
    for (const promise of turn.state.promises.values()) if (isOccupying(promise)) relevant.add(promise.node);
    for (const node of this.#unknownSince.keys())
      if (!relevant.has(node) || !isUnknown(turn.fleet, node)) this.#unknownSince.delete(node);
    for (const node of relevant) {
      if (node === this.self || !isUnknown(turn.fleet, node)) continue;
      const since = this.#unknownSince.get(node) ?? turn.now;
      this.#unknownSince.set(node, since);
      const dueAt = since + this.#options.unknownGraceMs;
      if (dueAt > turn.now) this.#deadline = earlier(this.#deadline, dueAt);
    }
  }

  #publish(turn: Turn): void {
    const { state } = turn;
    if (state.charterVersion === this.#publishedVersion) return;
    this.#publishedVersion = state.charterVersion;
    turn.emit({ kind: "publish-charter", charter: charterOf(state) });
  }
}

/** The record by which the fleet finds this cohort. */
export function charterOf(state: CohortState): Charter {
  return {
    deployment: state.deployment,
    namespace: state.spec.namespace,
    name: state.spec.name,
    group: state.group,
    epoch: state.epoch,
    version: state.charterVersion,
    founder: state.founder,
    voters: state.voters,
    deleted: state.status !== "active",
  };
}
