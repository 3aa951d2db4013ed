/** What every transport does. Runs over each adapter; the harness makes nodes, kills and restarts them. */
import { afterEach, describe, expect, test } from "bun:test";
import {
  TransportError,
  datagramBytesMax,
  frameBytesMax,
  type Duplex,
  type PeerAddress,
  type Transport,
  type TransportHandlers,
} from "../../src/ports/transport.ts";

export interface SuiteNode {
  readonly transport: Transport;
  readonly peer: PeerAddress;
  /** The same node again at the same address; the one before must be closed. */
  restart(handlers: TransportHandlers): Promise<SuiteNode>;
}

export interface TransportHarness {
  /** A started node with an identity of its own; `fleet` names whose member it is. */
  node(handlers: TransportHandlers, fleet?: "foreign"): Promise<SuiteNode>;
  /** An address of a machine that answers, with no agent on it. */
  refusingAddress(): Promise<string>;
  /** An address from which nothing ever comes back. */
  silentAddress(): Promise<string>;
  close(): Promise<void>;
}

export const deaf: TransportHandlers = {
  datagram: () => undefined,
  post: () => undefined,
  call: async () => new Uint8Array(),
  open: (_, __, ___, stream) => stream.abort(),
};

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytesOf = (content: string): Uint8Array => new TextEncoder().encode(content);

