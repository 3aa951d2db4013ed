/** One cohort's history as a stream: what is kept, then what comes, each line once. */
import type { HistoryEvent } from "../model/event.ts";
import type { Group } from "./group.ts";

export interface HistoryQuery {
  readonly follow: boolean;
  readonly sinceIndex: number;
  readonly signal: AbortSignal;
}

export async function* followHistory(
  group: Group,
  { follow, sinceIndex, signal }: HistoryQuery,
): AsyncGenerator<HistoryEvent> {
  // Listening begins before the kept lines are read, so that nothing falls in between.
  const coming = follow ? group.events.follow(signal) : undefined;
  const first = coming?.next();
  let last = 0;
  for (const event of group.history(sinceIndex)) {
    last = event.index;
    yield event;
  }
  if (coming === undefined || first === undefined) return;
  for (let next = await first; next.done !== true; next = await coming.next()) {
    if (next.value.index > last || next.value.index >= sinceIndex) yield next.value;
  }
}
