/**
 * How a node talks to other nodes of its fleet. Four ways, from cheapest to richest:
 * datagrams (gossip), posts (ordered one-way messages, for consensus), calls (request and answer),
 * and open streams (logs, exec, requests passed on).
 *
 * Life cycle: constructed with the node's identity, `start` binds the addresses and hands in the
 * handlers, `close` ends everything. Peers are authenticated before any handler sees them: `from` is
 * the node id that the peer proved to own, in this fleet. A datagram proves membership of the fleet, not which node sent it.
 *
 * Posts to one peer on one channel arrive in order, each at most once, and may be dropped (no connection, full
 * queue, peer gone): consensus retries by itself. Calls reject with TransportError; a call that timed out may
 * have been carried out. Every queue is bounded.
 */
import type { NodeId } from "../model/ids.ts";

/** `host:port`, or `[v6]:port`. The same port number serves datagrams and streams. */
export type Address = string;

/** Where to reach a peer: its id, so that nobody else answers in its place, and its addresses, best first. */
export interface PeerAddress {
  readonly id: NodeId;
  readonly addresses: readonly Address[];
}

/** Both ends of an open stream: chunks either way, half-close, abort. */
export interface Duplex {
  /** Chunks from the other end, until it finishes; throws TransportError when the stream breaks. */
  readonly incoming: AsyncIterable<Uint8Array>;
  /** Resolves when there is room for more; rejects when the stream broke. */
  write(chunk: Uint8Array): Promise<void>;
  /** No more chunks from this end. */
  finish(): Promise<void>;
  /** Ends both directions at once; harmless when already ended. */
  abort(): void;
}

export interface TransportHandlers {
  datagram(from: Address, payload: Uint8Array): void;
  post(from: NodeId, channel: string, payload: Uint8Array): void;
  /** The answer, or a throw: then the caller gets TransportError `remote` with the message. */
  call(from: NodeId, method: string, payload: Uint8Array): Promise<Uint8Array>;
  open(from: NodeId, method: string, header: Uint8Array, stream: Duplex): void;
}

/** The agent answered; the machine took the connection and its agent was silent; the machine refused; or nothing came back. */
export type ProbeOutcome = "answered" | "accepted" | "refused" | "timeout";

export interface Transport {
  start(handlers: TransportHandlers): Promise<void>;
  /** Where others reach this node, as bound. */
  addresses(): readonly Address[];
  /** Best effort, at most `datagramBytesMax` bytes of payload. */
  datagram(to: Address, payload: Uint8Array): void;
  post(to: PeerAddress, channel: string, payload: Uint8Array): void;
  call(
    to: PeerAddress,
    method: string,
    payload: Uint8Array,
    options: { readonly timeoutMs: number },
  ): Promise<Uint8Array>;
  open(
    to: PeerAddress,
    method: string,
    header: Uint8Array,
    options: { readonly timeoutMs: number },
  ): Promise<Duplex>;
  /** Connects anew, to tell a dead machine from a dead agent. Never rejects. */
  probe(to: PeerAddress, options: { readonly timeoutMs: number }): Promise<ProbeOutcome>;
  close(): Promise<void>;
}

export const datagramBytesMax = 1_200;
/** Largest payload of a post, a call, its answer, or one stream chunk. */
export const frameBytesMax = 16 * 1024 * 1024;

export type TransportErrorInfo =
  | { readonly code: "unreachable"; readonly peer: NodeId }
  | { readonly code: "refused"; readonly peer: NodeId }
  | {
      readonly code: "timeout";
      readonly peer: NodeId;
      readonly timeoutMs: number;
    }
  /** The peer answered with an error; `detail` is its message. */
  | { readonly code: "remote"; readonly peer: NodeId; readonly detail: string }
  /** Whoever answers there is not that node, or not of this fleet. */
  | {
      readonly code: "identity";
      readonly peer: NodeId;
      readonly detail: string;
    }
  | {
      readonly code: "too-large";
      readonly bytes: number;
      readonly bytesMax: number;
    }
  | { readonly code: "closed" };

export class TransportError extends Error {
  override readonly name = "TransportError";
  readonly info: TransportErrorInfo;
  constructor(message: string, info: TransportErrorInfo, options?: { cause?: unknown }) {
    super(message, options);
    this.info = info;
  }
}
