/** A node's promise book as placement needs it: what is reserved, and by whom. */
import type { DeploymentId, DeploymentName, NodeId, PromiseId } from "../../model/ids.ts";
import type { PortSpec, Protocol, Resources } from "../../model/spec.ts";

/** A port of the node itself, and what has it, in words for people. */
export interface TakenPort {
  readonly port: number;
  readonly protocol: Protocol;
  readonly holder: string;
}

/** One promise that is not stopped. */
export interface BookLine {
  readonly promise: PromiseId;
  readonly deployment: DeploymentId;
  readonly holder: DeploymentName;
  readonly epoch: number;
  readonly resources: Resources;
  readonly ports: readonly PortSpec[];
}

export interface BookSummary {
  readonly node: NodeId;
  readonly capacity: Resources;
  readonly lines: readonly BookLine[];
  /** Ports that programs outside the book have on this machine. */
  readonly takenPorts: readonly TakenPort[];
  /** The node leaves: it promises nothing more. */
  readonly isStopping: boolean;
  /** Promises that were released here not long ago: a late copy of their award is refused. */
  readonly released: ReadonlySet<PromiseId>;
}

/** Most promises one node makes, whatever its size. */
export const promisesMax = 500;

/** Capacity minus what the book reserves; never negative. */
export function freeOf(book: BookSummary): Resources {
  let cpuMillis = book.capacity.cpuMillis;
  let memoryBytes = book.capacity.memoryBytes;
  for (const line of book.lines) {
    cpuMillis -= line.resources.cpuMillis;
    memoryBytes -= line.resources.memoryBytes;
  }
  return {
    cpuMillis: Math.max(0, cpuMillis),
    memoryBytes: Math.max(0, memoryBytes),
  };
}

/** Everything that has a port of the node: the book's promises and programs outside it. */
export function portsInUse(book: BookSummary): TakenPort[] {
  const inUse = [...book.takenPorts];
  for (const line of book.lines)
    for (const { published, protocol } of line.ports)
      if (published !== undefined) inUse.push({ port: published, protocol, holder: line.holder });
  return inUse;
}
