import { expect, test } from "bun:test";
import { storm } from "./workloads/storm.ts";

/** Replicas of several containers, with init containers, probes and hooks, in a fleet that has every fault. */
const seeds = Array.from({ length: 8 }, (_, i) => 700 + i);

test.each(seeds)(
  "seed %d: replicas of several containers",
  async (seed) => {
    const profile = { name: "containers", deployments: ["duo", "web"], replicasMax: 4 };
    expect((await storm({ seed, profile })).problems).toEqual([]);
  },
  120_000,
);
