/** From two readings of counters to what happens a second. Pure. */
import type { ContainerUsageView, NodeUsageView, UsageView } from "../../model/usage.ts";

export interface ContainerRate {
  readonly namespace: string;
  readonly name: string;
  readonly replica: number;
  readonly container: string;
  readonly node: string;
  /** Thousandths of a core. */
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  /** 0 for none. */
  readonly memoryLimitBytes: number;
  readonly pids: number;
  /** Since the container's start. */
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

export interface NodeRate {
  readonly node: string;
  readonly cpuMillis: number;
  readonly cpuCount: number;
  readonly memoryBytes: number;
  readonly memoryTotalBytes: number;
  readonly containers: number;
}

export interface Rates {
  readonly nodes: readonly NodeRate[];
  readonly containers: readonly ContainerRate[];
  readonly unreachable: readonly string[];
}

export function ratesBetween(before: UsageView, after: UsageView): Rates {
  const earlier = new Map(before.nodes.map((node) => [node.node, node]));
  const pairs = after.nodes.map((node) => ({ node, first: earlier.get(node.node) }));
  return {
    nodes: pairs.map(({ node, first }) => nodeRate(node, first)),
    containers: pairs.flatMap(({ node, first }) => {
      const known = new Map(first?.containers.map((one) => [one.id, one]));
      return node.containers.map((one) => containerRate(one, known.get(one.id), node, first));
    }),
    unreachable: after.unreachable,
  };
}

function nodeRate(node: NodeUsageView, first: NodeUsageView | undefined): NodeRate {
  const { machine } = node;
  return {
    node: node.nodeName,
    cpuMillis: cpuMillis(machine.cpuMicros, first?.machine.cpuMicros, spanMs(node, first)),
    cpuCount: machine.cpuCount,
    memoryBytes: machine.memoryBytes,
    memoryTotalBytes: machine.memoryTotalBytes,
    containers: node.containers.length,
  };
}

function containerRate(
  one: ContainerUsageView,
  known: ContainerUsageView | undefined,
  node: NodeUsageView,
  first: NodeUsageView | undefined,
): ContainerRate {
  const { id: _id, cpuMicros, ...rest } = one;
  // What began in between counts from its start, which was not long ago.
  const since = known?.cpuMicros ?? (first === undefined ? undefined : 0);
  return { ...rest, node: node.nodeName, cpuMillis: cpuMillis(cpuMicros, since, spanMs(node, first)) };
}

function spanMs(node: NodeUsageView, first: NodeUsageView | undefined): number {
  return first === undefined ? 0 : node.atMs - first.atMs;
}

/** 0 while there is only one reading. */
function cpuMillis(after: number, before: number | undefined, ms: number): number {
  if (before === undefined || ms <= 0) return 0;
  return Math.max(0, Math.round((after - before) / ms));
}

/** A replica's containers together; the busiest comes first. */
export function byReplica(containers: readonly ContainerRate[]): readonly ContainerRate[] {
  const groups = Map.groupBy(containers, (one) => `${one.namespace}/${one.name}/${one.replica}/${one.node}`);
  const sums = [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    return [
      group.slice(1).reduce(
        (sum, one) => ({
          ...sum,
          cpuMillis: sum.cpuMillis + one.cpuMillis,
          memoryBytes: sum.memoryBytes + one.memoryBytes,
          memoryLimitBytes:
            sum.memoryLimitBytes === 0 || one.memoryLimitBytes === 0
              ? 0
              : sum.memoryLimitBytes + one.memoryLimitBytes,
          pids: sum.pids + one.pids,
          readBytes: sum.readBytes + one.readBytes,
          writtenBytes: sum.writtenBytes + one.writtenBytes,
          // They share one network: each of them counts all of it.
          receivedBytes: Math.max(sum.receivedBytes, one.receivedBytes),
          sentBytes: Math.max(sum.sentBytes, one.sentBytes),
        }),
        first,
      ),
    ];
  });
  return sums.toSorted((a, b) => b.cpuMillis - a.cpuMillis || (keyOf(a) < keyOf(b) ? -1 : 1));
}

function keyOf(one: ContainerRate): string {
  return `${one.namespace}/${one.name}/${String(one.replica).padStart(9, "0")}`;
}
