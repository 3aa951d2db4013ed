/**
 * Drives the membership machine: datagrams, full-state exchanges and stream probes over the
 * transport, and a small cache on disk so that a restarted node finds its fleet again.
 *
 * It has a turn of its own: a slow disk must not make this node look dead.
 */
import { createRng } from "../core/rng.ts";
import { MembershipMachine } from "../core/membership/machine.ts";
import type {
  FullState,
  MembershipEffect,
  MembershipEvent,
  MembershipInput,
  Message,
} from "../core/membership/protocol.ts";
import type { MembershipOptions } from "../core/membership/options.ts";
import type { NodeId } from "../model/ids.ts";
import type { MemberMeta, MemberRecord } from "../model/member.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import type { Store } from "../ports/store.ts";
import type { Address, PeerAddress, Transport } from "../ports/transport.ts";
import { decodeAs, encode } from "../wire/codec.ts";
import { decodeMembership, encodeMembership } from "../wire/membership-datagram.ts";
import { fullStateSchema } from "../wire/membership.ts";
import { MachineLane } from "./machine-lane.ts";
import { Turn, type Work } from "./turn.ts";

export const pushPullMethod = "membership.push-pull";
const pushPullTimeoutMs = 1_000;

export interface FleetPorts {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly store: Store;
}

export interface FleetOptions {
  readonly id: NodeId;
  readonly name: string;
  readonly addresses: readonly Address[];
  readonly meta: MemberMeta;
  readonly seed: number;
  readonly membership: MembershipOptions;
}

export type FleetListener = (event: MembershipEvent) => void;

export class Fleet {
  readonly #ports: FleetPorts;
  readonly #options: FleetOptions;
  readonly #machine: MembershipMachine;
  readonly #turn: Turn;
  readonly #lane: MachineLane<MembershipInput, MembershipEffect>;
  readonly #listeners: FleetListener[] = [];
  /** Who answers at an address given to join, learned from an invite or from the cache. */
  readonly #seeds = new Map<Address, NodeId>();
  readonly #replies = new Map<number, (state: FullState) => void>();
  #nextRequest = 1;
  #hasMet = false;
  #leftWaiters: (() => void)[] = [];

