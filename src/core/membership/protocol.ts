/** What goes into and comes out of the membership machine: inputs, effects, events and messages. */
import type { NodeId } from "../../model/ids.ts";
import type { MemberMeta, MemberRecord } from "../../model/member.ts";

/** `timeout`: nothing answered. `refused`: the machine answers and its agent does not, so it gets a grace. */
export type SuspicionReason = "timeout" | "refused";

/** One piece of gossip. */
export type Update =
  | { readonly kind: "alive"; readonly record: MemberRecord }
  | {
      readonly kind: "suspect";
      readonly id: NodeId;
      readonly incarnation: number;
      /** The member whose own probe failed. */
      readonly accuser: NodeId;
      /** Orders what was seen of one incarnation; even means timeout, odd means refused (see suspicion.ts). */
      readonly evidence: number;
    }
  | {
      readonly kind: "dead";
      readonly id: NodeId;
      readonly incarnation: number;
      readonly accuser: NodeId;
      readonly evidence: number;
    }
  | { readonly kind: "left"; readonly id: NodeId; readonly incarnation: number };

/** The sender of a datagram and where to answer. */
export interface Sender {
  readonly id: NodeId;
  readonly address: string;
}

/** What a datagram says, apart from gossip. */
export type MessageBody =
  | { readonly kind: "ping"; readonly target: NodeId; readonly sequence: number }
  | { readonly kind: "ack"; readonly sequence: number }
  | { readonly kind: "nack"; readonly sequence: number }
  /** Asks the receiver to ping `target` and to pass the ack on, or to say in time that there was none. */
  | {
      readonly kind: "ping-req";
      readonly target: NodeId;
      readonly targetAddress: string;
      readonly sequence: number;
      /** The asker's ping timeout, which the relay uses so that its nack comes before the asker's verdict. */
      readonly pingTimeoutMs: number;
    }
  | { readonly kind: "gossip" };

/** A datagram. Every one may carry gossip. */
export type Message = MessageBody & { readonly from: Sender; readonly updates: readonly Update[] };

/** Full state, exchanged over a stream. */
export interface FullState {
  readonly from: Sender;
  readonly members: readonly {
    readonly record: MemberRecord;
    /** Of a suspect or dead member: what it was suspected on. */
    readonly evidence: number;
    /** Of a dead or left member: for how long, so that all forget it at about the same time. */
    readonly goneForMs: number;
  }[];
}

/**
 * What the stream said. `accepted`: the machine took the connection and the agent said nothing, as when it is frozen or
 * starved; it counts as refused. It may be reported at once and followed by `answered`, or when the time is up.
 */
export type StreamProbeOutcome = "answered" | "accepted" | "refused" | "timeout";

export type MembershipInput =
  | { readonly kind: "start" }
  | { readonly kind: "timeout" }
  | { readonly kind: "datagram"; readonly from: string; readonly message: Message }
  /** Another member's state; answered by exactly one `push-pull-reply` effect with the same requestId. */
  | { readonly kind: "push-pull-request"; readonly requestId: number; readonly state: FullState }
  | { readonly kind: "push-pull-response"; readonly state: FullState }
  | { readonly kind: "stream-probe-result"; readonly member: NodeId; readonly outcome: StreamProbeOutcome }
  | { readonly kind: "join"; readonly addresses: readonly string[] }
  | { readonly kind: "leave" }
  | { readonly kind: "update-meta"; readonly meta: MemberMeta };

export type MembershipEffect =
  /** One datagram, best effort. */
  | {
      readonly kind: "send";
      readonly to: string;
      readonly member: NodeId | undefined;
      readonly message: Message;
    }
  /** Call the peer with `state`; its answer comes back as `push-pull-response`. A failed call needs no report. */
  | {
      readonly kind: "push-pull";
      readonly to: string;
      readonly member: NodeId | undefined;
      readonly state: FullState;
    }
  | { readonly kind: "push-pull-reply"; readonly requestId: number; readonly state: FullState }
  /** Connect anew to the member and report what happened within `timeoutMs`; no report counts as timeout. */
  | {
      readonly kind: "stream-probe";
      readonly member: NodeId;
      readonly addresses: readonly string[];
      readonly timeoutMs: number;
    }
  | { readonly kind: "event"; readonly event: MembershipEvent };

/** Past-tense facts for the layers above, the log and the API. Never about the local node unless it says so. */
export type MembershipEvent =
  /** Unknown before, or back from dead or left. */
  | { readonly kind: "member-joined"; readonly member: MemberRecord }
  | { readonly kind: "member-updated"; readonly member: MemberRecord }
  | {
      readonly kind: "member-suspected";
      readonly member: MemberRecord;
      readonly accuser: NodeId;
      readonly isOwnProbe: boolean;
    }
  /** Suspect, with a machine that answers: it has until refusedGraceMs have passed. */
  | {
      readonly kind: "member-refused";
      readonly member: MemberRecord;
      readonly accuser: NodeId;
      readonly graceMs: number;
    }
  /** A suspect proved that it lives. */
  | { readonly kind: "member-refuted"; readonly member: MemberRecord; readonly suspectedForMs: number }
  | { readonly kind: "member-dead"; readonly member: MemberRecord; readonly detection: Detection }
  | { readonly kind: "member-left"; readonly member: MemberRecord }
  | { readonly kind: "member-forgotten"; readonly member: MemberRecord }
  /** The local node heard that it is suspected or dead, and raised its incarnation. */
  | { readonly kind: "self-refuted"; readonly incarnation: number; readonly accuser: NodeId | undefined }
  /** The local node was paused for `lateMs` and restarted what it was timing. */
  | { readonly kind: "self-paused"; readonly lateMs: number }
  /** The goodbye was sent often enough; the process may end. */
  | { readonly kind: "self-left" }
  /** A datagram or state that makes no sense; dropped. */
  | { readonly kind: "message-rejected"; readonly from: string; readonly reason: string };

/** How a death was found out. */
export interface Detection {
  readonly reason: SuspicionReason;
  /** Who declared it: the local node, or the member whose word arrived first. */
  readonly accuser: NodeId;
  readonly isOwnVerdict: boolean;
  /** Members whose own probes failed, as far as known here. */
  readonly accusers: number;
  /** From the first suspicion heard here to the verdict; 0 when the verdict came first. */
  readonly suspectedForMs: number;
}

/** Collects the effects of one step in order. */
export class Outbox {
  #effects: MembershipEffect[] = [];

  push(effect: MembershipEffect): void {
    this.#effects.push(effect);
  }

  event(event: MembershipEvent): void {
    this.#effects.push({ kind: "event", event });
  }

  take(): readonly MembershipEffect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }
}
