import { describe, expect, test } from "bun:test";
import { defined } from "../../model/assert.ts";
import { createRng, type Rng } from "../rng.ts";
import { DirectoryMachine } from "./machine.ts";
import {
  directoryDefaults,
  type DirectoryEffect,
  type DirectoryInput,
  type DirectoryOptions,
} from "./protocol.ts";
import { mergeRecords, recordHash, refText, type DirectoryRecord, type RecordRef } from "./record.ts";

interface Node {
  readonly id: string;
  machine: DirectoryMachine;
  isUp: boolean;
  life: number;
  /** What is on its disk; survives a restart unless the disk is lost. */
  readonly disk: Map<string, DirectoryRecord>;
  readonly log: DirectoryEffect[];
}

/** Nodes over a lossy network in virtual time, told about each other's comings and goings after a delay. */
class World {
  readonly rng: Rng;
  readonly nodes: Node[] = [];
  now = 0;
  lossShare = 0;
  messages = 0;
  hash = 0;
  readonly #options: DirectoryOptions;
  #queue: { at: number; order: number; run: () => void }[] = [];
  #order = 0;
  #requests = 0;

  constructor(seed: number, count: number, options: Partial<DirectoryOptions> = {}) {
    this.rng = createRng(seed);
    this.#options = { ...directoryDefaults, ...options };
    for (let index = 0; index < count; index++) this.add();
    this.announce(0);
  }

  add(): Node {
    const id = this.hex();
    const node: Node = { id, machine: this.#machine(id), isUp: true, life: 0, disk: new Map(), log: [] };
    this.nodes.push(node);
    this.feed(node, { kind: "start", records: [] });
    return node;
  }

  hex(): string {
    return Array.from({ length: 32 }, () => this.rng.int(16).toString(16)).join("");
  }

  up(): Node[] {
    return this.nodes.filter(({ isUp }) => isUp);
  }

  anyUp(): Node {
    const up = this.up();
    return defined(up[this.rng.int(up.length)], "a node that is up");
  }

  stop(node: Node): void {
    node.isUp = false;
    node.life += 1;
  }

  restart(node: Node, keepsDisk: boolean): void {
    if (!keepsDisk) node.disk.clear();
    node.isUp = true;
    node.machine = this.#machine(node.id);
    this.feed(node, { kind: "start", records: [...node.disk.values()] });
  }

  /** Each node learns who is up, at a time of its own. */
  announce(spreadMs: number): void {
    const live = this.up().map(({ id }) => id);
    for (const node of this.up()) {
      this.at(this.rng.next() * spreadMs, () => this.feed(node, { kind: "members-changed", live }));
    }
  }

  feed(node: Node, input: DirectoryInput): void {
    if (!node.isUp) return;
    for (const effect of node.machine.step(input, this.now)) this.#carryOut(node, effect);
    const deadline = node.machine.deadline();
    if (deadline === undefined) return;
    const { life } = node;
    this.at(Math.max(0, deadline - this.now), () => {
      const due = node.machine.deadline();
      if (node.life === life && due !== undefined && due <= this.now) this.feed(node, { kind: "timeout" });
    });
  }

  put(node: Node, record: DirectoryRecord): Extract<DirectoryEffect, { kind: "put-done" }> {
    const requestId = ++this.#requests;
    this.feed(node, { kind: "put", requestId, record });
    return this.#await(
      node,
      (effect) => effect.kind === "put-done" && effect.requestId === requestId && effect,
    );
  }

  get(node: Node, ref: RecordRef): DirectoryRecord | undefined {
    const requestId = ++this.#requests;
    this.feed(node, { kind: "get", requestId, ref });
    return this.#await(node, (effect) => effect.kind === "reply" && effect.requestId === requestId && effect)
      .record;
  }

  run(forMs: number): void {
    this.#runUntil(() => false, this.now + forMs);
  }

  holders(ref: RecordRef): Node[] {
    return this.up().filter(({ machine }) => machine.held(ref) !== undefined);
  }

