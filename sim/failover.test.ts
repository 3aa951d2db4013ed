import { expect, test } from "bun:test";
import { failover, figures, type Failover } from "./workloads/failover.ts";

const seeds = 200;

for (const victim of ["any", "steward"] as const) {
  test(`the power of ${victim === "any" ? "a random" : "the steward's"} node of three goes, ${seeds} times: whole again in time`, async () => {
    const rounds: Failover[] = [];
    for (let seed = 1; seed <= seeds; seed++) rounds.push(await failover(seed, victim));
    const { medianMs, worstMs } = figures(rounds);
    console.log(`${victim}: ${Math.round(medianMs)} ms at the median, ${Math.round(worstMs)} ms at worst`);
    expect(rounds.filter(({ wholeAfterMs }) => wholeAfterMs === undefined)).toEqual([]);
    expect(medianMs).toBeLessThan(2_000);
    expect(worstMs).toBeLessThan(4_000);
  }, 120_000);
}
