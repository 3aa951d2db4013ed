/** Whole messages over an open stream of bytes: four bytes of length, then MessagePack. */
import type { Duplex } from "../ports/transport.ts";
import { decode, encode } from "../wire/codec.ts";

const headerBytes = 4;
/** Log lines and chunks of terminal output are small; anything larger is a fault. */
const messageBytesMax = 1024 * 1024;

export class MessageStream {
  readonly #stream: Duplex;

  constructor(stream: Duplex) {
    this.#stream = stream;
  }

  async send(message: unknown): Promise<void> {
    const body = encode(message);
    const frame = new Uint8Array(headerBytes + body.byteLength);
    new DataView(frame.buffer).setUint32(0, body.byteLength);
    frame.set(body, headerBytes);
    await this.#stream.write(frame);
  }

  async finish(): Promise<void> {
    await this.#stream.finish();
  }

  abort(): void {
    this.#stream.abort();
  }

  /** Messages until the other end finishes. Throws when the stream breaks or holds what is no message. */
  async *messages(): AsyncGenerator<unknown> {
    let pending = new Uint8Array(0);
    for await (const chunk of this.#stream.incoming) {
      const joined = new Uint8Array(pending.byteLength + chunk.byteLength);
      joined.set(pending);
      joined.set(chunk, pending.byteLength);
      pending = joined;
      for (;;) {
        if (pending.byteLength < headerBytes) break;
        const length = new DataView(pending.buffer, pending.byteOffset).getUint32(0);
        if (length > messageBytesMax)
          throw new Error(`a message of ${length} bytes exceeds ${messageBytesMax}`);
        if (pending.byteLength < headerBytes + length) break;
        yield decode(pending.subarray(headerBytes, headerBytes + length));
        pending = pending.slice(headerBytes + length);
      }
    }
  }
}

/** A bounded queue between one writer that may have to wait and one reader. */
export class Channel<T> {
  readonly #items: T[] = [];
  readonly #limit: number;
  #isEnded = false;
  #failure: unknown;
  #wakeReader: () => void = () => {};
  #wakeWriters: (() => void)[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Resolves once there is room; false when the channel has ended. */
  async push(item: T): Promise<boolean> {
    while (this.#items.length >= this.#limit && !this.#isEnded) {
      await new Promise<void>((resolve) => this.#wakeWriters.push(resolve));
    }
    if (this.#isEnded) return false;
    this.#items.push(item);
    this.#wakeReader();
    return true;
  }

  end(failure?: unknown): void {
    this.#isEnded = true;
    this.#failure ??= failure;
    this.#wakeReader();
    this.#releaseWriters();
  }

  async *read(): AsyncGenerator<T> {
    for (;;) {
      const item = this.#items.shift();
      if (item !== undefined) {
        this.#releaseWriters();
        yield item;
      } else if (this.#isEnded) {
        if (this.#failure !== undefined) throw this.#failure;
        return;
      } else {
        await new Promise<void>((resolve) => (this.#wakeReader = resolve));
      }
    }
  }

  #releaseWriters(): void {
    const writers = this.#wakeWriters;
    this.#wakeWriters = [];
    for (const wake of writers) wake();
  }
}