  at(inMs: number, run: () => void): void {
    this.#queue.push({ at: this.now + inMs, order: this.#order++, run });
  }

  #await<T>(node: Node, pick: (effect: DirectoryEffect) => T | false): T {
    let found: T | false = false;
    this.#runUntil(() => {
      for (const effect of node.log) found ||= pick(effect);
      return found !== false;
    }, this.now + 2_000);
    if (found === false) throw new Error("no answer in time");
    return found;
  }

  #runUntil(isDone: () => boolean, end: number): void {
    while (!isDone()) {
      // Small queues: a sort per event is cheap enough and obviously right.
      this.#queue.sort((a, b) => b.at - a.at || b.order - a.order);
      const next = this.#queue.at(-1);
      if (next === undefined || next.at > end) break;
      this.#queue.pop();
      this.now = next.at;
      next.run();
    }
    if (!isDone()) this.now = end;
  }

  #machine(id: string): DirectoryMachine {
    return new DirectoryMachine({ id, rng: createRng(this.rng.int(0x7fff_ffff)) }, this.#options);
  }

  #carryOut(node: Node, effect: DirectoryEffect): void {
    const text = `${this.now}${node.id}${JSON.stringify(effect)}`;
    for (let i = 0; i < text.length; i++) this.hash = Math.imul(this.hash ^ text.charCodeAt(i), 0x01000193);
    node.log.push(effect);
    if (effect.kind === "persist") node.disk.set(refText(effect.record), effect.record);
    if (effect.kind === "unpersist") node.disk.delete(refText(effect.ref));
    if (effect.kind !== "send") return;
    this.messages += 1;
    if (this.rng.next() < this.lossShare) return;
    const to = this.nodes.find(({ id }) => id === effect.to);
    const input = { kind: "message", from: node.id, message: effect.message } as const;
    if (to !== undefined) this.at(0.2 + this.rng.next() * 5, () => this.feed(to, input));
  }
}

function charter(
  key: string,
  version: number,
  changes: { founder?: string; deleted?: boolean; epoch?: number } = {},
): DirectoryRecord {
  const { founder = "f".repeat(32), deleted = false, epoch = 1 } = changes;
  const group = `${key}.${epoch}.${founder.slice(0, 8)}`;
  const names = { deployment: key, namespace: "shop", name: key.slice(0, 4), group };
  return { kind: "charter", key, charter: { ...names, epoch, version, founder, voters: [founder], deleted } };
}

function index(key: string, name: string, version: number, isPresent = true): DirectoryRecord {
  return { kind: "index", key, entries: [{ name, id: key, epoch: 1, version, lineage: "a", isPresent }] };
}

