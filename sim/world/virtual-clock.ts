/** Time that passes only when the world says so. Events of one instant run in the order they were asked for. */
import type { Instant } from "../../src/core/machine.ts";
import type { Clock } from "../../src/ports/clock.ts";

interface Timer {
  readonly when: Instant;
  readonly order: number;
  callback: (() => void) | undefined;
}

/** 2026-01-01, so that wall-clock readings look like readings. */
const wallOriginMs = 1_767_225_600_000;

export class VirtualClock implements Clock {
  #now: Instant = 0;
  #order = 0;
  /** A binary heap by time, then order. */
  readonly #heap: Timer[] = [];

  now(): Instant {
    return this.#now;
  }

  wallMs(): number {
    return wallOriginMs + Math.round(this.#now);
  }

  at(when: Instant, callback: () => void): () => void {
    const timer: Timer = { when: Math.max(when, this.#now), order: this.#order++, callback };
    this.#push(timer);
    return () => {
      timer.callback = undefined;
    };
  }

  /** The instant of the next event; undefined when there is none. */
  get next(): Instant | undefined {
    while (this.#heap[0] !== undefined && this.#heap[0].callback === undefined) this.#pop();
    return this.#heap[0]?.when;
  }

  /** Moves to the next event and runs it; false when there was none up to `limit`. */
  advance(limit: Instant): boolean {
    const next = this.next;
    if (next === undefined || next > limit) {
      this.#now = Math.max(this.#now, limit);
      return false;
    }
    const timer = this.#pop();
    this.#now = timer?.when ?? this.#now;
    const callback = timer?.callback;
    if (timer !== undefined) timer.callback = undefined;
    callback?.();
    return true;
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let i = heap.push(timer) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !isEarlier(timer, above)) break;
      heap[i] = above;
      heap[parent] = timer;
      i = parent;
    }
  }

  #pop(): Timer | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (top === undefined || last === undefined || heap.length === 0) return top;
    let i = 0;
    heap[0] = last;
    for (;;) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2]) {
        const a = heap[child];
        const b = heap[least];
        if (a !== undefined && b !== undefined && isEarlier(a, b)) least = child;
      }
      const swap = heap[least];
      if (least === i || swap === undefined) return top;
      heap[i] = swap;
      heap[least] = last;
      i = least;
    }
  }
}

function isEarlier(a: Timer, b: Timer): boolean {
  return a.when < b.when || (a.when === b.when && a.order < b.order);
}
