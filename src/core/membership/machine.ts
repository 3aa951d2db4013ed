/**
 * Membership of the fleet: SWIM (Das, Gupta, Motivala 2002) with Lifeguard's local health awareness, suspicion
 * that shrinks with confirmations, and buddy system (Dadgar, Phillips, Currey 2018). Everybody probes somebody each
 * period, news rides on probes and on its own gossip, and full state is exchanged now and then, so each member knows
 * all others at a constant cost per member. docs/protocols/membership.md has the messages, invariants and departures.
 */
import { unreachable } from "../../model/assert.ts";
import type { NodeId } from "../../model/ids.ts";
import type { MemberMeta, MemberRecord } from "../../model/member.ts";
import type { Instant, Machine } from "../machine.ts";
import type { Rng } from "../rng.ts";
import { Awareness } from "./awareness.ts";
import { BroadcastQueue } from "./broadcast-queue.ts";
import { Mailer } from "./mailer.ts";
import type { MembershipOptions } from "./options.ts";
import { Prober } from "./prober.ts";
import { Outbox, type MembershipEffect, type MembershipInput, type Message } from "./protocol.ts";
import { Roster } from "./roster.ts";
import { pushPullIntervalMs } from "./timing.ts";
import { isPresent, View } from "./view.ts";

/** Full state asked for out of turn, by strangers and by members that come back, at most this often. */
const EXTRA_PUSH_PULL_MS = 100;

/** The local node, and its source of chance. */
export interface LocalMember {
  readonly id: NodeId;
  readonly name: string;
  readonly addresses: readonly string[];
  readonly meta: MemberMeta;
  readonly rng: Rng;
}

/** Past this many, full state is too large to exchange each time someone comes or goes. */
const SETTLE_MEMBERS = 32;

type Phase = "idle" | "running" | "leaving" | "left";

export class MembershipMachine implements Machine<MembershipInput, MembershipEffect> {
  readonly #options: MembershipOptions;
  readonly #rng: Rng;
  readonly #outbox = new Outbox();
  readonly #queue = new BroadcastQueue();
  readonly #awareness: Awareness;
  readonly #view: View;
  readonly #roster: Roster;
  readonly #mailer: Mailer;
  readonly #prober: Prober;
  readonly #seeds = new Set<string>();
  #phase: Phase = "idle";
  #gossipAt: Instant = -Infinity;
  #pushPullAt: Instant = 0;
  #extraPushPullAt: Instant = -Infinity;
  #reconnectAt: Instant = 0;
  #joinAt: Instant = 0;
  #leftBy: Instant = 0;

