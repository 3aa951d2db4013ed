/** The steward's side of a call: whom to ask, and which offers to take. */
import type { NodeId } from "../../model/ids.ts";
import type { Offer, PlacementRequest } from "../../model/placement.ts";
import type { Resources } from "../../model/spec.ts";
import type { Rng } from "../rng.ts";
import { shuffled } from "../rng.ts";
import { resourceRefusal } from "./quote.ts";

export interface Hint {
  readonly id: NodeId;
  /** As gossiped: a hint that may be old. */
  readonly free: Resources;
}

export interface Sample {
  /** Asked at once. */
  readonly first: readonly NodeId[];
  /** Asked when those do not suffice: likely ones first, at last those the hints speak against. */
  readonly rest: readonly NodeId[];
}

/** Most nodes one call asks in all. */
export const askedMax = 500;

/**
 * Draws whom to ask: twice the count and three, because choosing among a few random candidates is
 * nearly as good as choosing among all (Mitzenmacher, the power of two choices), at a cost that does
 * not grow with the fleet.
 */
export function sample(candidates: readonly Hint[], request: PlacementRequest, rng: Rng): Sample {
  const likely: NodeId[] = [];
  const unlikely: NodeId[] = [];
  for (const { id, free } of shuffled(candidates, rng)) {
    const fits = resourceRefusal(id, free, request.resources) === undefined;
    (fits ? likely : unlikely).push(id);
  }
  const firstSize = Math.min(2 * request.count + 3, askedMax);
  // With no likely one, the hints are put to the proof at once: the user is owed the nodes' own reasons.
  const pool = likely.length === 0 ? unlikely : likely;
  const first = pool.slice(0, firstSize);
  const rest = likely.length === 0 ? pool.slice(firstSize) : [...likely.slice(firstSize), ...unlikely];
  return { first, rest: rest.slice(0, askedMax - first.length) };
}

/**
 * Which node takes each replica: one entry a replica, fewer than asked for when the offers do not
 * suffice. Spread: fewest replicas of the same deployment, then fewest promises, then the greatest
 * free share, then the image at hand, then the lowest id.
 */
export function assign(offers: readonly Offer[], request: PlacementRequest): readonly NodeId[] {
  const open = offers.filter((offer) => offer.slots > 0).map((offer) => ({ offer, given: 0 }));
  const chosen: NodeId[] = [];
  while (chosen.length < request.count) {
    let best: Taker | undefined;
    for (const taker of open)
      if (taker.given < taker.offer.slots && (best === undefined || compareTakers(taker, best, request) < 0))
        best = taker;
    if (best === undefined) break;
    best.given += 1;
    chosen.push(best.offer.node);
  }
  return chosen;
}

interface Taker {
  readonly offer: Offer;
  given: number;
}

function compareTakers(a: Taker, b: Taker, request: PlacementRequest): number {
  const byHeld = a.offer.held + a.given - (b.offer.held + b.given);
  if (byHeld !== 0) return byHeld;
  const byPromises = a.offer.promises + a.given - (b.offer.promises + b.given);
  if (byPromises !== 0) return byPromises;
  const byShare = freeShare(b, request) - freeShare(a, request);
  if (byShare !== 0) return byShare;
  if (a.offer.hasImages !== b.offer.hasImages) return a.offer.hasImages ? -1 : 1;
  return a.offer.node < b.offer.node ? -1 : 1;
}

/** The smaller of the shares of CPU and memory that stay free with what was given so far. */
function freeShare(taker: Taker, request: PlacementRequest): number {
  const { free, capacity } = taker.offer;
  const share = (of: keyof Resources): number =>
    capacity[of] === 0 ? 0 : (free[of] - taker.given * request.resources[of]) / capacity[of];
  return Math.min(share("cpuMillis"), share("memoryBytes"));
}
