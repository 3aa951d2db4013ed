/**
 * How a steward places: whom it asks, whose offers it takes, how it says why it could not. Handed
 * to the machine because cores do not import one another; the placement core has the one policy.
 */
import type { NodeId } from "../../model/ids.ts";
import type { Offer, PlacementRequest, Refusal } from "../../model/placement.ts";
import type { Candidate } from "./messages.ts";

export interface PlacementPolicy {
  /** `first` is asked at once, `rest` when those do not suffice. */
  sample(
    candidates: readonly Candidate[],
    request: PlacementRequest,
  ): { readonly first: readonly NodeId[]; readonly rest: readonly NodeId[] };
  /** One node a replica, never more than an offer's slots; fewer than asked for when offers run out. */
  assign(offers: readonly Offer[], request: PlacementRequest): readonly NodeId[];
  /** Reasons counted; `used` are offers whose slots were all taken. */
  explain(
    refusals: readonly Refusal[],
    used: readonly Offer[],
    request: PlacementRequest,
  ): { readonly key: string; readonly lines: readonly string[] };
}