  constructor(ports: FleetPorts, options: FleetOptions) {
    this.#ports = ports;
    this.#options = options;
    this.#machine = new MembershipMachine(
      {
        id: options.id,
        name: options.name,
        addresses: options.addresses,
        meta: options.meta,
        rng: createRng(options.seed),
      },
      options.membership,
    );
    this.#turn = new Turn(ports);
    this.#lane = new MachineLane(
      { turn: this.#turn, clock: ports.clock },
      {
        machine: this.#machine,
        timeout: { kind: "timeout" },
        work: (effect) => this.#work(effect),
      },
    );
  }

  start(): void {
    this.#lane.feed({ kind: "start" });
  }

  /** Joins through any of these peers; those that do not answer are tried again until one does. */
  join(seeds: readonly PeerAddress[]): void {
    const addresses: Address[] = [];
    for (const seed of seeds) {
      if (seed.id === this.#options.id) continue;
      for (const address of seed.addresses) {
        this.#seeds.set(address, seed.id);
        addresses.push(address);
      }
    }
    if (addresses.length > 0) this.#lane.feed({ kind: "join", addresses });
  }

  /** Says goodbye; resolves when it was gossiped often enough. */
  async leave(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#leftWaiters.push(resolve);
      this.#lane.feed({ kind: "leave" });
    });
  }

  /** It belongs to a fleet and has met nobody of it since it started. */
  get isSearching(): boolean {
    return this.#seeds.size > 0 && !this.#hasMet;
  }

  close(): void {
    this.#lane.close();
  }

  listen(listener: FleetListener): void {
    this.#listeners.push(listener);
  }

  /** Everybody known, this node included. */
  members(): readonly MemberRecord[] {
    return this.#machine.members();
  }

  member(id: NodeId): MemberRecord | undefined {
    return this.#machine.member(id);
  }

  /** Where to reach a node, if it is known. */
  peer(id: NodeId): PeerAddress | undefined {
    const member = this.#machine.member(id);
    return member === undefined ? undefined : { id, addresses: member.addresses };
  }

  updateMeta(meta: MemberMeta): void {
    this.#lane.feed({ kind: "update-meta", meta });
  }

  receiveDatagram(from: Address, payload: Uint8Array): void {
    // A full queue drops the newest, as a full socket would.
    if (this.#turn.isFull) return;
    let message: Message;
    try {
      message = decodeMembership(payload);
    } catch (error) {
      this.#ports.logger.debug("datagram rejected", { from, reason: String(error) });
      return;
    }
    this.#lane.feed({ kind: "datagram", from, message });
  }

  /** Answers another member's full state with this node's. */
  async receivePushPull(payload: Uint8Array): Promise<Uint8Array> {
    const theirs = decodeAs(fullStateSchema, payload);
    this.#hasMet = true;
    const requestId = this.#nextRequest++;
    const ours = await new Promise<FullState>((resolve) => {
      this.#replies.set(requestId, resolve);
      this.#lane.feed({ kind: "push-pull-request", requestId, state: theirs });
    });
    return encode(ours);
  }

  #work(effect: MembershipEffect): Work {
    return { kind: "do", run: () => this.#carryOut(effect) };
  }

  #carryOut(effect: MembershipEffect): void {
    switch (effect.kind) {
      case "send":
        this.#ports.transport.datagram(effect.to, encodeMembership(effect.message));
        return;
      case "push-pull":
        void this.#pushPull(effect.to, effect.member, effect.state);
        return;
      case "push-pull-reply":
        this.#replies.get(effect.requestId)?.(effect.state);
        this.#replies.delete(effect.requestId);
        return;
      case "stream-probe":
        void this.#probe(effect.member, effect.addresses, effect.timeoutMs);
        return;
      case "event":
        this.#publish(effect.event);
        return;
    }
  }

  async #pushPull(to: Address, member: NodeId | undefined, state: FullState): Promise<void> {
    const id = member ?? this.#seeds.get(to);
    if (id === undefined) return;
    try {
      const answer = await this.#ports.transport.call(
        { id, addresses: [to] },
        pushPullMethod,
        encode(state),
        {
          timeoutMs: pushPullTimeoutMs,
        },
      );
      this.#hasMet = true;
      this.#lane.feed({ kind: "push-pull-response", state: decodeAs(fullStateSchema, answer) });
    } catch (error) {
      // The machine tries again by itself; a failed exchange needs no report.
      this.#ports.logger.debug("state exchange failed", { to, error: String(error) });
    }
  }

  async #probe(member: NodeId, addresses: readonly Address[], timeoutMs: number): Promise<void> {
    const outcome = await this.#ports.transport.probe({ id: member, addresses }, { timeoutMs });
    this.#lane.feed({ kind: "stream-probe-result", member, outcome });
  }

  #publish(event: MembershipEvent): void {
    this.#log(event);
    if (event.kind === "member-joined" || event.kind === "member-updated") this.#remember(event.member);
    if (event.kind === "member-left" || event.kind === "member-forgotten") this.#forget(event.member.id);
    if (event.kind === "self-left") {
      for (const resolve of this.#leftWaiters) resolve();
      this.#leftWaiters = [];
    }
    for (const listener of this.#listeners) listener(event);
  }

  #log(event: MembershipEvent): void {
    const { logger } = this.#ports;
    switch (event.kind) {
      case "member-dead":
        logger.warn("member is dead", {
          member: event.member.id,
          name: event.member.name,
          reason: event.detection.reason,
          suspectedForMs: Math.round(event.detection.suspectedForMs),
        });
        return;
      case "member-joined":
      case "member-left":
        logger.info(event.kind === "member-joined" ? "member joined" : "member left", {
          member: event.member.id,
          name: event.member.name,
        });
        return;
      case "self-paused":
        logger.warn("this node was paused", { lateMs: Math.round(event.lateMs) });
        return;
      case "message-rejected":
        logger.debug("message rejected", { from: event.from, reason: event.reason });
        return;
      default:
        logger.debug(event.kind, "member" in event ? { member: event.member.id } : {});
    }
  }

  #remember(member: MemberRecord): void {
    if (member.id === this.#options.id) return;
    const value = encode({ id: member.id, addresses: member.addresses });
    this.#writeCache([{ kind: "put", table: "members", key: member.id, value }]);
  }

  #forget(id: NodeId): void {
    this.#writeCache([{ kind: "delete", table: "members", key: id }]);
  }

  #writeCache(writes: Parameters<Store["commit"]>[0]): void {
    // Only a hint for the next start: losing it costs nothing that a join address does not give back.
    this.#ports.store.commit(writes).catch((error: unknown) => {
      this.#ports.logger.warn("member cache not written", { error: String(error) });
    });
  }
}
