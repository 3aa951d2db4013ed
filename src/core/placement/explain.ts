/** Why nothing could be placed, counted by reason. */
import type { Offer, PlacementRequest, Refusal } from "../../model/placement.ts";
import { formatCpu, formatMemory } from "./amounts.ts";
import { resourceRefusal } from "./quote.ts";

export interface Explanation {
  /** Which reasons and how many nodes each, without the numbers that change all the time. */
  readonly key: string;
  /** One line a reason, the most frequent first; holders and numbers named. */
  readonly lines: readonly string[];
}

/** Distinct details named for one reason before the rest is only counted. */
const detailsMax = 3;
/** Characters of one line. */
const lineMax = 500;

export function explain(refusals: readonly Refusal[], request: PlacementRequest): Explanation {
  if (refusals.length === 0) return { key: "none", lines: ["no node could be asked"] };
  const groups = new Map<Refusal["reason"], Refusal[]>();
  for (const refusal of refusals) {
    const group = groups.get(refusal.reason);
    if (group === undefined) groups.set(refusal.reason, [refusal]);
    else group.push(refusal);
  }
  const ordered = [...groups].sort(
    ([reasonA, a], [reasonB, b]) => b.length - a.length || (reasonA < reasonB ? -1 : 1),
  );
  return {
    key: ordered.map(([reason, group]) => `${reason}:${group.length}`).join(","),
    lines: ordered.map(([, group]) =>
      `${group.length === 1 ? "1 node" : `${group.length} nodes`}: ${detailOf(group, request)}`.slice(
        0,
        lineMax,
      ),
    ),
  };
}

function detailOf(group: readonly Refusal[], request: PlacementRequest): string {
  const reason = group[0]?.reason;
  const bound = group.length > 1 ? "at most " : "";
  const { cpuMillis, memoryBytes } = request.resources;
  if (reason === "memory")
    return `not enough memory (needs ${formatMemory(memoryBytes)}, ${bound}${formatMemory(most(group, "memoryBytes"))} free)`;
  if (reason === "cpu")
    return `not enough CPU (needs ${formatCpu(cpuMillis)}, ${bound}${formatCpu(most(group, "cpuMillis"))} free)`;
  const details = [...new Set(group.map((refusal) => refusal.detail))].sort();
  const named = details.slice(0, detailsMax).join("; ");
  const more = details.length - detailsMax;
  return more > 0 ? `${named}; and ${more} more` : named;
}

function most(group: readonly Refusal[], of: "cpuMillis" | "memoryBytes"): number {
  return Math.max(0, ...group.map((refusal) => refusal.free?.[of] ?? 0));
}

/** Why a node that offered some slots did not offer more. */
export function exhaustion(offer: Offer, request: PlacementRequest): Refusal {
  const { cpuMillis, memoryBytes } = request.resources;
  const free = {
    cpuMillis: offer.free.cpuMillis - offer.slots * cpuMillis,
    memoryBytes: offer.free.memoryBytes - offer.slots * memoryBytes,
  };
  const short = resourceRefusal(offer.node, free, request.resources);
  if (short !== undefined) return short;
  const port = request.ports.find((spec) => spec.published !== undefined);
  if (port !== undefined)
    return {
      node: offer.node,
      reason: "port-taken",
      detail: `port ${port.published}/${port.protocol} serves one replica a node`,
    };
  return {
    node: offer.node,
    reason: "busy",
    detail: `takes ${offer.slots} more promises at most`,
  };
}
