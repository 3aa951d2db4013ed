/** The fleet as membership last told it. */
import { shortId, type NodeId } from "../../model/ids.ts";
import type { Candidate, NamedNode } from "./messages.ts";

export interface Fleet {
  readonly alive: ReadonlyMap<NodeId, Candidate>;
  readonly suspect: ReadonlyMap<NodeId, NamedNode>;
  readonly dead: ReadonlyMap<NodeId, NamedNode>;
}

export function fleetOf(members: {
  readonly alive: readonly Candidate[];
  readonly suspect: readonly NamedNode[];
  readonly dead: readonly NamedNode[];
}): Fleet {
  return {
    alive: byId(members.alive),
    suspect: byId(members.suspect),
    dead: byId(members.dead),
  };
}

function byId<T extends NamedNode>(nodes: readonly T[]): Map<NodeId, T> {
  return new Map(nodes.map((node) => [node.id, node] as const));
}

/** Neither alive, nor suspect, nor dead: membership has never heard of it, or has forgotten it. */
export function isUnknown(fleet: Fleet, node: NodeId): boolean {
  return !fleet.alive.has(node) && !fleet.suspect.has(node) && !fleet.dead.has(node);
}

/** The node's name, or the start of its id when no name is known. */
export function nodeName(fleet: Fleet, node: NodeId): string {
  const named = fleet.alive.get(node) ?? fleet.suspect.get(node) ?? fleet.dead.get(node);
  return named?.name ?? shortId(node);
}

/** Whether some node came up, or has more free than before: what was unplaceable may have a place. */
export function hintsImproved(before: Fleet | undefined, after: Fleet): "node" | "free" | undefined {
  let freed = false;
  for (const [id, now] of after.alive) {
    const then = before?.alive.get(id);
    if (then === undefined) return "node";
    if (now.free.cpuMillis > then.free.cpuMillis || now.free.memoryBytes > then.free.memoryBytes)
      freed = true;
  }
  return freed ? "free" : undefined;
}
