import { describe, expect, test } from "bun:test";
import { regressions } from "./seeds/regressions.ts";
import { storm, type StormResult } from "./workloads/storm.ts";

/** The message of a failed storm says how to see it again. */
function problemsOf({ seed, problems }: StormResult): readonly string[] {
  return problems.length === 0 ? [] : [`bun sim/main.ts --seed ${seed} --trace`, ...problems];
}

describe("seeds that once found something", () => {
  test.each(regressions)(
    "$seed: $broke",
    async ({ seed }) => {
      expect(problemsOf(await storm({ seed }))).toEqual([]);
    },
    60_000,
  );
});

test.each([2, 3, 5, 8])(
  "seed %d gives the same trace twice",
  async (seed) => {
    const first = await storm({ seed });
    const second = await storm({ seed });
    expect(second.traceHash).toBe(first.traceHash);
    expect(second).toEqual(first);
  },
  60_000,
);

test("another seed gives another trace", async () => {
  const [first, second] = [await storm({ seed: 2 }), await storm({ seed: 3 })];
  expect(second.traceHash).not.toBe(first.traceHash);
}, 60_000);
