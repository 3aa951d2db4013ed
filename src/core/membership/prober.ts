/**
 * Failure detection (SWIM 3.1, Lifeguard 4.1). One member per period: a direct ping; when that stays
 * unanswered, pings through other members and a stream probe together; at the end of the period a verdict.
 * The relay's half, pinging for others, is here too.
 */
import type { NodeId } from "../../model/ids.ts";
import type { Instant } from "../machine.ts";
import type { Rng } from "../rng.ts";
import type { Awareness } from "./awareness.ts";
import type { Mailer } from "./mailer.ts";
import type { MembershipOptions } from "./options.ts";
import type { MessageBody, Outbox, StreamProbeOutcome } from "./protocol.ts";
import type { Roster } from "./roster.ts";
import type { View } from "./view.ts";

/** Pings made for others at a time; requests past it go unanswered, which the asker takes as our ill health. */
const RELAYS_MAX = 256;
/** A nack leaves after this share of the asker's ping timeout, to arrive before the asker's verdict. */
const NACK_SHARE = 0.8;
/** A stream probe ends after this share of the rest of the period, so that its report comes before the verdict. */
const STREAM_SHARE = 0.8;

interface Probe {
  readonly id: NodeId;
  readonly incarnation: number;
  readonly sequence: number;
  readonly pingEndsAt: Instant;
  readonly endsAt: Instant;
  stage: "direct" | "indirect";
  relays: number;
  nacks: number;
  stream: Exclude<StreamProbeOutcome, "answered"> | "pending";
}

interface Relay {
  readonly askerAddress: string;
  readonly asker: NodeId;
  readonly askerSequence: number;
  readonly nackAt: Instant;
}

export interface ProberParts {
  readonly view: View;
  readonly roster: Roster;
  readonly awareness: Awareness;
  readonly mailer: Mailer;
  readonly outbox: Outbox;
  readonly rng: Rng;
}

export class Prober {
  readonly #parts: ProberParts;
  readonly #options: MembershipOptions;
  readonly #relays = new Map<number, Relay>();
  #probe: Probe | undefined;
  #nextAt: Instant = 0;
  #sequence: number;

  constructor(parts: ProberParts, options: MembershipOptions) {
    this.#parts = parts;
    this.#options = options;
    // An ack meant for an earlier life of this node must not count for this one.
    this.#sequence = parts.rng.int(0x8000_0000);
  }

  /** Nodes started together must not probe in step, so the first probe waits a random part of a period. */
  start(now: Instant): void {
    this.#probe = undefined;
    this.#nextAt = now + this.#parts.rng.int(this.#options.probeIntervalMs);
  }

