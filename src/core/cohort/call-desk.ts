/**
 * The steward's search for volunteers: at most one call at a time, for all missing slots together.
 * What is left of a call's offers serves as next best for a moment; a node that refused an award is
 * left alone for a while; what cannot be placed is said once and tried again.
 */
import { defined } from "../../model/assert.ts";
import type { NodeId } from "../../model/ids.ts";
import type { CallAnswer, Offer, PlacementRequest, Refusal } from "../../model/placement.ts";
import type { Instant } from "../machine.ts";
import { CallRound } from "./call-round.ts";
import { hintsImproved, type Fleet } from "./fleet.ts";
import type { Candidate } from "./messages.ts";
import type { CohortOptions } from "./options.ts";
import type { PlacementPolicy } from "./placement-policy.ts";
import { isOccupying, type CohortState } from "./state.ts";
import type { Turn } from "./turn.ts";
import { needsOf } from "../../model/template.ts";

interface Spare {
  readonly callId: number;
  readonly templateHash: string;
  readonly offers: readonly Offer[];
  readonly until: Instant;
}

interface Backoff {
  readonly until: Instant;
  readonly attempt: number;
  readonly refusal: Refusal;
}

export class CallDesk {
  readonly #policy: PlacementPolicy;
  readonly #options: CohortOptions;
  #nextCallId = 1;
  #round: CallRound | undefined;
  #spare: Spare | undefined;
  readonly #backoffs = new Map<NodeId, Backoff>();
  /** Set while something is unplaceable: when to call again, and after how many calls in vain. */
  #retry: { at: Instant; readonly attempt: number } | undefined;
  #lastClosedAt: Instant | undefined;
  #deadline: Instant | undefined;

  constructor(policy: PlacementPolicy, options: CohortOptions) {
    this.#policy = policy;
    this.#options = options;
  }

  answer(callId: number, node: NodeId, answer: CallAnswer): void {
    if (this.#round?.id === callId) this.#round.answer(node, answer);
    const spare = this.#spare;
    if (spare?.callId !== callId || answer.kind === "refusal") return;
    if (spare.offers.some((offer) => offer.node === node)) return;
    this.#spare = { ...spare, offers: [...spare.offers, answer.offer] };
  }

  /** A node took its award: it is trusted again. */
  awardKept(node: NodeId): void {
    this.#backoffs.delete(node);
  }

  awardRefused(node: NodeId, refusal: Refusal, now: Instant): void {
    const attempt = (this.#backoffs.get(node)?.attempt ?? -1) + 1;
    this.#backoffs.set(node, {
      until: now + this.#pauseMs(attempt),
      attempt,
      refusal,
    });
  }

