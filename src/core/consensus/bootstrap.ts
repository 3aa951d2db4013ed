import { assert } from "../../model/assert.ts";
import type { StoredState } from "./entry-log.ts";
import { emptyConfState, type MemberId } from "./entry.ts";

/**
 * The stored state that every founding voter of a new group starts from: a snapshot at index 1, term 1.
 * Founding thus needs no log entries, and all founders agree on it by construction.
 */
export function bootstrapState(voters: readonly MemberId[], data: Uint8Array): StoredState {
  const sorted = [...new Set(voters)].sort();
  assert(sorted.length > 0, "a group has a voter");
  return {
    hardState: { term: 1, vote: undefined, commit: 1 },
    snapshot: { index: 1, term: 1, conf: { ...emptyConfState, voters: sorted }, data },
    entries: [],
    applied: 1,
  };
}

/** The stored state of a member that joins an existing group: it waits for the leader's word. */
export function joiningState(): StoredState {
  return { hardState: { term: 0, vote: undefined, commit: 0 }, snapshot: undefined, entries: [], applied: 0 };
}