describe("puts and gets", () => {
  test.each([1, 2, 3, 5])("a fleet of %d holds everything everywhere", (count) => {
    const world = new World(1, count);
    world.run(10);
    const key = world.hex();
    expect(world.put(world.anyUp(), charter(key, 1)).acks).toBe(count);
    for (const node of world.nodes) {
      expect(node.machine.held({ kind: "charter", key })).toEqual(charter(key, 1));
      expect(world.get(node, { kind: "charter", key })).toEqual(charter(key, 1));
    }
  });

  test("twenty nodes keep a record at the five nearest, also when another node put it", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const world = new World(seed, 20);
      world.run(10);
      const key = world.hex();
      const writer = defined(
        world.nodes.find(({ id, machine }) => !machine.guardiansOf(key).includes(id)),
        "a node that is no guardian",
      );
      expect(world.put(writer, charter(key, 1)).acks).toBe(6);
      world.run(3_000);
      const guardians = writer.machine.guardiansOf(key).toSorted();
      expect(
        world
          .holders({ kind: "charter", key })
          .map(({ id }) => id)
          .toSorted(),
      ).toEqual(guardians);
      expect(writer.disk.size).toBe(0);
      expect(world.get(world.anyUp(), { kind: "charter", key })).toEqual(charter(key, 1));
    }
  });

  test("a put that loses learns who won, and the deposed lineage is told", () => {
    const world = new World(3, 3);
    world.run(10);
    const key = world.hex();
    const [low, high] = [
      charter(key, 1, { founder: "1".repeat(32) }),
      charter(key, 1, { founder: "2".repeat(32) }),
    ];
    const [first, second] = [defined(world.nodes[0], "first"), defined(world.nodes[1], "second")];
    world.put(first, low);
    expect(world.put(second, high).record).toEqual(low);
    expect(
      second.log.some((effect) => effect.kind === "event" && effect.event.kind === "charter-deposed"),
    ).toBe(true);
  });

  test("concurrent puts into an index are all kept", () => {
    const world = new World(4, 8);
    world.run(10);
    const key = world.hex();
    world.nodes.forEach((node, i) => {
      world.feed(node, { kind: "put", requestId: 1_000 + i, record: index(key, `app-${i}`, 1) });
    });
    world.run(3_000);
    const found = world.get(world.anyUp(), { kind: "index", key });
    expect(found?.kind === "index" ? found.entries.map(({ name }) => name) : []).toEqual(
      world.nodes.map((_, i) => `app-${i}`),
    );
  });

  test("a get answers in time when a guardian is silent, and a key that nobody has is undefined", () => {
    const world = new World(5, 5);
    world.run(10);
    const key = world.hex();
    world.put(world.anyUp(), charter(key, 1));
    world.stop(defined(world.nodes[4], "the last"));
    const reader = defined(world.nodes[0], "the first");
    const startedAt = world.now;
    expect(world.get(reader, { kind: "charter", key })).toEqual(charter(key, 1));
    expect(world.now - startedAt).toBeLessThanOrEqual(301);
    expect(world.get(reader, { kind: "charter", key: world.hex() })).toBeUndefined();
  });

  test("a get repairs guardians that have less", () => {
    const world = new World(6, 4, { compareIntervalMs: 1e9, retryMs: 1e9 });
    world.run(10);
    const key = world.hex();
    const [writer, stale] = [defined(world.nodes[0], "writer"), defined(world.nodes[1], "stale")];
    world.put(writer, charter(key, 1));
    world.stop(stale);
    world.put(writer, charter(key, 2));
    world.restart(stale, true);
    world.feed(stale, { kind: "members-changed", live: world.nodes.map(({ id }) => id) });
    expect(world.get(defined(world.nodes[2], "reader"), { kind: "charter", key })).toEqual(charter(key, 2));
    world.run(100);
    expect(stale.machine.held({ kind: "charter", key })).toEqual(charter(key, 2));
  });
});

