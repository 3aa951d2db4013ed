import type { PersistEffect } from "./effect.ts";
import type { StoredState } from "./entry-log.ts";

/** The stored state after a persist effect: what a store does with one, as a function of values. */
export function storedAfter(stored: StoredState, effect: PersistEffect): StoredState {
  const { hardState, discardTo = 0, truncateFrom = Number.POSITIVE_INFINITY } = effect;
  const kept = stored.entries.filter((entry) => entry.index > discardTo && entry.index < truncateFrom);
  const snapshot = effect.snapshot ?? stored.snapshot;
  return { hardState, snapshot, entries: [...kept, ...effect.entries], applied: stored.applied };
}
