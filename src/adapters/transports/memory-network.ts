/**
 * The network under MemoryTransport: hosts, and a link per direction between two of them. Links delay,
 * lose, double and reorder; hosts lose power or only their agent. Time and chance come from the clock and the
 * generator handed in, so a seed repeats a run exactly.
 */
import type { Rng } from "../../core/rng.ts";
import { assert } from "../../model/assert.ts";
import type { NodeId } from "../../model/ids.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Address, PeerAddress } from "../../ports/transport.ts";
import { MemoryTransport } from "./memory-transport.ts";

export interface MemoryNetworkPorts {
  readonly clock: Clock;
  readonly rng: Rng;
}

/** How one direction of a link behaves. Probabilities are in [0, 1]. */
export interface LinkConditions {
  readonly latencyMs: number;
  /** Added to the latency, drawn evenly from [0, jitterMs). */
  readonly jitterMs: number;
  /** Of datagrams and of posts; calls and streams ride on retransmission and are only delayed. */
  readonly loss: number;
  /** Of datagrams. */
  readonly duplication: number;
  /** Of datagrams: held back for up to `reorderingMs` more. */
  readonly reordering: number;
  readonly reorderingMs: number;
}

export const perfectLink: LinkConditions = {
  latencyMs: 0,
  jitterMs: 0,
  loss: 0,
  duplication: 0,
  reordering: 0,
  reorderingMs: 0,
};

/** `agent-down`: the machine refuses. `off`: nothing comes back. */
export type HostState = "up" | "agent-down" | "off";

/** How long an end of a stream goes on before it notices that the other end is gone without a word. */
export const streamBreakMs = 1_000;

export class Host {
  readonly id: NodeId;
  addresses: readonly Address[];
  state: HostState = "off";
  transport: MemoryTransport | undefined;
  readonly linksTo = new Map<NodeId, Link>();
  constructor(id: NodeId, addresses: readonly Address[]) {
    this.id = id;
    this.addresses = addresses;
  }
}

/** One direction between two hosts. */
export class Link {
  readonly #network: MemoryNetwork;
  /** Undefined: as the network's default. */
  conditions: LinkConditions | undefined;
  isCut = false;
  #lastArrival = 0;
  #inFlight: (() => void)[] = [];
  #delivered = 0;

  constructor(network: MemoryNetwork) {
    this.#network = network;
  }

  get effective(): LinkConditions {
    return this.conditions ?? this.#network.link;
  }

  delayMs(): number {
    const { latencyMs, jitterMs } = this.effective;
    return jitterMs === 0 ? latencyMs : latencyMs + this.#network.ports.rng.next() * jitterMs;
  }

  roll(probability: number): boolean {
    return probability > 0 && this.#network.ports.rng.next() < probability;
  }

  /** Delivers after the link's delay and never before what was sent earlier in order. */
  inOrder(deliver: () => void): void {
    const { clock } = this.#network.ports;
    this.#lastArrival = Math.max(this.#lastArrival, clock.now() + this.delayMs());
    this.#inFlight.push(deliver);
    // Whichever of several equal timers fires first, the oldest message is the one delivered.
    clock.at(this.#lastArrival, this.#deliverOldest);
  }

  /** Delivers a datagram zero, one or two times, in any order. */
  loosely(deliver: () => void): void {
    const { loss, duplication, reordering, reorderingMs } = this.effective;
    if (this.roll(loss)) return;
    const { clock, rng } = this.#network.ports;
    const copies = this.roll(duplication) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const held = this.roll(reordering) ? rng.next() * reorderingMs : 0;
      clock.at(clock.now() + this.delayMs() + held, deliver);
    }
  }

  readonly #deliverOldest = (): void => {
    const deliver = this.#inFlight[this.#delivered];
    assert(deliver !== undefined, "each timer of a link has a message to deliver");
    this.#delivered += 1;
    if (this.#delivered === this.#inFlight.length) {
      this.#inFlight = [];
      this.#delivered = 0;
    } else if (this.#delivered > 1_024) {
      this.#inFlight = this.#inFlight.slice(this.#delivered);
      this.#delivered = 0;
    }
    deliver();
  };
}

/** Where a message to a peer ends up. */
export type Route =
  | { readonly kind: "up"; readonly host: Host; readonly link: Link }
  | { readonly kind: "refused" | "stranger"; readonly link: Link }
  | { readonly kind: "silent" };

export class MemoryNetwork {
  readonly ports: MemoryNetworkPorts;
  /** Of every link that has no conditions of its own. */
  link: LinkConditions;
  readonly #hosts = new Map<NodeId, Host>();
  readonly #byAddress = new Map<Address, Host>();

