/**
 * Where a reader of one log has come to. A log is read again from a time on, and several lines bear one time: of
 * those of the last one, as many are left out as have been passed.
 */
import type { LogLine } from "../ports/container-runtime.ts";

export class LogPosition {
  #lastMs: number | undefined;
  /** How many lines of that time have been passed. */
  #count = 0;
  /** How many of them are still to come again. */
  #toSkip = 0;

  passed({ atMs }: LogLine): void {
    this.#count = atMs === this.#lastMs ? this.#count + 1 : 1;
    this.#lastMs = atMs;
  }

  /** What to ask for, so that nothing is missing behind the position; `begin` while nothing has been passed. */
  resume<Range extends { readonly tail?: number; readonly sinceMs?: number }>(
    begin: Range,
  ): Omit<Range, "tail"> & { readonly tail?: number; readonly sinceMs?: number } {
    if (this.#lastMs === undefined) return begin;
    this.#toSkip = this.#count;
    const { tail: _tail, ...rest } = begin;
    return { ...rest, sinceMs: this.#lastMs };
  }

  /** Whether the line came before, as one of those that had been passed when the reading was taken up. */
  isKnown({ atMs }: LogLine): boolean {
    if (this.#toSkip === 0 || atMs !== this.#lastMs) {
      this.#toSkip = 0;
      return false;
    }
    this.#toSkip -= 1;
    return true;
  }
}
