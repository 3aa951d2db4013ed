import { describe, expect, test } from "bun:test";
import { createRng } from "../rng.ts";
import { TickClock } from "./tick-clock.ts";

describe("tick clock", () => {
  test("a tick promised for an instant is over at that instant, whatever the fractions", () => {
    const rng = createRng(2);
    for (let i = 0; i < 100_000; i++) {
      const clock = new TickClock(100, rng.next() * 20_000);
      const ticks = 1 + rng.int(20);
      expect(clock.pending(clock.after(ticks))).toBeGreaterThanOrEqual(ticks);
    }
  });
});
