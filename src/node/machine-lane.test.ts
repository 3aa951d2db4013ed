import { expect, test } from "bun:test";
import type { Instant, Machine } from "../core/machine.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import type { Store } from "../ports/store.ts";
import { MachineLane } from "./machine-lane.ts";
import { Turn } from "./turn.ts";

const logger: Logger = {
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
  child: () => logger,
};
const store: Store = {
  commit: async () => {},
  get: async () => undefined,
  scan: async () => [],
  readLog: async () => [],
  close: async () => {},
};

class FakeClock implements Clock {
  time = 0;
  readonly timers = new Map<() => void, Instant>();

  now(): Instant {
    return this.time;
  }

  wallMs(): number {
    return this.time;
  }

  at(when: Instant, callback: () => void): () => void {
    this.timers.set(callback, when);
    return () => void this.timers.delete(callback);
  }

  advance(to: Instant): void {
    this.time = to;
    for (const [callback, when] of this.timers) {
      if (when > to) continue;
      this.timers.delete(callback);
      callback();
    }
  }
}

/** Repeats its inputs as effects; its deadline is the last number it was fed. */
class Echo implements Machine<number | "timeout", string> {
  readonly seen: string[] = [];
  #deadline: Instant | undefined;

  step(input: number | "timeout", now: Instant): readonly string[] {
    if (input === 13) throw new Error("unlucky");
    this.seen.push(`${input}@${now}`);
    this.#deadline = input === "timeout" ? undefined : input;
    return [`${input}`];
  }

  deadline(): Instant | undefined {
    return this.#deadline;
  }
}

function rig(onFailure?: (error: unknown) => void): {
  clock: FakeClock;
  turn: Turn;
  echo: Echo;
  lane: MachineLane<number | "timeout", string>;
} {
  const clock = new FakeClock();
  const turn = new Turn({ store, clock, logger });
  const echo = new Echo();
  const lane = new MachineLane<number | "timeout", string>(
    { turn, clock },
    {
      machine: echo,
      timeout: "timeout",
      work: () => ({ kind: "do", run: () => {} }),
      ...(onFailure === undefined ? {} : { onFailure }),
    },
  );
  return { clock, turn, echo, lane };
}

test("the timer follows the machine's deadline, and fires once", async () => {
  const { clock, turn, echo, lane } = rig();
  lane.feed(100);
  await turn.idle();
  lane.feed(50);
  await turn.idle();
  expect([...clock.timers.values()]).toEqual([50]);
  clock.advance(60);
  await turn.idle();
  clock.advance(200);
  await turn.idle();
  expect(echo.seen).toEqual(["100@0", "50@0", "timeout@60"]);
});

test("feedWith looks at the moment of the step, after everything that was fed before", async () => {
  const { turn, echo, lane } = rig();
  lane.feed(1);
  lane.feedWith(() => echo.seen.length);
  lane.feedWith(() => undefined);
  await turn.idle();
  expect(echo.seen).toEqual(["1@0", "1@0"]);
});

test("a closed lane steps nothing, not even what was waiting, and has no timer", async () => {
  const { clock, turn, echo, lane } = rig();
  lane.feed(100);
  await turn.idle();
  lane.feed(1);
  lane.close();
  lane.feed(2);
  await turn.idle();
  clock.advance(1_000);
  await turn.idle();
  expect(echo.seen).toEqual(["100@0"]);
  expect(clock.timers.size).toBe(0);
});

test("a throw inside the machine ends the lane and is told", async () => {
  const failures: unknown[] = [];
  const { turn, echo, lane } = rig((error) => failures.push(error));
  lane.feed(1);
  lane.feed(13);
  lane.feed(2);
  await turn.idle();
  expect(failures.map(String)).toEqual(["Error: unlucky"]);
  expect(echo.seen).toEqual(["1@0"]);
});
