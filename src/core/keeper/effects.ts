import type { PromiseId } from "../../model/ids.ts";
import type { BookRecord, KeeperEffect, KeeperEvent } from "./messages.ts";

/** Collects the effects of one input and puts them in the order that the contract asks for (K1). */
export class Effects {
  readonly #before: KeeperEffect[] = [];
  readonly #records: BookRecord[] = [];
  readonly #removed: PromiseId[] = [];
  readonly #after: KeeperEffect[] = [];

  /** Rests on nothing that this input changed. */
  atOnce(effect: KeeperEffect): void {
    this.#before.push(effect);
  }

  /** Rests on what this input changed in the book. */
  afterPersist(effect: KeeperEffect): void {
    this.#after.push(effect);
  }

  record(record: BookRecord): void {
    this.#records.push(record);
  }

  remove(promises: readonly PromiseId[]): void {
    this.#removed.push(...promises);
  }

  event(event: KeeperEvent): void {
    this.#after.push({ kind: "event", event });
  }

  inOrder(): readonly KeeperEffect[] {
    const isChanged = this.#records.length > 0 || this.#removed.length > 0;
    if (!isChanged) return [...this.#before, ...this.#after];
    const records = this.#records;
    const removed = this.#removed;
    return [...this.#before, { kind: "persist", records, removed }, ...this.#after];
  }
}
