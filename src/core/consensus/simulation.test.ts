import { expect, test } from "bun:test";
import { createRng } from "../rng.ts";
import { SimulatedGroup } from "./simulated-group.ts";

const seeds = Number(process.env["MUSTER_SEEDS"] ?? 300);
const firstSeed = Number(process.env["MUSTER_SEED"] ?? 1);

function runSeed(seed: number): SimulatedGroup {
  try {
    const group = new SimulatedGroup(createRng(seed));
    group.runFaulty(1500);
    group.heal();
    return group;
  } catch (cause) {
    const what = cause instanceof Error ? cause.stack : String(cause);
    throw new Error(`seed ${seed} (MUSTER_SEED=${seed} MUSTER_SEEDS=1 repeats it): ${what}`, { cause });
  }
}

test(
  "groups stay safe under faults and recover from them",
  () => {
    const totals = { committed: 0, terms: 0, crashes: 0, snapshots: 0, confChanges: 0 };
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
      const { counts } = runSeed(seed);
      totals.committed += counts.committed;
      totals.terms += counts.terms;
      totals.crashes += counts.crashes;
      totals.snapshots += counts.snapshots;
      totals.confChanges += counts.confChanges;
    }
    console.log(`${seeds} seeds: ${JSON.stringify(totals)}`);
    if (seeds < 100) return;
    for (const count of Object.values(totals)) expect(count).toBeGreaterThan(seeds / 2);
  },
  seeds * 300,
);

test("a seed gives the same run twice", () => {
  expect(runSeed(7).trace).toBe(runSeed(7).trace);
});
