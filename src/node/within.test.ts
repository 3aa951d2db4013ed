import { expect, test } from "bun:test";
import type { Clock } from "../ports/clock.ts";
import { within } from "./within.ts";

class HandClock implements Clock {
  readonly waiting = new Set<() => void>();
  now = () => 0;
  wallMs = () => 0;
  at(_when: number, callback: () => void): () => void {
    this.waiting.add(callback);
    return () => void this.waiting.delete(callback);
  }
}

test("an outcome in time is passed on, and no timer is left", async () => {
  const clock = new HandClock();
  const late = () => new Error("late");
  expect(await within(clock, 10, Promise.resolve(7), late)).toBe(7);
  expect(within(clock, 10, Promise.reject(new Error("refused")), late)).rejects.toThrow("refused");
  await Promise.resolve();
  expect(clock.waiting.size).toBe(0);
});

test("without one the caller hears so when the time is over", async () => {
  const clock = new HandClock();
  const answer = within(clock, 10, new Promise(() => undefined), () => new Error("late"));
  for (const fire of clock.waiting) fire();
  expect(answer).rejects.toThrow("late");
});