  /** A node that starts again may do so from nothing: it outbids whatever incarnation others remember. */
  constructor(local: LocalMember, options: MembershipOptions) {
    const { rng, ...facts } = local;
    const self: MemberRecord = { ...facts, incarnation: 0, status: "alive" };
    this.#options = options;
    this.#rng = rng;
    this.#awareness = new Awareness(options.awarenessMax);
    this.#view = new View(rng);
    const shared = { view: this.#view, queue: this.#queue, outbox: this.#outbox };
    this.#roster = new Roster({ ...shared, awareness: this.#awareness, rng }, options, self);
    this.#mailer = new Mailer({ ...shared, roster: this.#roster }, options);
    this.#prober = new Prober(
      { ...shared, roster: this.#roster, awareness: this.#awareness, mailer: this.#mailer, rng },
      options,
    );
  }

  /** The local node as it is announced. */
  get self(): MemberRecord {
    return this.#roster.self;
  }

  /** 0 when healthy, up to awarenessMax - 1. */
  get healthScore(): number {
    return this.#awareness.score;
  }

  /** Everybody known in order of id: this node, and dead and left members too. */
  members(): MemberRecord[] {
    const others = Array.from(this.#view.all(), ({ record }) => record);
    return [this.self, ...others].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  member(id: NodeId): MemberRecord | undefined {
    return id === this.self.id ? this.self : this.#view.get(id)?.record;
  }

  /** The `count` alive or suspect members nearest to `key` by XOR distance; the local node is not among them. */
  nearest(key: NodeId, count: number): MemberRecord[] {
    return this.#view.nearest(key, count).map(({ record }) => record);
  }

  step(input: MembershipInput, now: Instant): readonly MembershipEffect[] {
    this.#noticeOwnPause(now);
    this.#take(input, now);
    if (this.#phase !== "idle") this.#tick(now);
    return this.#outbox.take();
  }

  deadline(): Instant | undefined {
    if (this.#phase === "idle" || this.#phase === "left") return undefined;
    const hasPresent = this.#view.presentCount > 0;
    const earliest = Math.min(
      this.#queue.size > 0 && hasPresent ? this.#gossipAt : Infinity,
      this.#phase === "leaving" ? this.#leftBy : Infinity,
      this.#phase === "running" ? this.#runningDeadline() : Infinity,
    );
    return earliest === Infinity ? undefined : earliest;
  }

  #runningDeadline(): Instant {
    return Math.min(
      this.#prober.deadline() ?? Infinity,
      this.#roster.deadline() ?? Infinity,
      this.#view.presentCount > 0 ? this.#pushPullAt : Infinity,
      this.#roster.hasDead ? this.#reconnectAt : Infinity,
      this.#seeds.size > 0 ? this.#joinAt : Infinity,
    );
  }

  #take(input: MembershipInput, now: Instant): void {
    switch (input.kind) {
      case "timeout":
        return;
      case "start":
        return this.#start(now);
      case "join":
        for (const address of input.addresses) {
          if (!this.self.addresses.includes(address)) this.#seeds.add(address);
        }
        this.#joinAt = now;
        return;
      case "leave":
        if (this.#phase !== "running") return;
        this.#phase = "leaving";
        this.#leftBy = now + this.#options.leaveTimeoutMs;
        this.#seeds.clear();
        return this.#roster.announceLeave();
      case "update-meta":
        return this.#roster.announceMeta(input.meta);
      case "datagram":
        return this.#takeDatagram(input.from, input.message, now);
      case "push-pull-request":
      case "push-pull-response":
        return this.#takeState(input, now);
      case "stream-probe-result":
        return this.#prober.onStreamProbeResult(input.member, input.outcome);
      default:
        return unreachable(input);
    }
  }

  #start(now: Instant): void {
    if (this.#phase === "running") return;
    if (this.#phase !== "idle") this.#roster.announceReturn();
    this.#phase = "running";
    this.#prober.start(now);
    this.#schedulePushPull(now);
    this.#reconnectAt = now + this.#options.reconnectIntervalMs;
  }

  /** M6: what expired while this very node stood still says nothing about others (departure from Lifeguard). */
  #noticeOwnPause(now: Instant): void {
    const deadline = this.deadline();
    if (deadline === undefined || now - deadline <= this.#options.lateWakeMs) return;
    const lateMs = now - deadline;
    this.#awareness.adjust(1);
    this.#roster.extendSuspicions(lateMs);
    this.#prober.restart(now);
    this.#outbox.event({ kind: "self-paused", lateMs });
  }

  #takeDatagram(from: string, message: Message, now: Instant): void {
    if (message.from.id === this.self.id) {
      this.#outbox.event({ kind: "message-rejected", from, reason: "it claims to come from this node" });
      return;
    }
    // Before the answer is composed, so that an ack already carries the refutation.
    for (const update of message.updates) {
      const hasReturned = this.#roster.apply(update, now);
      if (hasReturned && update.kind === "alive" && update.record.id === message.from.id) {
        this.#extraPushPull(message.from.address, message.from.id, now);
      }
    }
    const isStranger = this.#view.get(message.from.id) === undefined;
    if (isStranger && this.#phase === "running") {
      this.#extraPushPull(message.from.address, message.from.id, now);
    }
    this.#answer(from, message, now);
  }

  #answer(from: string, message: Message, now: Instant): void {
    switch (message.kind) {
      case "ping":
        if (message.target !== this.self.id) {
          this.#outbox.event({ kind: "message-rejected", from, reason: "a ping for another member" });
          return;
        }
        return this.#mailer.send(from, message.from.id, { kind: "ack", sequence: message.sequence });
      case "ack":
        return this.#prober.onAck(message.sequence);
      case "nack":
        return this.#prober.onNack(message.sequence);
      case "ping-req":
        return this.#prober.onPingRequest(message, { id: message.from.id, address: from }, now);
      case "gossip":
        return;
      default:
        return unreachable(message);
    }
  }

  #takeState(
    input: Extract<MembershipInput, { readonly kind: "push-pull-request" | "push-pull-response" }>,
    now: Instant,
  ): void {
    if (input.state.from.id === this.self.id) {
      const { address } = input.state.from;
      this.#outbox.event({
        kind: "message-rejected",
        from: address,
        reason: "it claims to come from this node",
      });
    } else {
      const notices = this.#roster.applyState(input.state, now);
      for (const { member, update } of notices) {
        this.#mailer.send(member.addresses[0] ?? "", member.id, { kind: "gossip" }, update);
      }
      if (input.kind === "push-pull-response") this.#seeds.clear();
    }
    if (input.kind === "push-pull-request") {
      const state = this.#roster.fullState(now);
      this.#outbox.push({ kind: "push-pull-reply", requestId: input.requestId, state });
    }
  }

