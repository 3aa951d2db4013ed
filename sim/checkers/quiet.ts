/**
 * A fleet in which nothing happens says little. Membership pings once per 200 ms and is pinged as often; a steward
 * sends a heartbeat per 200 ms to each other voter, which answers; everything else is rare.
 */
import type { SimulatedNode, World } from "../world/world.ts";

interface Reading {
  readonly datagrams: number;
  readonly posts: number;
  readonly calls: number;
}

const datagramsPerSecondMax = 16;
const heartbeatsPerSecond = 5;
const otherPostsPerSecondMax = 6;
const callsPerSecondMax = 2;

export class QuietChecker {
  readonly #world: World;
  readonly #from: number;
  readonly #before: ReadonlyMap<SimulatedNode, Reading & { readonly partners: number }>;

  /** Begins to measure. */
  constructor(world: World) {
    this.#world = world;
    this.#from = world.clock.now();
    this.#before = new Map(world.live.map((node) => [node, { ...node.traffic, partners: partnersOf(node) }]));
  }

  /** Who has said too much since then. */
  violations(): readonly string[] {
    const seconds = (this.#world.clock.now() - this.#from) / 1_000;
    const found: string[] = [];
    for (const [node, before] of this.#before) {
      const partners = Math.max(before.partners, partnersOf(node));
      const limits: Reading = {
        datagrams: datagramsPerSecondMax,
        posts: partners * heartbeatsPerSecond + otherPostsPerSecondMax,
        calls: callsPerSecondMax,
      };
      for (const kind of ["datagrams", "posts", "calls"] as const) {
        const rate = (node.traffic[kind] - before[kind]) / seconds;
        if (rate > limits[kind])
          found.push(
            `Q1: ${node.name} sends ${rate.toFixed(1)} ${kind}/s at rest, ${limits[kind]} are enough`,
          );
      }
    }
    return found;
  }
}

/** How many it exchanges heartbeats with; a cohort that is deleted does so until its members have forgotten it. */
function partnersOf(node: SimulatedNode): number {
  let partners = 0;
  for (const group of node.agent?.cohorts() ?? []) {
    const { voters, learners } = group.status();
    if (group.state !== undefined) partners += group.isSteward ? voters.length + learners.length - 1 : 1;
  }
  return partners;
}
