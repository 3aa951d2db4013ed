import type { Clock } from "../../ports/clock.ts";

/** The machine's clocks and timers. Timers keep the process alive until they fire or are cancelled. */
export class SystemClock implements Clock {
  now(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  at(when: number, callback: () => void): () => void {
    const timer = setTimeout(() => this.#fire(when, callback, cancelled), delayTo(when));
    const cancelled = { timer, isCancelled: false };
    return () => {
      cancelled.isCancelled = true;
      clearTimeout(cancelled.timer);
    };
  }

  /** A timer may fire up to a millisecond early, and sleeps at most `delayMaxMs`: the port says never before `when`. */
  #fire(
    when: number,
    callback: () => void,
    state: { timer: ReturnType<typeof setTimeout>; isCancelled: boolean },
  ): void {
    if (state.isCancelled) return;
    if (performance.now() >= when) {
      callback();
      return;
    }
    state.timer = setTimeout(() => this.#fire(when, callback, state), delayTo(when));
  }
}

/** What setTimeout takes at most; longer delays fire at once. */
const delayMaxMs = 2_147_483_647;

function delayTo(when: number): number {
  const delay = Math.ceil(when - performance.now());
  return Math.min(Math.max(delay, 0), delayMaxMs);
}
