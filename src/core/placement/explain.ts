/** Why nothing could be placed, counted by reason. */
import type { PlacementRequest, Refusal } from "../../model/placement.ts";
import { formatCpu, formatMemory } from "./amounts.ts";

export interface Explanation {
  /** Which reasons and how many nodes each, without the numbers that change all the time. */
  readonly key: string;
  /** One line a reason, the most frequent first; holders and numbers named. */
  readonly lines: readonly string[];
}

/** Distinct details named for one reason before the rest is only counted. */
const detailsMax = 3;

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
    lines: ordered.map(
      ([, group]) =>
        `${group.length === 1 ? "1 node" : `${group.length} nodes`}: ${detailOf(group, request)}`,
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
