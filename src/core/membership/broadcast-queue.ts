/**
 * News waiting to be gossiped. Each piece is sent a bounded number of times, the least sent first, and a
 * newer piece about a member replaces the older one, so the queue never holds more than one per member.
 */
import type { NodeId } from "../../model/ids.ts";
import type { Update } from "./protocol.ts";

/** Past this many, the most often sent piece is dropped: it has spread, and push/pull repairs the rest. */
const QUEUE_MAX = 1024;

interface Entry {
  readonly id: NodeId;
  readonly update: Update;
  readonly bytes: number;
  /** Later news has the greater number; with equal counts it goes first. */
  readonly order: number;
  transmits: number;
}

/** The member a piece of news is about. */
export function subjectOf(update: Update): NodeId {
  return update.kind === "alive" ? update.record.id : update.id;
}

/** Estimated size on the wire: JSON is never shorter than the binary form in use. */
export function updateBytes(update: Update): number {
  return JSON.stringify(update).length;
}

export class BroadcastQueue {
  readonly #entries = new Map<NodeId, Entry>();
  #order = 0;

  get size(): number {
    return this.#entries.size;
  }

  push(update: Update): void {
    const id = subjectOf(update);
    this.#entries.delete(id);
    if (this.#entries.size >= QUEUE_MAX) {
      const last = this.#sorted().at(-1);
      if (last !== undefined) this.#entries.delete(last.id);
    }
    this.#order += 1;
    this.#entries.set(id, { id, update, bytes: updateBytes(update), order: this.#order, transmits: 0 });
  }

  /** Withdraws news about a member that is no longer worth spreading. */
  drop(id: NodeId): void {
    this.#entries.delete(id);
  }

  /**
   * As much news as fits into `bytes`, counted as sent once; what has been sent `limit` times leaves the queue.
   * `except` is a member whose news the caller has already included.
   */
  take(bytes: number, limit: number, except?: NodeId): Update[] {
    const taken: Update[] = [];
    if (this.#entries.size === 0) return taken;
    let left = bytes;
    for (const entry of this.#sorted()) {
      if (entry.bytes > left || entry.id === except) continue;
      left -= entry.bytes;
      taken.push(entry.update);
      entry.transmits += 1;
      if (entry.transmits >= limit) this.#entries.delete(entry.id);
    }
    return taken;
  }

  #sorted(): Entry[] {
    return [...this.#entries.values()].sort((a, b) => a.transmits - b.transmits || b.order - a.order);
  }
}
