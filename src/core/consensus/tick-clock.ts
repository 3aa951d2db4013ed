import type { Instant } from "../machine.ts";

/** Turns time into whole ticks; what is left of a tick counts towards the next one. */
export class TickClock {
  readonly #tickMs: number;
  #last: Instant;

  constructor(tickMs: number, now: Instant) {
    this.#tickMs = tickMs;
    this.#last = now;
  }

  /** Whole ticks not yet taken. A clock that steps back has none. */
  pending(now: Instant): number {
    const ticks = Math.max(0, Math.floor((now - this.#last) / this.#tickMs));
    // The quotient may fall a hair short of a whole number; what `after` promised for now must be over now.
    return this.after(ticks + 1) <= now ? ticks + 1 : ticks;
  }

  take(ticks: number): void {
    this.#last += ticks * this.#tickMs;
  }

  /** When `ticks` ticks from the last one taken are over. */
  after(ticks: number): Instant {
    return this.#last + ticks * this.#tickMs;
  }
}
