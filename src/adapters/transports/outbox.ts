/**
 * What waits to be written on one connection, in two lanes: the urgent one (posts, small calls and answers, control)
 * always goes first, the bulk one (stream chunks and whatever is larger than a fragment) fills the gaps.
 * Each lane keeps its order.
 */
import { fragmentBytes, frameHeaderBytes, frameTypes, writeHeader, type FrameType } from "./frames.ts";

interface Outgoing {
  readonly type: FrameType;
  readonly id: number;
  readonly parts: readonly Uint8Array[];
  readonly bytes: number;
  /** Body bytes already taken. */
  taken: number;
}

export type Lane = "urgent" | "bulk";

export class Outbox {
  readonly #urgent = new Queue();
  readonly #bulk = new Queue();
  #queuedBytes = 0;

  /** Body bytes not taken yet, a header's worth added per message. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  push(lane: Lane, type: FrameType, id: number, ...parts: readonly Uint8Array[]): void {
    const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
    (lane === "urgent" ? this.#urgent : this.#bulk).push({ type, id, parts, bytes, taken: 0 });
    this.#queuedBytes += bytes + frameHeaderBytes;
  }

  /** The next bytes to write, about `bytesMax` at most and one whole frame at least; undefined when nothing waits. */
  take(bytesMax: number): Uint8Array | undefined {
    if (this.#queuedBytes === 0) return undefined;
    const overhead = (Math.ceil(this.#queuedBytes / fragmentBytes) + 1) * frameHeaderBytes;
    const batch = new Uint8Array(
      Math.min(bytesMax + fragmentBytes + frameHeaderBytes, this.#queuedBytes + overhead),
    );
    const view = new DataView(batch.buffer);
    let at = 0;
    while (at < bytesMax) {
      const queue = this.#urgent.head === undefined ? this.#bulk : this.#urgent;
      const message = queue.head;
      if (message === undefined) break;
      const left = message.bytes - message.taken;
      const size = Math.min(left, fragmentBytes);
      if (at + frameHeaderBytes + size > batch.byteLength) break;
      const isLast = size === left;
      writeHeader(view, at, isLast ? message.type : frameTypes.more, message.id, size);
      copyBody(message, batch, at + frameHeaderBytes, size);
      at += frameHeaderBytes + size;
      message.taken += size;
      this.#queuedBytes -= size;
      if (isLast) {
        queue.shift();
        this.#queuedBytes -= frameHeaderBytes;
      }
    }
    return batch.subarray(0, at);
  }
}

function copyBody(message: Outgoing, into: Uint8Array, at: number, size: number): void {
  let skip = message.taken;
  let left = size;
  let to = at;
  for (const part of message.parts) {
    if (left === 0) return;
    if (skip >= part.byteLength) {
      skip -= part.byteLength;
      continue;
    }
    const piece = part.subarray(skip, Math.min(part.byteLength, skip + left));
    into.set(piece, to);
    to += piece.byteLength;
    left -= piece.byteLength;
    skip = 0;
  }
}

/** First in, first out, without moving the rest on every shift. */
class Queue {
  #items: Outgoing[] = [];
  #at = 0;

  get head(): Outgoing | undefined {
    return this.#items[this.#at];
  }

  push(item: Outgoing): void {
    this.#items.push(item);
  }

  shift(): void {
    this.#at += 1;
    if (this.#at === this.#items.length) this.#items = [];
    else if (this.#at > 1_024) this.#items = this.#items.slice(this.#at);
    else return;
    this.#at = 0;
  }
}
