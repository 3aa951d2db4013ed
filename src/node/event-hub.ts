/** Hands history lines to whoever listens; a slow listener loses its place, not the node its memory. */
import type { HistoryEvent } from "../model/event.ts";

/** Most lines one listener may lag behind before it is cut off. */
const backlogMax = 4_096;

export class EventHub {
  /** Called with undefined at the end. */
  readonly #listeners = new Set<(event: HistoryEvent | undefined) => void>();
  #isEnded = false;

  publish(event: HistoryEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** Nothing more comes: whoever follows gets what is waiting, and the end. */
  end(): void {
    this.#isEnded = true;
    for (const listener of this.#listeners) listener(undefined);
  }

  /** Lines from now on, until the signal aborts, the reader lags too far behind, or nothing more comes. */
  async *follow(signal: AbortSignal): AsyncGenerator<HistoryEvent> {
    const backlog: HistoryEvent[] = [];
    let wake: () => void = () => {};
    const lag = { isTooLong: false };
    const listener = (event: HistoryEvent | undefined): void => {
      if (event !== undefined && backlog.length >= backlogMax) lag.isTooLong = true;
      else if (event !== undefined) backlog.push(event);
      wake();
    };
    const onAbort = (): void => wake();
    this.#listeners.add(listener);
    signal.addEventListener("abort", onAbort);
    try {
      while (!signal.aborted && !lag.isTooLong) {
        const next = backlog.shift();
        if (next === undefined && this.#isEnded) return;
        if (next === undefined) await new Promise<void>((resolve) => (wake = resolve));
        else yield next;
      }
    } finally {
      this.#listeners.delete(listener);
      signal.removeEventListener("abort", onAbort);
    }
  }
}