  constructor(ports: MemoryNetworkPorts, options: { readonly link: LinkConditions }) {
    this.ports = ports;
    this.link = options.link;
  }

  /** A fresh transport for a node; starting it switches the node on, also after a crash, even at other addresses. */
  transport(options: { readonly id: NodeId; readonly addresses: readonly Address[] }): MemoryTransport {
    return new MemoryTransport(this, options);
  }

  /** The conditions from one node to another, this direction only; undefined returns it to the default. */
  setLink(from: NodeId, to: NodeId, conditions: LinkConditions | undefined): void {
    this.linkFrom(this.#hostOf(from), to).conditions = conditions;
  }

  /** No message passes between the two, either way, those in flight included. */
  cut(a: NodeId, b: NodeId): void {
    this.cutOneWay(a, b);
    this.cutOneWay(b, a);
  }

  cutOneWay(from: NodeId, to: NodeId): void {
    this.linkFrom(this.#hostOf(from), to).isCut = true;
    this.#breakStreamsLater();
  }

  heal(a: NodeId, b: NodeId): void {
    this.linkFrom(this.#hostOf(a), b).isCut = false;
    this.linkFrom(this.#hostOf(b), a).isCut = false;
  }

  healAll(): void {
    for (const host of this.#hosts.values()) for (const link of host.linksTo.values()) link.isCut = false;
  }

  /** The machine vanishes without a word. Its transport is dead for good; a new one brings the node back. */
  powerOff(id: NodeId): void {
    const host = this.#hostOf(id);
    this.#stop(host, "off");
    this.#breakStreamsLater();
  }

  /** The agent dies, the machine answers for it: connections reset, new ones refused. */
  crashAgent(id: NodeId): void {
    const host = this.#hostOf(id);
    this.#stop(host, "agent-down");
    for (const other of this.#hosts.values()) {
      const link = this.linkFrom(host, other.id);
      if (!link.isCut) link.inOrder(() => other.transport?.peerReset(id));
    }
  }

  stateOf(id: NodeId): HostState {
    return this.#hosts.get(id)?.state ?? "off";
  }

  /** Called by a transport that starts. */
  attach(transport: MemoryTransport, id: NodeId, addresses: readonly Address[]): Host {
    const host = this.#hostOf(id);
    host.transport?.die();
    for (const address of host.addresses) this.#byAddress.delete(address);
    for (const address of addresses) {
      const owner = this.#byAddress.get(address);
      assert(owner === undefined || owner.state === "off", `the address ${address} is taken`);
      this.#byAddress.set(address, host);
    }
    host.addresses = addresses;
    host.state = "up";
    host.transport = transport;
    return host;
  }

  linkFrom(from: Host, to: NodeId): Link {
    const known = from.linksTo.get(to);
    if (known !== undefined) return known;
    const link = new Link(this);
    from.linksTo.set(to, link);
    return link;
  }

  hostAt(address: Address): Host | undefined {
    return this.#byAddress.get(address);
  }

  /** The first address that answers as the peer; else a refusal if there is one; else what else was met. */
  route(from: Host, to: PeerAddress): Route {
    let fallback: Route = { kind: "silent" };
    for (const address of to.addresses) {
      const host = this.#byAddress.get(address);
      if (host === undefined || host.state === "off") continue;
      const link = this.linkFrom(from, host.id);
      if (link.isCut) continue;
      if (host.state === "agent-down") fallback = { kind: "refused", link };
      else if (host.id === to.id) return { kind: "up", host, link };
      else if (fallback.kind === "silent") fallback = { kind: "stranger", link };
    }
    return fallback;
  }

  /** Whether both ends run and messages pass both ways. */
  isConnected(a: NodeId, b: NodeId): boolean {
    const from = this.#hosts.get(a);
    const to = this.#hosts.get(b);
    if (from?.state !== "up" || to?.state !== "up") return false;
    return from.linksTo.get(b)?.isCut !== true && to.linksTo.get(a)?.isCut !== true;
  }

  #hostOf(id: NodeId): Host {
    const known = this.#hosts.get(id);
    if (known !== undefined) return known;
    const host = new Host(id, []);
    this.#hosts.set(id, host);
    return host;
  }

  #stop(host: Host, state: HostState): void {
    host.state = state;
    host.transport?.die();
    host.transport = undefined;
  }

  #breakStreamsLater(): void {
    const { clock } = this.ports;
    clock.at(clock.now() + streamBreakMs, () => {
      for (const host of this.#hosts.values()) host.transport?.breakDeadStreams();
    });
  }
}