/** Resolves when `holds` does; checked after every turn of the event loop. */
export async function until(holds: () => boolean, limitMs = 10_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`not so within ${limitMs} ms: ${holds.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "ok";
  } catch (error) {
    return error instanceof TransportError ? error.info.code : `not a TransportError: ${String(error)}`;
  }
}

/** Echoes streams and calls, collects the rest. */
export function recorder() {
  const datagrams: { from: string; payload: string }[] = [];
  const posts: { from: string; channel: string; payload: Uint8Array }[] = [];
  const handlers: TransportHandlers = {
    datagram: (from, payload) => datagrams.push({ from, payload: text(payload) }),
    post: (from, channel, payload) => posts.push({ from, channel, payload }),
    call: async (from, method, payload) => {
      if (method === "fail") throw new Error("no such thing");
      if (method === "hang") return new Promise<Uint8Array>(() => undefined);
      if (method === "who") return bytesOf(from);
      return payload;
    },
    open: (_, method, header, stream) => void echo(method, header, stream),
  };
  return { handlers, datagrams, posts };
}

async function echo(method: string, header: Uint8Array, stream: Duplex): Promise<void> {
  try {
    if (method === "abort") return stream.abort();
    if (method === "stall") return;
    await stream.write(header);
    for await (const chunk of stream.incoming) await stream.write(chunk);
    await stream.write(bytesOf("end"));
    await stream.finish();
  } catch {
    stream.abort();
  }
}

export function transportSuite(name: string, createHarness: () => Promise<TransportHarness>): void {
  describe(name, () => {
    const harnesses: TransportHarness[] = [];
    afterEach(async () => {
      for (const harness of harnesses.splice(0)) await harness.close();
    });
    const setUp = async () => {
      const harness = await createHarness();
      harnesses.push(harness);
      const record = recorder();
      const a = await harness.node(deaf);
      const b = await harness.node(record.handlers);
      return { harness, a, b, ...record };
    };
    const quick = { timeoutMs: 5_000 };

    test("datagrams arrive, with an address that reaches the sender; oversized ones are refused", async () => {
      const { harness, b, datagrams } = await setUp();
      const answers: string[] = [];
      const c = await harness.node({ ...deaf, datagram: (_, payload) => answers.push(text(payload)) });
      const to = b.peer.addresses[0] ?? "";
      c.transport.datagram(to, bytesOf("hello"));
      c.transport.datagram(to, new Uint8Array(datagramBytesMax));
      await until(() => datagrams.length === 2);
      expect(datagrams[0]?.payload).toBe("hello");
      b.transport.datagram(datagrams[0]?.from ?? "", bytesOf("back"));
      await until(() => answers.length === 1);
      expect(() => c.transport.datagram(to, new Uint8Array(datagramBytesMax + 1))).toThrow(TransportError);
      c.transport.datagram(await harness.silentAddress(), bytesOf("lost"));
      c.transport.datagram(await harness.refusingAddress(), bytesOf("lost"));
      c.transport.datagram(to, bytesOf("after"));
      await until(() => datagrams.length === 3);
    });

    test("posts arrive in order, each once, from the node that sent them, whatever their size", async () => {
      const { a, b, posts } = await setUp();
      for (let i = 0; i < 500; i++)
        a.transport.post(
          b.peer,
          "raft",
          new Uint8Array([i >> 8, i & 255, ...(i % 50 === 0 ? new Uint8Array(100_000) : [])]),
        );
      await until(() => posts.length === 500);
      expect(posts.map(({ payload }) => (payload[0] ?? 0) * 256 + (payload[1] ?? 0))).toEqual(
        Array.from({ length: 500 }, (_, i) => i),
      );
      expect(new Set(posts.map((post) => `${post.from} ${post.channel}`))).toEqual(
        new Set([`${a.peer.id} raft`]),
      );
    });

    test("calls are answered, many at once, and know who calls", async () => {
      const { a, b } = await setUp();
      expect(text(await a.transport.call(b.peer, "who", new Uint8Array(), quick))).toBe(a.peer.id);
      const answers = await Promise.all(
        Array.from({ length: 300 }, (_, i) => a.transport.call(b.peer, "echo", bytesOf(`call ${i}`), quick)),
      );
      expect(answers.map(text)).toEqual(Array.from({ length: 300 }, (_, i) => `call ${i}`));
    });

    test("simultaneous dials both ways work", async () => {
      const { harness } = await setUp();
      const nodes = await Promise.all([harness.node(recorder().handlers), harness.node(recorder().handlers)]);
      const [x, y] = nodes;
      const both = await Promise.all([
        x.transport.call(y.peer, "who", new Uint8Array(), quick),
        y.transport.call(x.peer, "who", new Uint8Array(), quick),
      ]);
      expect(both.map(text)).toEqual([x.peer.id, y.peer.id]);
    });

    test("an 8 MB payload goes there and back; one over the limit is refused", async () => {
      const { a, b } = await setUp();
      const big = new Uint8Array(8 * 1024 * 1024).map((_, i) => i * 31);
      const answer = await a.transport.call(b.peer, "echo", big, { timeoutMs: 20_000 });
      expect(Buffer.compare(answer, big)).toBe(0);
      const over = new Uint8Array(frameBytesMax + 1);
      expect(await codeOf(a.transport.call(b.peer, "echo", over, quick))).toBe("too-large");
      expect(await codeOf(a.transport.open(b.peer, "echo", over, quick))).toBe("too-large");
      expect(() => a.transport.post(b.peer, "raft", over)).toThrow(TransportError);
    });

    test("an error of the other end comes back with its message", async () => {
      const { a, b } = await setUp();
      const failing = a.transport.call(b.peer, "fail", new Uint8Array(), quick);
      expect(await codeOf(failing)).toBe("remote");
      await failing.catch((error: unknown) => expect(String(error)).toContain("no such thing"));
    });

    test("a call without an answer ends at its time, and only that call", async () => {
      const { a, b } = await setUp();
      const began = performance.now();
      const hanging = codeOf(a.transport.call(b.peer, "hang", new Uint8Array(), { timeoutMs: 150 }));
      expect(text(await a.transport.call(b.peer, "echo", bytesOf("x"), quick))).toBe("x");
      expect(await hanging).toBe("timeout");
      expect(performance.now() - began).toBeGreaterThan(145);
      expect(performance.now() - began).toBeLessThan(1_500);
    });

    test("refused at once, silent until the time is up", async () => {
      const { harness, a, b } = await setUp();
      const refusing = { id: b.peer.id, addresses: [await harness.refusingAddress()] };
      const silent = { id: b.peer.id, addresses: [await harness.silentAddress()] };
      const began = performance.now();
      expect(await codeOf(a.transport.call(refusing, "echo", new Uint8Array(), quick))).toBe("refused");
      expect(await codeOf(a.transport.open(refusing, "echo", new Uint8Array(), quick))).toBe("refused");
      expect(performance.now() - began).toBeLessThan(1_500);
      expect(["timeout", "unreachable"]).toContain(
        await codeOf(a.transport.call(silent, "echo", new Uint8Array(), { timeoutMs: 300 })),
      );
      expect(
        await codeOf(
          a.transport.call({ id: b.peer.id, addresses: [] }, "echo", new Uint8Array(), { timeoutMs: 300 }),
        ),
      ).toMatch(/timeout|unreachable/);
    });

    test("dead addresses before a good one only cost time", async () => {
      const { harness, a, b } = await setUp();
      const to = {
        id: b.peer.id,
        addresses: [await harness.refusingAddress(), await harness.silentAddress(), ...b.peer.addresses],
      };
      expect(text(await a.transport.call(to, "echo", bytesOf("x"), quick))).toBe("x");
    });

    test("nobody answers in another's place", async () => {
      const { harness, a, b, posts } = await setUp();
      const c = await harness.node(deaf);
      const wrong = { id: c.peer.id, addresses: b.peer.addresses };
      expect(await codeOf(a.transport.call(wrong, "echo", new Uint8Array(), quick))).toBe("identity");
      expect(await a.transport.probe(wrong, { timeoutMs: 300 })).toBe("timeout");
      a.transport.post(wrong, "raft", bytesOf("for c"));
      a.transport.post(b.peer, "raft", bytesOf("for b"));
      await until(() => posts.length > 0);
      expect(posts.map(({ payload }) => text(payload))).toEqual(["for b"]);
    });

    test("a probe tells an answer, a refusal and silence apart", async () => {
      const { harness, a, b } = await setUp();
      const at = (address: string): PeerAddress => ({ id: b.peer.id, addresses: [address] });
      expect(await a.transport.probe(b.peer, quick)).toBe("answered");
      expect(await a.transport.probe(at(await harness.refusingAddress()), quick)).toBe("refused");
      // A machine whose agent is stopped takes the connection; one without power does not.
      const silence = await a.transport.probe(at(await harness.silentAddress()), { timeoutMs: 200 });
      expect(["accepted", "timeout"]).toContain(silence);
      await b.transport.close();
      expect(await a.transport.probe(b.peer, quick)).toBe("refused");
    });

    test("a stream carries 50 MB both ways, chunk by chunk, and closes half by half", async () => {
      const { a, b } = await setUp();
      const stream = await a.transport.open(b.peer, "echo", bytesOf("header"), quick);
      const chunks = 400;
      const size = 128 * 1024;
      const writing = (async () => {
        for (let i = 0; i < chunks; i++) await stream.write(new Uint8Array(size).fill(i & 255));
        await stream.finish();
      })();
      let count = 0;
      let bytes = 0;
      let last = "";
      for await (const chunk of stream.incoming) {
        if (count === 0) expect(text(chunk)).toBe("header");
        else if (count <= chunks) {
          expect([chunk.byteLength, chunk[0], chunk.at(-1)]).toEqual([
            size,
            (count - 1) & 255,
            (count - 1) & 255,
          ]);
          bytes += chunk.byteLength;
        } else last = text(chunk);
        count += 1;
      }
      await writing;
      expect({ count, bytes, last }).toEqual({ count: chunks + 2, bytes: chunks * size, last: "end" });
    });

    test("a reader that does not read stops the writer, and calls go on meanwhile", async () => {
      const { a, b } = await setUp();
      const stream = await a.transport.open(b.peer, "stall", new Uint8Array(), quick);
      let written = 0;
      const writing = (async () => {
        for (;;) {
          await stream.write(new Uint8Array(64 * 1024));
          written += 64 * 1024;
        }
      })();
      const broken = codeOf(writing);
      await until(() => written >= 512 * 1024);
      expect(text(await a.transport.call(b.peer, "echo", bytesOf("x"), quick))).toBe("x");
      const before = written;
      for (let i = 0; i < 20; i++) await a.transport.call(b.peer, "echo", bytesOf("x"), quick);
      expect(written).toBe(before);
      expect(written).toBeLessThanOrEqual(4 * 1024 * 1024);
      stream.abort();
      stream.abort();
      expect(await broken).toBe("closed");
    });

    test("writes not awaited keep their order, and an abort reaches the other end", async () => {
      const { a, b } = await setUp();
      const stream = await a.transport.open(b.peer, "echo", bytesOf("h"), quick);
      void stream.write(bytesOf("1"));
      void stream.write(bytesOf("2"));
      void stream.write(new Uint8Array());
      void stream.write(bytesOf("3"));
      void stream.finish();
      const got: string[] = [];
      for await (const chunk of stream.incoming) got.push(text(chunk));
      expect(got).toEqual(["h", "1", "2", "", "3", "end"]);
      const aborted = await a.transport.open(b.peer, "abort", new Uint8Array(), quick);
      expect(await codeOf(aborted.incoming[Symbol.asyncIterator]().next())).toBe("closed");
      expect(await codeOf(aborted.write(bytesOf("x")))).toBe("closed");
    });

    test("a peer that restarts at its address is reached again, by calls and by posts", async () => {
      const { a, b, handlers, posts } = await setUp();
      expect(text(await a.transport.call(b.peer, "echo", bytesOf("1"), quick))).toBe("1");
      const stream = await a.transport.open(b.peer, "stall", new Uint8Array(), quick);
      const hanging = codeOf(a.transport.call(b.peer, "hang", new Uint8Array(), quick));
      await b.transport.close();
      expect(await hanging).toBe("unreachable");
      expect(await codeOf(stream.incoming[Symbol.asyncIterator]().next())).toBe("unreachable");
      expect(await codeOf(a.transport.call(b.peer, "echo", bytesOf("2"), quick))).toBe("refused");
      a.transport.post(b.peer, "raft", bytesOf("lost"));
      const again = await b.restart(handlers);
      expect(text(await a.transport.call(again.peer, "echo", bytesOf("3"), quick))).toBe("3");
      a.transport.post(again.peer, "raft", bytesOf("there"));
      await until(() => posts.length > 0);
      expect(posts.map(({ payload }) => text(payload))).toEqual(["there"]);
    });

    test("close ends everything that waits, and is harmless twice", async () => {
      const { a, b } = await setUp();
      const stream = await a.transport.open(b.peer, "stall", new Uint8Array(), quick);
      const waiting = [
        codeOf(a.transport.call(b.peer, "hang", new Uint8Array(), quick)),
        codeOf(stream.incoming[Symbol.asyncIterator]().next()),
      ];
      await a.transport.close();
      await a.transport.close();
      expect(await Promise.all(waiting)).toEqual(["closed", "closed"]);
      expect(await codeOf(a.transport.call(b.peer, "echo", new Uint8Array(), quick))).toBe("closed");
      a.transport.post(b.peer, "raft", bytesOf("x"));
      a.transport.datagram(b.peer.addresses[0] ?? "", bytesOf("x"));
    });
  });
}
