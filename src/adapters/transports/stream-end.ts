/**
 * One end of an open stream, over any ordered link: credit-based flow control, half-close and abort.
 *
 * The reader grants bytes, the writer spends them. A chunk may be sent while any credit is left and may
 * overdraw it, so chunks keep their boundaries however large they are, and the reader holds at most one
 * window and one chunk.
 */
import { TransportError, frameBytesMax, type Duplex } from "../../ports/transport.ts";

export type StreamSignal =
  | { readonly kind: "data"; readonly chunk: Uint8Array }
  | { readonly kind: "credit"; readonly bytes: number }
  | { readonly kind: "finish" }
  | { readonly kind: "abort" };

export interface StreamEndPorts {
  /** Hands a signal to the link, in order. */
  send(signal: StreamSignal): void;
  /** Called once, when neither end will send anything more. */
  ended(): void;
}

/** Bytes a writer may be ahead of its reader. */
export const streamWindowBytes = 1024 * 1024;

/** A chunk, or the finish when undefined, that waits for its turn. */
interface Waiter {
  readonly chunk: Uint8Array | undefined;
  resolve(): void;
  reject(error: TransportError): void;
}

type Reader = {
  resolve(result: IteratorResult<Uint8Array>): void;
  reject(error: TransportError): void;
};

/** An empty chunk costs one byte too, so that the window bounds their number. */
function costOf(chunk: Uint8Array): number {
  return Math.max(1, chunk.byteLength);
}

export class StreamEnd implements Duplex {
  readonly #ports: StreamEndPorts;
  #credit = streamWindowBytes;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #consumedBytes = 0;
  #writers: Waiter[] = [];
  #reader: Reader | undefined;
  #failure: TransportError | undefined;
  #finishing = false;
  #finishSent = false;
  #finishReceived = false;
  #isOver = false;

  /** Iterating may stop and go on later; whoever wants no more chunks aborts. One reader at a time. */
  readonly incoming: AsyncIterable<Uint8Array> = {
    [Symbol.asyncIterator]: () => ({ next: () => this.#next() }),
  };

  constructor(ports: StreamEndPorts) {
    this.#ports = ports;
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (chunk.byteLength > frameBytesMax)
      throw new TransportError("the chunk is too large", {
        code: "too-large",
        bytes: chunk.byteLength,
        bytesMax: frameBytesMax,
      });
    if (this.#finishing) throw new TransportError("the stream is finished", { code: "closed" });
    await this.#enqueue(chunk);
  }

  async finish(): Promise<void> {
    if (this.#finishing || this.#failure !== undefined) return;
    this.#finishing = true;
    await this.#enqueue(undefined);
  }

  abort(): void {
    if (this.#isOver) return;
    this.#ports.send({ kind: "abort" });
    this.#queue = [];
    this.#queuedBytes = 0;
    this.fail(new TransportError("the stream was aborted", { code: "closed" }));
  }

  /** Takes what the other end sent. */
  receive(signal: StreamSignal): void {
    if (this.#isOver) return;
    switch (signal.kind) {
      case "data":
        this.#receiveChunk(signal.chunk);
        return;
      case "credit":
        this.#credit += signal.bytes;
        this.#pump();
        return;
      case "finish":
        this.#finishReceived = true;
        this.#reader?.resolve({ done: true, value: undefined });
        this.#reader = undefined;
        this.#endWhenBothFinished();
        return;
      case "abort":
        this.fail(new TransportError("the other end aborted the stream", { code: "closed" }));
    }
  }

  /** Breaks the stream: writers and readers get `error`, chunks already here are read first. */
  fail(error: TransportError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#failure = error;
    for (const writer of this.#writers.splice(0)) writer.reject(error);
    this.#reader?.reject(error);
    this.#reader = undefined;
    this.#ports.ended();
  }

  #receiveChunk(chunk: Uint8Array): void {
    const reader = this.#reader;
    if (reader !== undefined) {
      this.#reader = undefined;
      this.#grant(chunk);
      reader.resolve({ done: false, value: chunk });
      return;
    }
    if (this.#finishReceived || this.#queuedBytes > streamWindowBytes) {
      this.abort();
      return;
    }
    this.#queue.push(chunk);
    this.#queuedBytes += costOf(chunk);
  }

  #next(): Promise<IteratorResult<Uint8Array>> {
    const chunk = this.#queue.shift();
    if (chunk !== undefined) {
      this.#queuedBytes -= costOf(chunk);
      this.#grant(chunk);
      return Promise.resolve({ done: false, value: chunk });
    }
    if (this.#finishReceived) return Promise.resolve({ done: true, value: undefined });
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
    });
  }

  /** Credit goes back in quarters of the window, not chunk by chunk. */
  #grant(chunk: Uint8Array): void {
    this.#consumedBytes += costOf(chunk);
    if (this.#isOver || this.#finishReceived || this.#consumedBytes < streamWindowBytes / 4) return;
    this.#ports.send({ kind: "credit", bytes: this.#consumedBytes });
    this.#consumedBytes = 0;
  }

  #enqueue(chunk: Uint8Array | undefined): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise<void>((resolve, reject) => {
      this.#writers.push({ chunk, resolve, reject });
      this.#pump();
    });
  }

  #pump(): void {
    for (;;) {
      const next = this.#writers[0];
      if (next === undefined || this.#isOver) return;
      if (next.chunk !== undefined && this.#credit <= 0) return;
      this.#writers.shift();
      if (next.chunk === undefined) {
        this.#finishSent = true;
        this.#ports.send({ kind: "finish" });
        this.#endWhenBothFinished();
      } else {
        this.#credit -= costOf(next.chunk);
        this.#ports.send({ kind: "data", chunk: next.chunk });
      }
      next.resolve();
    }
  }

  #endWhenBothFinished(): void {
    if (!this.#finishSent || !this.#finishReceived || this.#isOver) return;
    this.#isOver = true;
    this.#ports.ended();
  }
}
