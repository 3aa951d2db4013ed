/** How long a healthy fleet of three takes to be whole again after one node's power goes, in virtual time. */
import { createRng } from "../../src/core/rng.ts";
import { logDefaults } from "../../src/node/group.ts";
import { lanLink, World } from "../world/world.ts";
import { templateOf } from "./profile.ts";

export interface Failover {
  readonly seed: number;
  /** Undefined when it never was whole: before, or within the limit afterwards. */
  readonly wholeAfterMs: number | undefined;
}

const replicas = 3;
const limitMs = 30_000;

/** Powers off the steward's node, or any. */
export async function failover(seed: number, victim: "any" | "steward"): Promise<Failover> {
  const rng = createRng(seed);
  const world = new World({ seed, nodes: 3, link: lanLink, runtimeFailures: 0, log: logDefaults });
  try {
    await world.boot();
    const spec = { namespace: "default", name: "web", replicas, template: templateOf("web", 0) };
    const declared = world.node(1 + rng.int(3)).agent?.declare(spec, { requestId: "r1", createOnly: true });
    if (declared === undefined || (await world.settle(declared, 5_000))?.ok !== true)
      return { seed, wholeAfterMs: undefined };
    if (!(await world.until(() => running(world) === replicas, limitMs, 5)))
      return { seed, wholeAfterMs: undefined };
    // Somewhere within the periods of probes and heartbeats.
    await world.run(2_000 + rng.int(1_000));
    const steward = world.live.find(({ agent }) => agent?.cohorts().some(({ isSteward }) => isSteward));
    const node = victim === "steward" ? steward : world.live[rng.int(3)];
    if (node === undefined) return { seed, wholeAfterMs: undefined };
    world.powerOff(node);
    const from = world.clock.now();
    const isWhole = await world.until(() => running(world) === replicas, limitMs, 5);
    return { seed, wholeAfterMs: isWhole ? world.clock.now() - from : undefined };
  } finally {
    await world.close();
  }
}

function running(world: World): number {
  return new Set(world.running().map(({ replica }) => replica)).size;
}

/** The middle one and the worst; Infinity when some never was whole. */
export function figures(rounds: readonly Failover[]): {
  readonly medianMs: number;
  readonly worstMs: number;
} {
  const times = rounds.map(({ wholeAfterMs }) => wholeAfterMs ?? Infinity).sort((a, b) => a - b);
  return { medianMs: times[Math.floor(times.length / 2)] ?? Infinity, worstMs: times.at(-1) ?? Infinity };
}
