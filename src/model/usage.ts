/** What machines and containers use: counters that only grow, and what is so now. Rates are made of two readings. */
import type { NodeId } from "./ids.ts";

export interface MachineUsage {
  /** Processor time of all cores that was not idle, since the machine's start. */
  readonly cpuMicros: number;
  readonly cpuCount: number;
  /** What is not available for new work. */
  readonly memoryBytes: number;
  readonly memoryTotalBytes: number;
}

export interface ContainerUsageView {
  readonly namespace: string;
  readonly name: string;
  readonly replica: number;
  readonly container: string;
  /** Of one run: counters of another one begin anew. */
  readonly id: string;
  readonly cpuMicros: number;
  /** Without file contents that the kernel would drop at once for want of memory. */
  readonly memoryBytes: number;
  /** 0 for none. */
  readonly memoryLimitBytes: number;
  readonly pids: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

export interface NodeUsageView {
  readonly node: NodeId;
  readonly nodeName: string;
  /** The node's own monotonic clock: only the difference of two readings means something. */
  readonly atMs: number;
  readonly machine: MachineUsage;
  readonly containers: readonly ContainerUsageView[];
}

export interface UsageView {
  readonly nodes: readonly NodeUsageView[];
  /** Names of nodes that did not answer. */
  readonly unreachable: readonly string[];
}
