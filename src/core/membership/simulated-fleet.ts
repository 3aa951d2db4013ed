/**
 * A small seeded world for the membership tests: nodes with inboxes, a network that delays, loses, doubles and
 * partitions, machines that lose power, agents that stop, and nodes that freeze. Virtual time only.
 */
import { defined } from "../../model/assert.ts";
import type { MemberRecord, MemberStatus } from "../../model/member.ts";
import type { Instant } from "../machine.ts";
import { createRng, type Rng } from "../rng.ts";
import { MembershipMachine } from "./machine.ts";
import { membershipDefaults, type MembershipOptions } from "./options.ts";
import type { MembershipEffect, MembershipEvent, MembershipInput } from "./protocol.ts";

export interface NetworkFaults {
  readonly lossShare: number;
  readonly duplicationShare: number;
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
}

/** `off`: the machine has no power. `stopped`: the machine runs and its agent does not. */
export type NodeState = "running" | "frozen" | "stopped" | "off";

export interface SimulatedNode {
  readonly index: number;
  readonly id: string;
  readonly address: string;
  machine: MembershipMachine;
  state: NodeState;
  /** Inputs that wait for a frozen node, in order. */
  inbox: MembershipInput[];
  /** Counts restarts, so that timers of an earlier life are ignored. */
  life: number;
  events: { readonly at: Instant; readonly event: MembershipEvent }[];
}

interface Scheduled {
  readonly at: Instant;
  readonly order: number;
  readonly run: () => void;
}

/** Conditions over the whole fleet are looked at this often; times measured are exact to this. */
const CHECK_EVERY_MS = 5;

export const lan: NetworkFaults = { lossShare: 0, duplicationShare: 0, delayMinMs: 0.1, delayMaxMs: 0.6 };

export function nodeId(index: number): string {
  // Spread over the id space, so that nearness is not the order of creation.
  const rng = createRng(index + 1);
  return Array.from({ length: 32 }, () => rng.int(16).toString(16)).join("");
}

export class SimulatedFleet {
  readonly nodes: SimulatedNode[] = [];
  readonly rng: Rng;
  faults: NetworkFaults;
  now: Instant = 0;
  /** Datagrams handed to the network. */
  datagrams = 0;
  /** Longest datagram in JSON characters. */
  longestDatagram = 0;
  readonly #options: MembershipOptions;
  readonly #cuts = new Set<string>();
  #queue: Scheduled[] = [];
  #order = 0;
  #hash = 0x811c9dc5;

  constructor(
    seed: number,
    settings: { count: number; faults?: NetworkFaults; options?: Partial<MembershipOptions> },
  ) {
    this.rng = createRng(seed);
    this.faults = settings.faults ?? lan;
    this.#options = { ...membershipDefaults, ...settings.options };
    for (let index = 0; index < settings.count; index++) {
      const id = nodeId(index);
      const address = `node-${index}:7946`;
      const machine = this.#create(id, index);
      this.nodes.push({ index, id, address, machine, state: "running", inbox: [], life: 0, events: [] });
    }
  }

  /** Starts everybody and joins them through the first node. */
  startAll(): void {
    for (const node of this.nodes) {
      this.feed(node, { kind: "start" });
      if (node.index > 0) this.feed(node, { kind: "join", addresses: [this.node(0).address] });
    }
  }

  node(index: number): SimulatedNode {
    return defined(this.nodes[index], `node ${index}`);
  }

  /** A number that depends on every effect of every node and on its time. */
  get traceHash(): number {
    return this.#hash >>> 0;
  }

  run(forMs: number): void {
    this.runUntil(() => false, forMs);
  }

