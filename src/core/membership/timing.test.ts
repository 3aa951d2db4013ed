import { expect, test } from "bun:test";
import { Awareness } from "./awareness.ts";
import { pushPullIntervalMs, remainingSuspicionMs, retransmitLimit, suspicionTimeoutMs } from "./timing.ts";

test.each([
  [5, 1.0],
  [10, 1.0],
  [50, 1.698],
  [100, 2.0],
  [500, 2.698],
  [1000, 3.0],
])("the shortest suspicion of %d members is %d intervals", (n, intervals) => {
  expect(Math.floor(suspicionTimeoutMs(3, n, 1000) / 3)).toBe(intervals * 1000);
});

test.each([
  [0, 0],
  [1, 3],
  [99, 6],
])("in a fleet of %d a piece of news is sent %d times", (n, limit) => {
  expect(retransmitLimit(3, n)).toBe(limit);
});

test.each([
  [0, 1],
  [32, 1],
  [33, 2],
  [64, 2],
  [65, 3],
  [128, 3],
])("the full state of %d members is exchanged every %d intervals", (n, scale) => {
  expect(pushPullIntervalMs(1000, n)).toBe(scale * 1000);
});

test.each([
  [0, 0, 30_000],
  [1, 2_000, 14_000],
  [2, 3_000, 4_810],
  [3, 4_000, -2_000],
  [4, 5_000, -3_000],
  [5, 10_000, -8_000],
])(
  "after %d confirmations and %d ms a suspicion of 2 s to 30 s has %d ms left",
  (confirmations, elapsedMs, leftMs) => {
    const span = { minMs: 2_000, maxMs: 30_000, confirmationsWanted: 3 };
    expect(Math.abs(remainingSuspicionMs(span, confirmations, elapsedMs) - leftMs)).toBeLessThan(10);
  },
);

test("without anyone to confirm a suspicion lasts its shortest", () => {
  expect(remainingSuspicionMs({ minMs: 500, maxMs: 3_000, confirmationsWanted: 0 }, 0, 0)).toBe(500);
});

test("the health score stays in 0..7 and stretches timeouts by score + 1", () => {
  const awareness = new Awareness(8);
  const scores = [0, -1, -10, 1, 100, -1].map((delta) => {
    awareness.adjust(delta);
    return [awareness.score, awareness.scaled(1000)];
  });
  expect(scores).toEqual([
    [0, 1000],
    [0, 1000],
    [0, 1000],
    [1, 2000],
    [7, 8000],
    [6, 7000],
  ]);
});