  /** Forgets what was being timed: after a pause of this node nothing that expired means anything. */
  restart(now: Instant): void {
    if (this.#probe !== undefined) this.#parts.view.probeSoon(this.#probe.id);
    this.#probe = undefined;
    this.#relays.clear();
    this.#nextAt = now;
  }

  deadline(): Instant | undefined {
    let earliest = Infinity;
    if (this.#probe !== undefined) {
      earliest = this.#probe.stage === "direct" ? this.#probe.pingEndsAt : this.#probe.endsAt;
    } else if (this.#parts.view.presentCount > 0) earliest = this.#nextAt;
    for (const relay of this.#relays.values()) earliest = Math.min(earliest, relay.nackAt);
    return earliest === Infinity ? undefined : earliest;
  }

  /** Does whatever is due; starts new probes only while `isProbing`. */
  tick(now: Instant, isProbing: boolean): void {
    this.#nackOverdue(now);
    const probe = this.#probe;
    if (probe !== undefined) {
      if (probe.stage === "direct" && now >= probe.pingEndsAt) this.#widen(probe);
      if (now >= probe.endsAt) this.#conclude(probe, now);
    }
    if (this.#probe === undefined && isProbing && now >= this.#nextAt) this.#begin(now);
  }

  /** A ping that no verdict hangs on, to tell a member taken for dead that it can come back. */
  call(address: string, id: NodeId): void {
    this.#parts.mailer.send(address, id, { kind: "ping", target: id, sequence: this.#nextSequence() });
  }

  onAck(sequence: number): void {
    const relay = this.#relays.get(sequence);
    if (relay !== undefined) {
      this.#relays.delete(sequence);
      this.#parts.mailer.send(relay.askerAddress, relay.asker, {
        kind: "ack",
        sequence: relay.askerSequence,
      });
    } else if (this.#probe?.sequence === sequence) this.#succeed();
  }

  onNack(sequence: number): void {
    if (this.#probe?.sequence === sequence) this.#probe.nacks += 1;
  }

  onPingRequest(
    request: Extract<MessageBody, { readonly kind: "ping-req" }>,
    asker: { readonly id: NodeId; readonly address: string },
    now: Instant,
  ): void {
    if (this.#relays.size >= RELAYS_MAX) return;
    const sequence = this.#nextSequence();
    this.#relays.set(sequence, {
      asker: asker.id,
      askerAddress: asker.address,
      askerSequence: request.sequence,
      nackAt: now + request.pingTimeoutMs * NACK_SHARE,
    });
    this.#parts.mailer.send(request.targetAddress, request.target, {
      kind: "ping",
      target: request.target,
      sequence,
    });
  }

  onStreamProbeResult(member: NodeId, outcome: StreamProbeOutcome): void {
    if (this.#probe?.id !== member) return;
    if (outcome === "answered") this.#succeed();
    // A connection that was taken proves a living machine, whatever became of it afterwards.
    else if (this.#probe.stream === "pending" || outcome !== "timeout") this.#probe.stream = outcome;
  }

  #begin(now: Instant): void {
    const { view, awareness, mailer } = this.#parts;
    const periodMs = awareness.scaled(this.#options.probeIntervalMs);
    this.#nextAt = now + periodMs;
    const member = view.nextProbed();
    if (member === undefined) return;
    const { id, incarnation, addresses } = member.record;
    const sequence = this.#nextSequence();
    this.#probe = {
      id,
      incarnation,
      sequence,
      pingEndsAt: now + awareness.scaled(this.#options.pingTimeoutMs),
      endsAt: now + periodMs,
      stage: "direct",
      relays: 0,
      nacks: 0,
      stream: "pending",
    };
    mailer.send(addresses[0] ?? "", id, { kind: "ping", target: id, sequence });
  }

  #widen(probe: Probe): void {
    const { view, outbox, mailer } = this.#parts;
    probe.stage = "indirect";
    const target = view.get(probe.id)?.record;
    if (target === undefined) return;
    const relays = view.draw(
      this.#options.indirectProbes,
      ({ record }) => record.status === "alive" && record.id !== probe.id,
    );
    probe.relays = relays.length;
    const request = {
      kind: "ping-req",
      target: probe.id,
      targetAddress: target.addresses[0] ?? "",
      sequence: probe.sequence,
      pingTimeoutMs: this.#options.pingTimeoutMs,
    } as const;
    for (const { record } of relays) mailer.send(record.addresses[0] ?? "", record.id, request);
    const timeoutMs = Math.max(1, Math.floor((probe.endsAt - probe.pingEndsAt) * STREAM_SHARE));
    outbox.push({ kind: "stream-probe", member: probe.id, addresses: target.addresses, timeoutMs });
  }

  #conclude(probe: Probe, now: Instant): void {
    this.#probe = undefined;
    const { awareness, roster } = this.#parts;
    // Relays that did not even say no hint at our own trouble; with none to ask, any failure does (Lifeguard 4.1).
    awareness.adjust(probe.relays === 0 ? 1 : Math.max(0, probe.relays - probe.nacks));
    const hasAnsweringMachine = probe.stream === "refused" || probe.stream === "accepted";
    roster.accuse(
      { id: probe.id, incarnation: probe.incarnation },
      hasAnsweringMachine ? "refused" : "timeout",
      now,
    );
  }

  #succeed(): void {
    this.#probe = undefined;
    this.#parts.awareness.adjust(-1);
  }

  #nackOverdue(now: Instant): void {
    for (const [sequence, relay] of this.#relays) {
      if (now < relay.nackAt) continue;
      this.#relays.delete(sequence);
      this.#parts.mailer.send(relay.askerAddress, relay.asker, {
        kind: "nack",
        sequence: relay.askerSequence,
      });
    }
  }

  #nextSequence(): number {
    this.#sequence = (this.#sequence + 1) % 0x1_0000_0000;
    return this.#sequence;
  }
}