describe("churn", () => {
  test("what was written is found as long as one holder survives, and ends at its guardians", () => {
    for (let seed = 1; seed <= 40; seed++) {
      const world = new World(seed, 4 + (seed % 14));
      world.lossShare = 0.1;
      world.run(10);
      const written = new Map<string, DirectoryRecord>();
      for (let round = 0; round < 15; round++) {
        const key =
          round % 3 === 0 ? world.hex() : ([...written.keys()][world.rng.int(written.size)] ?? world.hex());
        const record = charter(key, round + 1);
        const known = written.get(key);
        world.put(world.anyUp(), record);
        written.set(key, known === undefined ? record : mergeRecords(known, record));
        const dice = world.rng.int(4);
        if (dice === 0) world.add();
        if (dice === 1 && world.up().length > 3) world.stop(world.anyUp());
        if (dice === 2) {
          const down = world.nodes.find(({ isUp }) => !isUp);
          if (down !== undefined) world.restart(down, world.rng.int(2) === 0);
        }
        world.announce(500);
        // Long enough for a handover: losing holders faster than that is what k guardians cannot cover.
        world.run(5_000);
      }
      world.lossShare = 0;
      world.run(60_000);
      for (const [key, record] of written) {
        const ref = { kind: "charter", key } as const;
        expect({ seed, found: world.get(world.anyUp(), ref) }).toEqual({ seed, found: record });
        const guardians = world.anyUp().machine.guardiansOf(key).toSorted();
        expect({
          seed,
          held: world
            .holders(ref)
            .map(({ id }) => id)
            .toSorted(),
        }).toEqual({ seed, held: guardians });
        for (const { machine } of world.holders(ref)) {
          expect(recordHash(defined(machine.held(ref), "a record"))).toBe(recordHash(record));
        }
      }
    }
  });

  test("all but one of the guardians lost at once: the last one brings the record back to five", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const world = new World(seed, 15);
      world.run(10);
      const key = world.hex();
      const ref = { kind: "charter", key } as const;
      world.put(world.anyUp(), charter(key, 1));
      world.run(3_000);
      for (const node of world.holders(ref).slice(1)) world.stop(node);
      world.announce(500);
      world.run(3_000);
      expect(world.holders(ref)).toHaveLength(5);
    }
  });

  test("a node that lost its disk gets everything back, page by page", () => {
    const world = new World(8, 4, { batch: 16, compareIntervalMs: 2_000 });
    world.run(10);
    const writer = defined(world.nodes[0], "writer");
    const emptied = defined(world.nodes[3], "emptied");
    for (let i = 0; i < 100; i++) world.put(writer, charter(world.hex(), 1));
    world.stop(emptied);
    world.restart(emptied, false);
    world.feed(emptied, { kind: "members-changed", live: world.nodes.map(({ id }) => id) });
    world.run(60_000);
    expect(emptied.machine.records()).toHaveLength(100);
    expect(emptied.disk.size).toBe(100);
  });

  test("a settled fleet sends next to nothing", () => {
    const world = new World(9, 5);
    world.run(10);
    for (let i = 0; i < 50; i++) world.put(world.anyUp(), charter(world.hex(), 1));
    world.run(30_000);
    const before = world.messages;
    world.run(100_000);
    // One comparison and its answer per node each ten seconds or so.
    expect((world.messages - before) / 5 / 10).toBeLessThan(2.7);
  });
});

describe("tombstones", () => {
  const hour = 3_600_000;

  test("a delete sticks against a node that was away, and is forgotten by all after a day", () => {
    const world = new World(10, 4, { compareIntervalMs: 60_000 });
    world.run(10);
    const [key, indexKey] = [world.hex(), world.hex()];
    const [writer, away] = [defined(world.nodes[0], "writer"), defined(world.nodes[3], "away")];
    const refs = [{ kind: "charter", key } as const, { kind: "index", key: indexKey } as const];
    world.put(writer, charter(key, 1));
    world.put(writer, index(indexKey, "web", 1));
    world.put(writer, index(indexKey, "db", 1));
    world.stop(away);
    world.announce(0);
    world.put(writer, charter(key, 2, { deleted: true }));
    world.put(writer, index(indexKey, "web", 2, false));
    world.run(20 * hour);
    world.restart(away, true);
    world.announce(0);
    world.run(5_000);
    for (const node of world.nodes) {
      expect(node.machine.held({ kind: "charter", key })).toEqual(charter(key, 2, { deleted: true }));
    }
    world.run(4 * hour + 10 * 60_000);
    for (const node of world.nodes) {
      expect(refs.map((ref) => node.machine.held(ref))).toEqual([undefined, index(indexKey, "db", 1)]);
      expect(node.disk.size).toBe(1);
    }
  });
});

test("the same seed gives the same trace, another seed another", () => {
  const trace = (seed: number): number => {
    const world = new World(seed, 7);
    world.lossShare = 0.2;
    world.run(10);
    for (let i = 0; i < 10; i++) world.put(world.anyUp(), charter(world.hex(), 1));
    world.stop(world.anyUp());
    world.announce(300);
    world.run(20_000);
    return world.hash;
  };
  expect(trace(42)).toBe(trace(42));
  expect(trace(42)).not.toBe(trace(43));
});
