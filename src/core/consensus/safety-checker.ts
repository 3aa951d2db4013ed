import { assert } from "../../model/assert.ts";
import type { PersistEffect } from "./effect.ts";
import type { Entry, MemberId } from "./entry.ts";
import { decodeAscii } from "./replay-format.ts";
import type { RaftStatus } from "./raw-node.ts";

/**
 * The safety properties of Raft (paper, figure 3), checked over all members of one group. Test code.
 */
export class SafetyChecker {
  readonly #leaders = new Map<number, MemberId>();
  readonly #terms = new Map<MemberId, number>();
  readonly #applied = new Map<number, string>();
  readonly #appliedTerms = new Map<number, number>();
  readonly #entries = new Map<string, string>();
  #committedIndex = 1;

  get committedCount(): number {
    return this.#applied.size;
  }

  get committedIndex(): number {
    return this.#committedIndex;
  }

  get termCount(): number {
    return this.#leaders.size;
  }

  /** Election safety: at most one leader per term. */
  observe(status: RaftStatus): void {
    this.#committedIndex = Math.max(this.#committedIndex, status.commit);
    if (status.role !== "leader") return;
    const leader = this.#leaders.get(status.term) ?? status.id;
    assert(leader === status.id, `C1: ${leader} and ${status.id} both lead term ${status.term}`);
    if (!this.#leaders.has(status.term)) this.#checkCompleteness(status);
    this.#leaders.set(status.term, status.id);
  }

  /** Log matching: an index and a term name one entry, with one predecessor. */
  observeStored(member: MemberId, stored: PersistEffect): void {
    const term = this.#terms.get(member) ?? 0;
    assert(stored.hardState.term >= term, `C6: the term of ${member} falls`);
    this.#terms.set(member, stored.hardState.term);
    stored.entries.forEach((entry, i) => {
      const before = stored.entries[i - 1]?.term;
      this.#checkSame(`${entry.index}/${entry.term}`, fingerprint(entry));
      if (before !== undefined) this.#checkSame(`before ${entry.index}/${entry.term}`, String(before));
    });
  }

  /** State machine safety: every member applies the same entry at an index. */
  observeApplied(entry: Entry): void {
    const print = fingerprint(entry);
    const known = this.#applied.get(entry.index) ?? print;
    assert(known === print, `C5: index ${entry.index} is applied as ${known} and as ${print}`);
    this.#applied.set(entry.index, known);
    this.#appliedTerms.set(entry.index, entry.term);
  }

  /** A read's index covers everything that was committed when it was asked for. */
  checkRead(committedBefore: number, index: number): void {
    assert(index >= committedBefore, `C8: a read at ${index} misses commits up to ${committedBefore}`);
  }

  /**
   * Leader completeness, as far as applied entries show it: a new leader's log reaches past all those of
   * lower terms. A leader of a lower term may be elected late, by votes that were under way.
   */
  #checkCompleteness(status: RaftStatus): void {
    const earlier = [...this.#appliedTerms].filter(([, term]) => term < status.term);
    const last = Math.max(1, ...earlier.map(([index]) => index));
    assert(
      status.lastIndex > last,
      `C4: the leader of term ${status.term} ends at ${status.lastIndex}, before ${last}`,
    );
  }

  #checkSame(key: string, value: string): void {
    const known = this.#entries.get(key) ?? value;
    assert(known === value, `C3: ${key} is ${known} and ${value}`);
    this.#entries.set(key, value);
  }
}

function fingerprint(entry: Entry): string {
  const content = entry.kind === "normal" ? decodeAscii(entry.data) : JSON.stringify(entry.change.changes);
  return `${entry.term} ${entry.kind} ${content}`;
}
