import { expect, test } from "bun:test";
import type { Duplex } from "../ports/transport.ts";
import { Channel, MessageStream } from "./message-stream.ts";

/** What is written comes in again, cut into pieces of `size` bytes. */
class Loop implements Duplex {
  readonly #size: number;
  readonly bytes: number[] = [];
  isFinished = false;

  constructor(size: number) {
    this.#size = size;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.bytes.push(...chunk);
  }

  async finish(): Promise<void> {
    this.isFinished = true;
  }

  abort(): void {}

  get incoming(): AsyncIterable<Uint8Array> {
    return this.#pieces();
  }

  async *#pieces(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < this.bytes.length; at += this.#size)
      yield Uint8Array.from(this.bytes.slice(at, at + this.#size));
  }
}

async function all(stream: MessageStream): Promise<unknown[]> {
  const messages: unknown[] = [];
  for await (const message of stream.messages()) messages.push(message);
  return messages;
}

test.each([1, 3, 7, 1_000])("messages come whole and in order from pieces of %d bytes", async (size) => {
  const stream = new MessageStream(new Loop(size));
  const sent = [{ a: 1 }, "two", { list: [1, 2, 3] }, ""];
  for (const message of sent) await stream.send(message);
  expect(await all(stream)).toEqual(sent);
});

test("a length that nobody sends is refused before it is waited for", async () => {
  const loop = new Loop(64);
  await loop.write(Uint8Array.of(0x7f, 0xff, 0xff, 0xff, 1));
  expect(all(new MessageStream(loop))).rejects.toThrow("exceeds");
});

test("a channel holds its writer back until the reader has taken something", async () => {
  const channel = new Channel<number>(2);
  const pushed: number[] = [];
  const writing = (async () => {
    for (const item of [1, 2, 3, 4]) if (await channel.push(item)) pushed.push(item);
    channel.end();
  })();
  await Promise.resolve();
  const read: number[] = [];
  for await (const item of channel.read()) {
    expect(pushed.length).toBeLessThanOrEqual(read.length + 3);
    read.push(item);
  }
  await writing;
  expect(read).toEqual([1, 2, 3, 4]);
});

test("a channel that ended takes nothing more, and hands on why", async () => {
  const channel = new Channel<number>(1);
  await channel.push(1);
  const waiting = channel.push(2);
  channel.end(new Error("broken"));
  expect(await waiting).toBe(false);
  const lines = channel.read();
  expect((await lines.next()).value).toBe(1);
  expect(lines.next()).rejects.toThrow("broken");
});