  #tick(now: Instant): void {
    if (this.#phase === "running") {
      this.#prober.tick(now, true);
      this.#roster.expire(now);
      this.#join(now);
      this.#exchangeState(now);
      this.#reconnect(now);
      this.#settle(now);
    }
    this.#gossip(now);
    if (
      this.#phase === "leaving" &&
      (now >= this.#leftBy || this.#queue.size === 0 || this.#view.presentCount === 0)
    ) {
      this.#phase = "left";
      this.#outbox.event({ kind: "self-left" });
    }
  }

  #gossip(now: Instant): void {
    if (this.#queue.size === 0 || now < this.#gossipAt || this.#view.presentCount === 0) return;
    this.#gossipAt = now + this.#options.gossipIntervalMs;
    for (const { record } of this.#view.draw(this.#options.gossipFanout, isPresent)) {
      this.#mailer.send(record.addresses[0] ?? "", record.id, { kind: "gossip" });
    }
  }

  #join(now: Instant): void {
    if (this.#seeds.size === 0 || now < this.#joinAt) return;
    this.#joinAt = now + this.#options.joinRetryMs;
    for (const address of this.#seeds) this.#pushPull(address, undefined, now);
  }

  #exchangeState(now: Instant): void {
    if (now < this.#pushPullAt || this.#view.presentCount === 0) return;
    this.#schedulePushPull(now);
    const [member] = this.#view.draw(1, ({ record }) => record.status === "alive");
    if (member !== undefined) this.#pushPull(member.record.addresses[0] ?? "", member.record.id, now);
  }

  /** Departure: a small fleet exchanges state soon after someone came or went, for whoever the gossip missed. */
  #settle(now: Instant): void {
    if (!this.#roster.takeTurnover() || this.#view.presentCount >= SETTLE_MEMBERS) return;
    const soon = now + this.#options.settleMs * (0.5 + this.#rng.next());
    this.#pushPullAt = Math.min(this.#pushPullAt, soon);
  }

  #schedulePushPull(now: Instant): void {
    const intervalMs = pushPullIntervalMs(this.#options.pushPullIntervalMs, this.#view.presentCount + 1);
    this.#pushPullAt = now + intervalMs * (0.75 + this.#rng.next() / 2);
  }

  #reconnect(now: Instant): void {
    if (now < this.#reconnectAt || !this.#roster.hasDead) return;
    this.#reconnectAt = now + this.#options.reconnectIntervalMs;
    const [member] = this.#view.draw(1, ({ record }) => record.status === "dead");
    if (member === undefined) return;
    const { addresses, id } = member.record;
    this.#prober.call(addresses[this.#rng.int(addresses.length)] ?? "", id);
  }

  #extraPushPull(address: string, member: NodeId, now: Instant): void {
    if (now < this.#extraPushPullAt) return;
    this.#extraPushPullAt = now + EXTRA_PUSH_PULL_MS;
    this.#pushPull(address, member, now);
  }

  #pushPull(to: string, member: NodeId | undefined, now: Instant): void {
    this.#outbox.push({ kind: "push-pull", to, member, state: this.#roster.fullState(now) });
  }
}
