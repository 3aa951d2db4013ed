/** Hands history lines to whoever listens; a slow listener loses its place, not the node its memory. */
import type { HistoryEvent } from "../model/event.ts";

/** Most lines one listener may lag behind before it is cut off. */
const backlogMax = 4_096;

export class EventHub {
  readonly #listeners = new Set<(event: HistoryEvent) => void>();

  publish(event: HistoryEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** Lines from now on, until the signal aborts or the reader lags too far behind. */
  async *follow(signal: AbortSignal): AsyncGenerator<HistoryEvent> {
    const backlog: HistoryEvent[] = [];
    let wake: () => void = () => {};
    const lag = { isTooLong: false };
    const listener = (event: HistoryEvent): void => {
      if (backlog.length >= backlogMax) lag.isTooLong = true;
      else backlog.push(event);
      wake();
    };
    const onAbort = (): void => wake();
    this.#listeners.add(listener);
    signal.addEventListener("abort", onAbort);
    try {
      while (!signal.aborted && !lag.isTooLong) {
        const next = backlog.shift();
        if (next === undefined) await new Promise<void>((resolve) => (wake = resolve));
        else yield next;
      }
    } finally {
      this.#listeners.delete(listener);
      signal.removeEventListener("abort", onAbort);
    }
  }
}
