import type { PromiseId } from "../../model/ids.ts";
import type { Tombstone } from "./messages.ts";
import type { KeeperOptions } from "./options.ts";

/** Ids of promises that were released, oldest first: an award of one of them is a late duplicate. */
export class Tombstones {
  readonly #options: KeeperOptions;
  readonly #atMs = new Map<PromiseId, number>();

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  has(promise: PromiseId): boolean {
    return this.#atMs.has(promise);
  }

  /** Takes over what was stored, in any order. */
  load(records: readonly Tombstone[]): void {
    const oldestFirst = records.toSorted((a, b) => a.atMs - b.atMs || (a.promise < b.promise ? -1 : 1));
    for (const { promise, atMs } of oldestFirst) this.#atMs.set(promise, atMs);
  }

  /** The record to persist. */
  add(promise: PromiseId, wallMs: number): Tombstone {
    this.#atMs.delete(promise);
    this.#atMs.set(promise, wallMs);
    return { kind: "tombstone", promise, atMs: wallMs };
  }

  /** Forgets those past their age or number; the answer is to be removed from the book. */
  prune(wallMs: number): readonly PromiseId[] {
    const removed: PromiseId[] = [];
    for (const [promise, atMs] of this.#atMs) {
      const isOld = atMs + this.#options.forgetAfterMs <= wallMs;
      if (!isOld && this.#atMs.size <= this.#options.tombstonesMax) break;
      this.#atMs.delete(promise);
      removed.push(promise);
    }
    return removed;
  }
}
