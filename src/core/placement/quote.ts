/**
 * A node's own word: what it would take (a quote reserves nothing), and what it takes (the award is
 * the one atomic step). Both follow the same rules, so a quote that is still true is never refused.
 */
import type { NodeId } from "../../model/ids.ts";
import type { CallAnswer, PlacementRequest, Refusal } from "../../model/placement.ts";
import type { PromiseTerms } from "../../model/promise.ts";
import type { PortSpec, Resources } from "../../model/spec.ts";
import { formatCpu, formatMemory } from "./amounts.ts";
import { freeOf, portsInUse, promisesMax, type BookSummary } from "./book.ts";
import { needsOf } from "../../model/template.ts";

interface Need {
  readonly resources: Resources;
  readonly ports: readonly PortSpec[];
}

/** The answer to a call. `hasImages` is the node's knowledge, not the book's. */
export function quote(book: BookSummary, request: PlacementRequest, hasImages: boolean): CallAnswer {
  const free = freeOf(book);
  const refusal = refusalOf(book, free, request);
  if (refusal !== undefined) return { kind: "refusal", refusal };
  const held = book.lines.filter((line) => line.deployment === request.deployment).length;
  return {
    kind: "offer",
    offer: {
      node: book.node,
      slots: Math.min(request.count, slotsFor(book, free, request)),
      held,
      promises: book.lines.length,
      free,
      capacity: book.capacity,
      hasImages,
    },
  };
}

/** Whether the book takes these terms; undefined when it does, or has them already. */
export function admit(book: BookSummary, terms: PromiseTerms): Refusal | undefined {
  if (book.lines.some((line) => line.promise === terms.id)) return undefined;
  const refuse = (reason: Refusal["reason"], detail: string): Refusal => ({
    node: book.node,
    reason,
    detail,
  });
  if (book.released.has(terms.id))
    return refuse("stale-epoch", `promise ${terms.id} was released here already`);
  for (const line of book.lines)
    if (line.deployment === terms.deployment && line.epoch > terms.epoch)
      return refuse(
        "stale-epoch",
        `the cohort of ${line.holder} is at epoch ${line.epoch}, not ${terms.epoch}`,
      );
  return refusalOf(book, freeOf(book), needsOf(terms.template));
}

function slotsFor(book: BookSummary, free: Resources, need: Need): number {
  const { cpuMillis, memoryBytes } = need.resources;
  let slots = promisesMax - book.lines.length;
  if (cpuMillis > 0) slots = Math.min(slots, Math.floor(free.cpuMillis / cpuMillis));
  if (memoryBytes > 0) slots = Math.min(slots, Math.floor(free.memoryBytes / memoryBytes));
  if (need.ports.some((port) => port.published !== undefined)) slots = Math.min(slots, 1);
  return slots;
}

function refusalOf(book: BookSummary, free: Resources, need: Need): Refusal | undefined {
  const { node } = book;
  if (book.isStopping) return { node, reason: "stopping", detail: "the node is leaving" };
  const port = portRefusal(book, need.ports);
  if (port !== undefined) return port;
  const short = resourceRefusal(node, free, need.resources);
  if (short !== undefined) return short;
  if (book.lines.length >= promisesMax)
    return {
      node,
      reason: "busy",
      detail: `has ${book.lines.length} promises, the most it makes`,
    };
  return undefined;
}

/** Why `free` is not enough for `needs`; undefined when it is. A need of 0 always fits. */
export function resourceRefusal(node: NodeId, free: Resources, needs: Resources): Refusal | undefined {
  if (needs.memoryBytes > 0 && free.memoryBytes < needs.memoryBytes)
    return {
      node,
      reason: "memory",
      free,
      detail: `not enough memory (needs ${formatMemory(needs.memoryBytes)}, ${formatMemory(free.memoryBytes)} free)`,
    };
  if (needs.cpuMillis > 0 && free.cpuMillis < needs.cpuMillis)
    return {
      node,
      reason: "cpu",
      free,
      detail: `not enough CPU (needs ${formatCpu(needs.cpuMillis)}, ${formatCpu(free.cpuMillis)} free)`,
    };
  return undefined;
}

function portRefusal(book: BookSummary, ports: readonly PortSpec[]): Refusal | undefined {
  const inUse = portsInUse(book);
  for (const { published, protocol } of ports) {
    const taken = inUse.find((used) => used.port === published && used.protocol === protocol);
    if (taken !== undefined)
      return {
        node: book.node,
        reason: "port-taken",
        detail: `port ${taken.port}/${protocol} is taken by ${taken.holder}`,
      };
  }
  return undefined;
}
