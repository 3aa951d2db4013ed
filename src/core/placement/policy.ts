/** The one placement policy there is, in the shape a cohort's steward takes it. */
import type { NodeId } from "../../model/ids.ts";
import type { Offer, PlacementRequest, Refusal } from "../../model/placement.ts";
import type { Rng } from "../rng.ts";
import { assign, sample, type Hint, type Sample } from "./choose.ts";
import { explain, exhaustion, type Explanation } from "./explain.ts";

export interface SpreadPolicy {
  sample(candidates: readonly Hint[], request: PlacementRequest): Sample;
  assign(offers: readonly Offer[], request: PlacementRequest): readonly NodeId[];
  explain(refusals: readonly Refusal[], used: readonly Offer[], request: PlacementRequest): Explanation;
}

/** Spreads replicas; `rng` draws whom to ask. */
export function createSpreadPolicy(rng: Rng): SpreadPolicy {
  return {
    sample: (candidates, request) => sample(candidates, request, rng),
    assign,
    explain: (refusals, used, request) =>
      explain([...refusals, ...used.map((offer) => exhaustion(offer, request))], request),
  };
}