  /** Runs until `condition` holds, at most `withinMs`; the time it took, or undefined. */
  runUntil(condition: () => boolean, withinMs: number): number | undefined {
    const from = this.now;
    let checkAt = from;
    for (;;) {
      if (this.now >= checkAt) {
        if (condition()) return this.now - from;
        checkAt = this.now + CHECK_EVERY_MS;
      }
      const next = this.#queue[0];
      if (next === undefined || next.at > from + withinMs) break;
      this.#pop();
      this.now = next.at;
      next.run();
    }
    this.now = from + withinMs;
    return condition() ? withinMs : undefined;
  }

  at(inMs: number, run: () => void): void {
    this.#push({ at: this.now + inMs, order: this.#order++, run });
  }

  feed(node: SimulatedNode, input: MembershipInput): void {
    if (node.state === "off" || node.state === "stopped") return;
    if (node.state === "frozen") {
      node.inbox.push(input);
      return;
    }
    for (const effect of node.machine.step(input, this.now)) this.#carryOut(node, effect);
    this.#arm(node);
  }

  freeze(node: SimulatedNode, forMs: number): void {
    if (node.state !== "running") return;
    node.state = "frozen";
    const { life } = node;
    this.at(forMs, () => {
      if (node.state !== "frozen" || node.life !== life) return;
      node.state = "running";
      const waiting = node.inbox;
      node.inbox = [];
      for (const input of waiting) this.feed(node, input);
      this.#arm(node);
    });
  }

  powerOff(node: SimulatedNode): void {
    node.state = "off";
  }

  stopAgent(node: SimulatedNode): void {
    node.state = "stopped";
  }

  /** A new life under the same id, which remembers nothing but where to join. */
  restart(node: SimulatedNode, join: readonly string[]): void {
    node.life += 1;
    node.state = "running";
    node.inbox = [];
    node.machine = this.#create(node.id, node.index + 1000 * node.life);
    this.feed(node, { kind: "start" });
    this.feed(node, { kind: "join", addresses: join });
  }

  /** Cuts every link between the two groups. */
  partition(left: readonly SimulatedNode[], right: readonly SimulatedNode[]): void {
    for (const a of left) for (const b of right) this.#cuts.add(`${a.id}>${b.id}`).add(`${b.id}>${a.id}`);
  }

  heal(): void {
    this.#cuts.clear();
  }

  /** What `observer` holds of `subject`. */
  statusAt(observer: SimulatedNode, subject: SimulatedNode): MemberStatus | undefined {
    return observer.machine.member(subject.id)?.status;
  }

  /** True when every running node holds every running node alive, and with the same record. */
  hasConverged(): boolean {
    const running = this.nodes.filter(({ state }) => state === "running");
    const truth = new Map<string, MemberRecord>(running.map(({ id, machine }) => [id, machine.self]));
    return running.every(({ machine }) =>
      running.every(({ id }) => {
        const held = machine.member(id);
        return held?.status === "alive" && held.incarnation === truth.get(id)?.incarnation;
      }),
    );
  }

  deaths(): { readonly at: Instant; readonly observer: number; readonly id: string }[] {
    return this.nodes.flatMap((node) =>
      node.events.flatMap(({ at, event }) =>
        event.kind === "member-dead" ? [{ at, observer: node.index, id: event.member.id }] : [],
      ),
    );
  }