  /** Something was given up or asked for anew: what had no place may have one. */
  retryNow(now: Instant): void {
    if (this.#retry !== undefined) this.#retry.at = now;
  }

  fleetChanged(before: Fleet | undefined, after: Fleet, now: Instant): void {
    if (this.#retry === undefined) return;
    const improved = hintsImproved(before, after);
    if (improved === "node") this.#retry.at = now;
    if (improved === "free") {
      const soonest = (this.#lastClosedAt ?? now) + this.#options.hintPauseMs;
      this.#retry.at = Math.min(this.#retry.at, Math.max(now, soonest));
    }
  }

  deadline(): Instant | undefined {
    return this.#deadline;
  }

  /** Brings the search one step on for the slots that are missing. */
  advance(turn: Turn, missing: readonly number[]): void {
    if (missing.length === 0) this.#rest(turn);
    else if (!turn.isInFlight("award")) this.#search(turn, missing);
    // An award in flight settles by its commit or its drop: no time matters until then.
    this.#deadline = turn.isInFlight("award") ? undefined : (this.#round?.closesAt ?? this.#retry?.at);
  }

  #search(turn: Turn, missing: readonly number[]): void {
    if (this.#round !== undefined && this.#round.templateHash !== turn.state.templateHash)
      this.#round = undefined;
    if (this.#round === undefined && !this.#awardFromSpare(turn, missing)) this.#open(turn, missing);
    this.#follow(turn, missing);
  }

  #rest(turn: Turn): void {
    this.#round = undefined;
    this.#retry = undefined;
    if (turn.state.unplaced.key !== "" && !turn.isInFlight("placeable")) turn.propose({ kind: "placeable" });
  }

  #open(turn: Turn, missing: readonly number[]): void {
    if (this.#retry !== undefined && turn.now < this.#retry.at) return;
    const request = requestFor(turn.state, missing.length);
    const { first, rest } = this.#policy.sample(this.#candidates(turn), request);
    this.#round = new CallRound(
      {
        id: this.#nextCallId,
        request,
        templateHash: turn.state.templateHash,
        first,
        rest,
      },
      turn.now + this.#timeoutMs(),
    );
    this.#nextCallId += 1;
    this.#ask(turn, this.#round, first);
  }

  #ask(turn: Turn, round: CallRound, nodes: readonly NodeId[]): void {
    for (const to of nodes) turn.emit({ kind: "call", callId: round.id, to, request: round.request });
  }

  #follow(turn: Turn, missing: readonly number[]): void {
    const round = this.#round;
    if (round === undefined) return;
    const verdict = round.verdict(turn.now);
    if (verdict === "widen") this.#ask(turn, round, round.widen(turn.now + this.#timeoutMs()));
    if (verdict !== "close") return;
    this.#round = undefined;
    this.#lastClosedAt = turn.now;
    const taken = this.#award(turn, missing, {
      callId: round.id,
      templateHash: round.templateHash,
      offers: round.offers,
      until: turn.now + this.#options.offerFreshMs,
      reason: `best of ${round.offers.length} offers, ${round.askedCount} nodes asked`,
    });
    if (countOf(taken) < missing.length) this.#sayUnplaced(turn, round);
    else this.#retry = undefined;
  }

  #sayUnplaced(turn: Turn, round: CallRound): void {
    const attempt = (this.#retry?.attempt ?? -1) + 1;
    const refusals = [...round.refusals()];
    const isSilence = attempt === 0 && refusals.some(({ reason }) => reason === "unreachable");
    const pauseMs = isSilence ? this.#options.silenceRetryMs : this.#pauseMs(attempt);
    this.#retry = { at: turn.now + pauseMs, attempt };
    if (isSilence) return;
    for (const [node, backoff] of this.#backoffs) {
      if (backoff.until <= turn.now) continue;
      this.#retry.at = Math.min(this.#retry.at, backoff.until);
      if (turn.fleet.alive.has(node)) refusals.push(backoff.refusal);
    }
    for (const node of nodesToClear(turn.state))
      if (turn.fleet.alive.has(node))
        refusals.push({
          node,
          reason: "busy",
          detail: "still has to stop what was replaced while it was lost",
        });
    const { key, lines } = this.#policy.explain(refusals, round.offers, round.request);
    if (key !== turn.state.unplaced.key && !turn.isInFlight("unplaceable"))
      turn.propose({ kind: "unplaceable", key, reasons: lines });
  }

  #awardFromSpare(turn: Turn, missing: readonly number[]): boolean {
    const spare = this.#spare;
    this.#spare = undefined;
    if (spare === undefined || turn.now > spare.until || spare.templateHash !== turn.state.templateHash)
      return false;
    const offers = spare.offers.filter(
      (offer) => turn.fleet.alive.has(offer.node) && !this.#isBackedOff(offer.node, turn),
    );
    const taken = this.#award(turn, missing, {
      ...spare,
      offers,
      reason: "next best offer",
    });
    return taken.size > 0;
  }

  /** Proposes the best use of the offers, and says how many slots each node got. */
  #award(
    turn: Turn,
    missing: readonly number[],
    from: Spare & { readonly reason: string },
  ): ReadonlyMap<NodeId, number> {
    const held = heldByNode(turn.state);
    // The log knows of awards that had not reached the node's book when it made its offer.
    const offers = from.offers.map((offer) => {
      const more = Math.max(0, (held.get(offer.node) ?? 0) - offer.held);
      return {
        ...offer,
        held: offer.held + more,
        promises: offer.promises + more,
      };
    });
    const nodes = this.#policy.assign(offers, requestFor(turn.state, missing.length));
    const taken = new Map<NodeId, number>();
    for (const node of nodes) taken.set(node, (taken.get(node) ?? 0) + 1);
    if (nodes.length > 0) {
      const awards = nodes.map((node, position) => ({
        replica: defined(missing[position], "a missing slot for each award"),
        node,
      }));
      const { templateHash, reason } = from;
      turn.propose({ kind: "award", templateHash, awards, reason });
      this.#spare = { ...from, offers: leftOf(from.offers, taken) };
    }
    return taken;
  }

  /** Live nodes that are not backed off and have nothing broken of this deployment left to stop. */
  #candidates(turn: Turn): readonly Candidate[] {
    const tainted = nodesToClear(turn.state);
    return [...turn.fleet.alive.values()].filter(
      (node) => !tainted.has(node.id) && !this.#isBackedOff(node.id, turn),
    );
  }

  #isBackedOff(node: NodeId, turn: Turn): boolean {
    const backoff = this.#backoffs.get(node);
    return backoff !== undefined && backoff.until > turn.now;
  }

  /** Grows, so that nodes too busy to answer in time are heard at last. */
  #timeoutMs(): number {
    const attempts = (this.#retry?.attempt ?? -1) + 1;
    const { callTimeoutMs, callTimeoutMaxMs } = this.#options;
    return Math.min(callTimeoutMs * 2 ** Math.min(attempts, 10), callTimeoutMaxMs);
  }

  #pauseMs(attempt: number): number {
    const { backoffMinMs, backoffMaxMs } = this.#options;
    return Math.min(backoffMinMs * 2 ** Math.min(attempt, 30), backoffMaxMs);
  }
}

function requestFor(state: CohortState, count: number): PlacementRequest {
  const { group, deployment, spec } = state;
  return { group, deployment, count, ...needsOf(spec.template) };
}

function heldByNode(state: CohortState): ReadonlyMap<NodeId, number> {
  const held = new Map<NodeId, number>();
  for (const promise of state.promises.values())
    if (isOccupying(promise)) held.set(promise.node, (held.get(promise.node) ?? 0) + 1);
  return held;
}

/** Nodes that may still run a broken promise of this deployment. */
function nodesToClear(state: CohortState): ReadonlySet<NodeId> {
  const nodes = new Set<NodeId>();
  for (const promise of state.promises.values()) if (!isOccupying(promise)) nodes.add(promise.node);
  return nodes;
}

function countOf(taken: ReadonlyMap<NodeId, number>): number {
  let count = 0;
  for (const slots of taken.values()) count += slots;
  return count;
}

function leftOf(offers: readonly Offer[], taken: ReadonlyMap<NodeId, number>): readonly Offer[] {
  return offers
    .map((offer) => ({
      ...offer,
      slots: offer.slots - (taken.get(offer.node) ?? 0),
    }))
    .filter((offer) => offer.slots > 0);
}
