import { assert, defined } from "../../model/assert.ts";
import { emptyConfState, type Entry, entryBytes, type HardState, type Snapshot } from "./entry.ts";

/** What a member finds on disk when it starts. */
export interface StoredState {
  readonly hardState: HardState;
  /** Undefined for a member that has yet to hear from its group. */
  readonly snapshot: Snapshot | undefined;
  /** Without gaps, up to the last; may begin before the snapshot's end, never after it by more than one. */
  readonly entries: readonly Entry[];
  /** The last index the state machine holds; at least the snapshot's. */
  readonly applied: number;
}

interface Position {
  readonly index: number;
  readonly term: number;
}

/**
 * The log in memory: everything after the last compaction, whether durable or not.
 *
 * L1: compacted <= applied <= committed <= lastIndex. L2: entry indexes have no gaps. L3: terms never
 * fall. L4: an entry at or below `committed` is never replaced.
 */
export class EntryLog {
  #compacted: Position = { index: 0, term: 0 };
  #entries: Entry[] = [];
  #snapshot: Snapshot = { index: 0, term: 0, conf: emptyConfState, data: new Uint8Array(0) };
  #received: Snapshot | undefined;
  #persistFrom: number;
  #committed: number;
  #applied: number;

  constructor(stored: StoredState) {
    if (stored.snapshot !== undefined) this.#snapshot = stored.snapshot;
    this.#compacted = { index: this.#snapshot.index, term: this.#snapshot.term };
    const first = stored.entries[0];
    if (first !== undefined && first.index <= this.#snapshot.index) {
      this.#compacted = { index: first.index, term: first.term };
    }
    this.#entries = stored.entries.filter((entry) => entry.index > this.#compacted.index);
    this.#entries.forEach((entry, i) =>
      assert(entry.index === this.#compacted.index + 1 + i, "L2: stored entries have no gaps"),
    );
    assert(this.lastIndex >= this.#snapshot.index, "stored entries reach the snapshot");
    this.#persistFrom = this.lastIndex + 1;
    this.#applied = Math.max(stored.applied, this.#snapshot.index);
    this.#committed = Math.max(stored.hardState.commit, this.#applied);
    assert(this.#committed <= this.lastIndex, "L1: what was committed is stored");
  }

  get firstIndex(): number {
    return this.#compacted.index + 1;
  }

  get lastIndex(): number {
    return this.#compacted.index + this.#entries.length;
  }

  get lastTerm(): number {
    return defined(this.term(this.lastIndex), "a term for the last index");
  }

  get committed(): number {
    return this.#committed;
  }

  get applied(): number {
    return this.#applied;
  }

  /** The newest snapshot of the state machine, with which followers that are too far behind start over. */
  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  get hasReceivedSnapshot(): boolean {
    return this.#received !== undefined;
  }

  get hasUnpersisted(): boolean {
    return this.#persistFrom <= this.lastIndex;
  }

  get hasUnapplied(): boolean {
    return this.#applied < this.#committed && this.#received === undefined;
  }

  /** The term at `index`; undefined where the log does not reach, below or above. */
  term(index: number): number | undefined {
    if (index === this.#compacted.index) return this.#compacted.term;
    return this.#entries[index - this.firstIndex]?.term;
  }

  matches(index: number, term: number): boolean {
    return this.term(index) === term;
  }

  /** A candidate's log is at least as complete as this one (Raft paper 5.4.1). */
  isUpToDate(lastIndex: number, lastTerm: number): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex);
  }

  /** Entries in [from, to]. */
  slice(from: number, to: number): Entry[] {
    assert(from >= this.firstIndex, "entries are read after the compaction");
    return this.#entries.slice(from - this.firstIndex, Math.max(to + 1, from) - this.firstIndex);
  }

  /** Entries from `from` on, as many as fit `bytesMax` but at least one if there is one. */
  batch(from: number, bytesMax: number): Entry[] {
    assert(from >= this.firstIndex, "entries are read after the compaction");
    const result: Entry[] = [];
    let bytes = 0;
    for (let i = from - this.firstIndex; i < this.#entries.length; i++) {
      const entry = defined(this.#entries[i], "an entry inside the log");
      bytes += entryBytes(entry);
      if (result.length > 0 && bytes > bytesMax) break;
      result.push(entry);
    }
    return result;
  }

  /** A leader's append: the entries follow the last one. */
  append(entries: readonly Entry[]): void {
    for (const entry of entries) {
      assert(entry.index === this.lastIndex + 1, "L2: entries have no gaps");
      assert(entry.term >= this.lastTerm, "L3: terms never fall");
      this.#entries.push(entry);
    }
  }

  /**
   * A follower's append (Raft paper 5.3). Undefined when `prev` does not match; else the index up to which
   * this log now equals the leader's. Entries that are already here stay, so that a late message
   * never shortens the log.
   */
  appendAfter(
    prevIndex: number,
    prevTerm: number,
    entries: readonly Entry[],
    commit: number,
  ): number | undefined {
    if (!this.matches(prevIndex, prevTerm)) return undefined;
    const fresh = entries.findIndex((entry) => !this.matches(entry.index, entry.term));
    if (fresh !== -1) {
      const from = prevIndex + 1 + fresh;
      assert(from > this.#committed, "L4: committed entries are never replaced");
      this.#entries.length = from - this.firstIndex;
      this.#persistFrom = Math.min(this.#persistFrom, from);
      this.append(entries.slice(fresh));
    }
    const matched = prevIndex + entries.length;
    this.commitTo(Math.min(commit, matched));
    return matched;
  }

  /**
   * The greatest index at or below `index` where this log's term is not above `term`: the logs cannot
   * agree anywhere above it. The term is 0 where this log no longer reaches.
   */
  findConflict(index: number, term: number): Position {
    for (let at = index; at > 0; at--) {
      const own = this.term(at);
      if (own === undefined) return { index: at, term: 0 };
      if (own <= term) return { index: at, term: own };
    }
    return { index: 0, term: 0 };
  }

  commitTo(index: number): void {
    if (index <= this.#committed) return;
    assert(index <= this.lastIndex, "L1: only entries at hand are committed");
    this.#committed = index;
  }

  /** Commits what a quorum holds, if it is of the leader's own term (Raft paper 5.4.2). */
  maybeCommit(index: number, term: number): boolean {
    if (index <= this.#committed || !this.matches(index, term)) return false;
    this.commitTo(index);
    return true;
  }

  /** Committed entries that nobody has applied. */
  unapplied(): Entry[] {
    return this.hasUnapplied ? this.slice(this.#applied + 1, this.#committed) : [];
  }

  appliedTo(index: number): void {
    assert(index >= this.#applied, "what was applied stays applied");
    assert(index <= this.#committed, "L1: only committed entries are applied");
    this.#applied = index;
  }

  /** Entries the driver has not been asked to store yet; asking counts as done. */
  takeUnpersisted(): Entry[] {
    const entries = this.slice(Math.max(this.#persistFrom, this.firstIndex), this.lastIndex);
    this.#persistFrom = this.lastIndex + 1;
    return entries;
  }

  /** Starts over from a leader's snapshot. */
  restore(snapshot: Snapshot): void {
    assert(snapshot.index > this.#committed, "L4: a snapshot never takes back what was committed");
    this.#compacted = { index: snapshot.index, term: snapshot.term };
    this.#entries = [];
    this.#snapshot = snapshot;
    this.#received = snapshot;
    this.#committed = snapshot.index;
    this.#persistFrom = snapshot.index + 1;
  }

  /** The snapshot that `restore` brought, once; from then on it counts as applied. */
  takeReceivedSnapshot(): Snapshot | undefined {
    const snapshot = this.#received;
    this.#received = undefined;
    if (snapshot !== undefined) this.#applied = Math.max(this.#applied, snapshot.index);
    return snapshot;
  }

  /** Keeps the state machine's own snapshot for followers; it must not be older than the one at hand. */
  keepSnapshot(snapshot: Snapshot): void {
    assert(snapshot.index <= this.#applied, "a snapshot holds applied entries only");
    assert(snapshot.index >= this.#snapshot.index, "snapshots get newer");
    this.#snapshot = snapshot;
  }

  /** Forgets entries up to and including `index`. */
  compact(index: number): void {
    if (index <= this.#compacted.index) return;
    assert(index <= this.#applied, "L1: only applied entries are compacted");
    const term = defined(this.term(index), "a term at the compaction point");
    this.#entries = this.#entries.slice(index - this.#compacted.index);
    this.#compacted = { index, term };
  }
}