  #create(id: string, seed: number): MembershipMachine {
    const index = seed % 1000;
    return new MembershipMachine(
      {
        id,
        name: `node-${index}`,
        addresses: [`node-${index}:7946`],
        meta: { freeCpuMillis: 4000, freeMemoryBytes: 8_000_000_000, protocolVersions: [1, 1] },
        rng: createRng(seed * 7919 + this.rng.int(0x7fff_ffff)),
      },
      this.#options,
    );
  }

  #arm(node: SimulatedNode): void {
    const deadline = node.machine.deadline();
    if (deadline === undefined) return;
    const { life } = node;
    this.at(Math.max(0, deadline - this.now), () => {
      if (node.life !== life || node.state !== "running") return;
      const due = node.machine.deadline();
      if (due !== undefined && due <= this.now) this.feed(node, { kind: "timeout" });
    });
  }

  #carryOut(node: SimulatedNode, effect: MembershipEffect): void {
    this.#mix(`${this.now}|${node.index}|${JSON.stringify(effect)}`);
    switch (effect.kind) {
      case "send": {
        this.datagrams += 1;
        this.longestDatagram = Math.max(this.longestDatagram, JSON.stringify(effect.message).length);
        const input = { kind: "datagram", from: node.address, message: effect.message } as const;
        this.#transmit(node, effect.to, (to) => this.feed(to, input));
        return;
      }
      case "push-pull":
        this.#stream(node, effect.to, (to) => {
          this.feed(to, { kind: "push-pull-request", requestId: node.index, state: effect.state });
        });
        return;
      case "push-pull-reply": {
        const asker = this.node(effect.requestId);
        this.#stream(node, asker.address, (to) => {
          this.feed(to, { kind: "push-pull-response", state: effect.state });
        });
        return;
      }
      case "stream-probe":
        this.#probe(node, effect.member);
        return;
      case "event":
        node.events.push({ at: this.now, event: effect.event });
        return;
    }
  }

  #transmit(from: SimulatedNode, address: string, deliver: (to: SimulatedNode) => void): void {
    const to = this.nodes.find((node) => node.address === address);
    if (to === undefined) return;
    const { lossShare, duplicationShare } = this.faults;
    const copies = this.rng.next() < duplicationShare ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (this.rng.next() < lossShare) continue;
      this.at(this.#delay(), () => {
        if (!this.#cuts.has(`${from.id}>${to.id}`)) deliver(to);
      });
    }
  }

  /** Streams are retransmitted by the kernel: slower under loss, and whole unless the link is cut. */
  #stream(from: SimulatedNode, address: string, deliver: (to: SimulatedNode) => void): void {
    const to = this.nodes.find((node) => node.address === address);
    if (to === undefined) return;
    this.at(this.#delay() * 3 + this.#retransmission(), () => {
      if (!this.#cuts.has(`${from.id}>${to.id}`)) deliver(to);
    });
  }

  #probe(node: SimulatedNode, member: string): void {
    const to = this.nodes.find(({ id }) => id === member);
    if (to === undefined) return;
    const report = (outcome: "answered" | "accepted" | "refused"): void => {
      this.at(this.#delay() * 2, () => this.feed(node, { kind: "stream-probe-result", member, outcome }));
    };
    this.at(this.#delay() + this.#retransmission(), () => {
      if (this.#cuts.has(`${node.id}>${to.id}`) || to.state === "off") return;
      if (to.state === "running") report("answered");
      else report(to.state === "frozen" ? "accepted" : "refused");
    });
  }

  #retransmission(): number {
    return this.rng.next() < this.faults.lossShare ? 40 : 0;
  }

  #delay(): number {
    const { delayMinMs, delayMaxMs } = this.faults;
    return delayMinMs + this.rng.next() * (delayMaxMs - delayMinMs);
  }

  #mix(text: string): void {
    for (let i = 0; i < text.length; i++) this.#hash = Math.imul(this.#hash ^ text.charCodeAt(i), 0x01000193);
  }

  // A binary heap ordered by time, then by when it was scheduled.
  #push(item: Scheduled): void {
    const heap = this.#queue;
    let i = heap.push(item) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!isBefore(item, defined(heap[parent], "a parent"))) break;
      heap[i] = defined(heap[parent], "a parent");
      i = parent;
    }
    heap[i] = item;
  }

  #pop(): void {
    const heap = this.#queue;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      const left = heap[child];
      if (left === undefined) break;
      const right = heap[child + 1];
      if (right !== undefined && isBefore(right, left)) child += 1;
      const smaller = defined(heap[child], "a child");
      if (!isBefore(smaller, last)) break;
      heap[i] = smaller;
      i = child;
    }
    heap[i] = last;
  }
}

function isBefore(a: Scheduled, b: Scheduled): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
