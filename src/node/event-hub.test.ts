import { expect, test } from "bun:test";
import type { HistoryEvent } from "../model/event.ts";
import { EventHub } from "./event-hub.ts";

const event = (index: number): HistoryEvent => ({
  deployment: "default/web",
  index,
  epoch: 1,
  atMs: 0,
  kind: "scaled",
  actor: "user",
  cause: `line ${index}`,
});

async function indexes(lines: AsyncIterable<HistoryEvent>): Promise<number[]> {
  const seen: number[] = [];
  for await (const { index } of lines) seen.push(index);
  return seen;
}

test("a follower gets every line from its start on, in order, until it goes", async () => {
  const hub = new EventHub();
  const abort = new AbortController();
  hub.publish(event(1));
  const lines = hub.follow(abort.signal);
  const first = lines.next();
  for (const index of [2, 3, 4]) hub.publish(event(index));
  expect((await first).value?.index).toBe(2);
  expect((await lines.next()).value?.index).toBe(3);
  abort.abort();
  expect((await lines.next()).done).toBe(true);
});

test("the end comes after what is waiting, also to one that follows later", async () => {
  const hub = new EventHub();
  const { signal } = new AbortController();
  const lines = hub.follow(signal);
  const first = lines.next();
  hub.publish(event(1));
  hub.publish(event(2));
  hub.end();
  expect((await first).value?.index).toBe(1);
  expect(await indexes(lines)).toEqual([2]);
  expect(await indexes(hub.follow(signal))).toEqual([]);
});

test("a reader that lags too far behind is cut off", async () => {
  const hub = new EventHub();
  const lines = hub.follow(new AbortController().signal);
  const first = lines.next();
  for (let index = 1; index <= 5_000; index++) hub.publish(event(index));
  expect((await first).done).toBe(true);
});
