import { expect, test } from "bun:test";
import { SimulatedNode } from "./simulated-node.ts";

const faultyMs = 30_000;
/** Long enough for the longest backoff and for the observation after it. */
const peacefulMs = 150_000;
const quietMs = 20_000;

function simulate(seed: number): SimulatedNode {
  const node = new SimulatedNode(seed);
  try {
    node.run(faultyMs, peacefulMs);
    node.checkAtRest();
    const before = node.effects;
    node.idle(quietMs);
    if (node.effects !== before) throw new Error("a node at rest does something");
  } catch (error) {
    const tail = node
      .trace()
      .filter((line) => !line.includes(" probe "))
      .slice(-80)
      .join("\n");
    throw new Error(`seed ${seed} (SEED=${seed} reproduces it): ${String(error)}\n${tail}`, { cause: error });
  }
  return node;
}

const only = process.env["SEED"];
const seeds =
  only === undefined
    ? Array.from({ length: Number(process.env["KEEPER_SIMS"] ?? 500) }, (_, i) => i + 1)
    : [Number(only)];

test(`K1 to K11 hold over ${seeds.length} seeds`, () => {
  let restarts = 0;
  let released = 0;
  for (const seed of seeds) {
    const node = simulate(seed);
    for (const view of node.agent?.entries() ?? []) restarts += view.report.restarts;
    for (const award of node.awards.values()) if (award.isReleased) released++;
  }
  if (only !== undefined) return;
  // The faults did happen.
  expect(restarts).toBeGreaterThan(0);
  expect(released).toBeGreaterThan(0);
}, 1_200_000);

test("the same seed gives the same trace", () => {
  expect(simulate(7).trace()).toEqual(simulate(7).trace());
});
