/** One cohort's history as a stream: what is kept, then what comes, each line once. */
import * as v from "valibot";
import type { Charter } from "../model/charter.ts";
import type { HistoryEvent } from "../model/event.ts";
import { ok, refused, type Outcome } from "../model/outcome.ts";
import type { Problem } from "../model/problem.ts";
import type { Logger } from "../ports/logger.ts";
import { eventsMethod } from "../wire/calls.ts";
import { historyEventSchema } from "../wire/cohort.ts";
import type { Group } from "./group.ts";
import type { Groups } from "./groups.ts";
import { MessageStream } from "./message-stream.ts";
import type { Peers } from "./peers.ts";

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

export interface HistoryPorts {
  readonly groups: Groups;
  readonly peers: Peers;
  readonly logger: Logger;
}

const openTimeoutMs = 1_000;

/** From this node's own member when it has one, else from the first voter that answers. */
export async function openHistory(
  { groups, peers, logger }: HistoryPorts,
  charter: Charter,
  query: HistoryQuery,
): Promise<Outcome<AsyncIterable<HistoryEvent>, Problem>> {
  const here = groups.get(charter.group);
  if (here?.state !== undefined) return ok(followHistory(here, query));
  const header = { group: charter.group, follow: query.follow, sinceIndex: query.sinceIndex };
  for (const voter of charter.voters) {
    try {
      const duplex = await peers.open(voter, eventsMethod, header, openTimeoutMs);
      query.signal.addEventListener("abort", () => duplex.abort(), { once: true });
      return ok(parsedEvents(new MessageStream(duplex)));
    } catch (error) {
      logger.debug("no events from a voter", { voter, error: String(error) });
    }
  }
  return refused({
    code: "unreachable",
    message: `no voter of ${charter.namespace}/${charter.name} can be reached`,
    next: "muster nodes shows who is up",
  });
}

async function* parsedEvents(stream: MessageStream): AsyncGenerator<HistoryEvent> {
  for await (const message of stream.messages()) yield v.parse(historyEventSchema, message);
}
