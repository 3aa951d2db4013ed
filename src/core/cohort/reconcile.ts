/**
 * What a deployment lacks: a pure function of the replicated state and of which nodes are lost. Run
 * twice it says the same twice; the steward holds back what is in flight already.
 */
import type { NodeId, PromiseId } from "../../model/ids.ts";
import { isAvailable, isOccupying, isServing, type CohortState, type PromiseRecord } from "./state.ts";

export interface Release {
  readonly promises: readonly PromiseId[];
  readonly reason: string;
}

export interface Wanted {
  /** Promises of lost nodes, by node. */
  readonly breaks: ReadonlyMap<NodeId, readonly PromiseId[]>;
  readonly releases: readonly Release[];
  /** Slots without a promise that occupies them, ascending; those of lost nodes count as such. */
  readonly missing: readonly number[];
}

export function reconcile(state: CohortState, isLost: (node: NodeId) => boolean): Wanted {
  const breaks = new Map<NodeId, PromiseId[]>();
  const bySlot = new Map<number, PromiseRecord>();
  const surplus: PromiseId[] = [];
  const wantedSlots = state.status === "active" ? state.spec.replicas : 0;
  for (const promise of state.promises.values()) {
    if (!isOccupying(promise)) continue;
    if (isLost(promise.node)) {
      const ids = breaks.get(promise.node);
      if (ids === undefined) breaks.set(promise.node, [promise.id]);
      else ids.push(promise.id);
      continue;
    }
    bySlot.set(promise.replica, promise);
    if (promise.replica >= wantedSlots && isServing(promise)) surplus.push(promise.id);
  }
  const missing: number[] = [];
  for (let slot = 0; slot < wantedSlots; slot++) if (!bySlot.has(slot)) missing.push(slot);
  const releases: Release[] = [];
  if (surplus.length > 0)
    releases.push({
      promises: surplus,
      reason: state.status === "active" ? `scaled to ${wantedSlots}` : "the deployment is deleted",
    });
  const outdated = nextOutdated(state, bySlot, missing.length);
  if (outdated !== undefined)
    releases.push({
      promises: [outdated.id],
      reason: `replaced by version ${state.specVersion} of the spec`,
    });
  return { breaks, releases, missing };
}

/**
 * The one promise to give up next so that its slot gets the wanted template: stop-first, one slot at
 * a time. While any slot is without an available promise for another reason than being outdated, the
 * update waits; outdated promises that serve nobody go first.
 */
function nextOutdated(
  state: CohortState,
  bySlot: ReadonlyMap<number, PromiseRecord>,
  missingCount: number,
): PromiseRecord | undefined {
  if (state.status !== "active") return undefined;
  let idle: PromiseRecord | undefined;
  let available: PromiseRecord | undefined;
  // Until the steward has said that empty slots have no place, they may be filled at any moment.
  const tolerated = state.unplaced.key === "" ? 0 : state.emptyOtherwise;
  let isWaiting = missingCount > tolerated;
  for (const [slot, promise] of bySlot) {
    if (slot >= state.spec.replicas) continue;
    const isOutdated = isServing(promise) && promise.templateHash !== state.templateHash;
    if (!isOutdated) isWaiting ||= !isAvailable(promise);
    else if (isAvailable(promise)) available = lower(available, promise);
    else idle = lower(idle, promise);
  }
  return isWaiting ? undefined : (idle ?? available);
}

function lower(a: PromiseRecord | undefined, b: PromiseRecord): PromiseRecord {
  return a === undefined || b.replica < a.replica ? b : a;
}
