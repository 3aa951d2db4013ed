import { expect, test } from "bun:test";
import { BroadcastQueue, subjectOf, updateBytes } from "./broadcast-queue.ts";
import type { Update } from "./protocol.ts";

function left(id: string, incarnation = 0): Update {
  return { kind: "left", id, incarnation };
}

test("the least sent goes first, the newest among equals, and what was sent often enough leaves", () => {
  const queue = new BroadcastQueue();
  for (const id of ["a", "b", "c"]) queue.push(left(id));
  const two = updateBytes(left("a")) * 2;
  expect(queue.take(two, 2).map(subjectOf)).toEqual(["c", "b"]);
  expect(queue.take(two, 2).map(subjectOf)).toEqual(["a", "c"]);
  expect(queue.take(two, 2).map(subjectOf)).toEqual(["b", "a"]);
  expect(queue.size).toBe(0);
});

test("newer news about a member replaces the older", () => {
  const queue = new BroadcastQueue();
  queue.push(left("a", 1));
  queue.take(1000, 5);
  queue.push(left("a", 2));
  expect(queue.take(1000, 1)).toEqual([left("a", 2)]);
  expect(queue.size).toBe(0);
});

test("the queue is bounded and drops what has spread furthest", () => {
  const queue = new BroadcastQueue();
  queue.push(left("first"));
  queue.take(1000, 5);
  for (let i = 0; i < 1024; i++) queue.push(left(`m${i}`));
  expect(queue.size).toBe(1024);
  expect(queue.take(1_000_000, 5).map(subjectOf)).not.toContain("first");
});
