import { expect, test } from "bun:test";
import { createRng } from "../../core/rng.ts";
import type { Clock } from "../../ports/clock.ts";
import {
  TransportError,
  type PeerAddress,
  type Transport,
  type TransportHandlers,
} from "../../ports/transport.ts";
import { MemoryNetwork, perfectLink, type LinkConditions } from "./memory-network.ts";

/** Virtual time that fires equal instants in reverse, the least helpful order. */
class BackwardClock implements Clock {
  #now = 0;
  #timers: { when: number; callback: () => void }[] = [];
  now(): number {
    return this.#now;
  }
  wallMs(): number {
    return this.#now;
  }
  at(when: number, callback: () => void): () => void {
    const timer = { when, callback };
    this.#timers.unshift(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }
  async runUntil(end: number): Promise<void> {
    for (;;) {
      for (let turn = 0; turn < 20; turn++) await Promise.resolve();
      const [next] = this.#timers.toSorted((a, b) => a.when - b.when);
      if (next === undefined || next.when > end) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#now = Math.max(this.#now, next.when);
      next.callback();
    }
    this.#now = end;
  }
}

const ids = { a: "a".repeat(32), b: "b".repeat(32) };
const addressOf = (id: string): PeerAddress => ({ id, addresses: [`${id.slice(0, 4)}:7`] });

async function world(link: Partial<LinkConditions>, seed = 1) {
  const clock = new BackwardClock();
  const network = new MemoryNetwork({ clock, rng: createRng(seed) }, { link: { ...perfectLink, ...link } });
  const trace: string[] = [];
  const handlers = (name: string): TransportHandlers => ({
    datagram: (from, payload) =>
      trace.push(`${clock.now().toFixed(2)} ${name} datagram ${from} ${payload[0]}`),
    post: (from, channel, payload) =>
      trace.push(`${clock.now().toFixed(2)} ${name} ${channel} ${from[0]} ${payload[0]}`),
    call: async (_, __, payload) => payload,
    open: () => undefined,
  });
  const start = async (id: string): Promise<Transport> => {
    const transport = network.transport(addressOf(id));
    await transport.start(handlers(id.slice(0, 1)));
    return transport;
  };
  return { clock, network, trace, start, a: await start(ids.a), b: await start(ids.b) };
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "ok",
    (error: unknown) => (error instanceof TransportError ? error.info.code : String(error)),
  );

test("equal seeds give equal runs, other seeds others", async () => {
  const run = async (seed: number): Promise<string> => {
    const { clock, trace, a } = await world(
      { latencyMs: 1, jitterMs: 5, loss: 0.2, duplication: 0.1, reordering: 0.2, reorderingMs: 20 },
      seed,
    );
    for (let i = 0; i < 100; i++) {
      a.datagram(`${ids.b.slice(0, 4)}:7`, new Uint8Array([i]));
      a.post(addressOf(ids.b), "raft", new Uint8Array([i]));
    }
    await clock.runUntil(1_000);
    return trace.join("\n");
  };
  const first = await run(7);
  expect(await run(7)).toBe(first);
  expect(await run(8)).not.toBe(first);
  const posts = first.split("\n").filter((line) => line.includes("raft"));
  const numbers = posts.map((line) => Number(line.split(" ").at(-1)));
  expect(numbers).toEqual(numbers.toSorted((x, y) => x - y));
  expect(numbers.length).toBeGreaterThan(60);
  expect(numbers.length).toBeLessThan(95);
  const datagrams = first.split("\n").filter((line) => line.includes("datagram"));
  const order = datagrams.map((line) => Number(line.split(" ").at(-1)));
  expect(order).not.toEqual(order.toSorted((x, y) => x - y));
  expect(new Set(order).size).toBeLessThan(order.length);
});

test("power off is silence, a crashed agent is a refusal, coming back is both healed", async () => {
  const { clock, network, start, a } = await world({ latencyMs: 2 });
  const to = addressOf(ids.b);
  const payload = new Uint8Array([1]);
  const outcomes = async (): Promise<string[]> => {
    const began = clock.now();
    const call = codeOf(a.call(to, "m", payload, { timeoutMs: 100 })).then(
      (code) => `${code} ${clock.now() - began}`,
    );
    const probe = a.probe(to, { timeoutMs: 50 });
    await clock.runUntil(began + 500);
    return [await call, await probe];
  };
  expect(await outcomes()).toEqual(["ok 4", "answered"]);
  network.powerOff(ids.b);
  expect(await outcomes()).toEqual(["timeout 100", "timeout"]);
  await start(ids.b);
  expect(await outcomes()).toEqual(["ok 4", "answered"]);
  network.crashAgent(ids.b);
  expect(await outcomes()).toEqual(["refused 4", "refused"]);
  await start(ids.b);
  network.cutOneWay(ids.b, ids.a);
  expect(await outcomes()).toEqual(["timeout 100", "timeout"]);
  network.healAll();
  expect(await outcomes()).toEqual(["ok 4", "answered"]);
});

test("what is in flight when the link is cut is lost; a call in flight to a crashing agent breaks", async () => {
  const { clock, network, trace, a } = await world({ latencyMs: 10 });
  a.post(addressOf(ids.b), "raft", new Uint8Array([1]));
  network.cut(ids.a, ids.b);
  await clock.runUntil(100);
  expect(trace).toEqual([]);
  network.heal(ids.a, ids.b);
  const call = codeOf(a.call(addressOf(ids.b), "m", new Uint8Array(), { timeoutMs: 1_000 }));
  await clock.runUntil(105);
  network.crashAgent(ids.b);
  await clock.runUntil(200);
  expect(await call).toBe("unreachable");
});

test("a stream breaks when its other end loses power", async () => {
  const { clock, network, a } = await world({ latencyMs: 1 });
  const opening = a.open(addressOf(ids.b), "logs", new Uint8Array(), { timeoutMs: 100 });
  await clock.runUntil(10);
  const stream = await opening;
  const reading = codeOf(stream.incoming[Symbol.asyncIterator]().next());
  network.powerOff(ids.b);
  await clock.runUntil(5_000);
  expect(await reading).toBe("unreachable");
  expect(await codeOf(stream.write(new Uint8Array(1)))).toBe("unreachable");
});
