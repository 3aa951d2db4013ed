/**
 * Calls between nodes with typed bodies. A call to this very node takes the same path without the
 * network, so that nobody has to ask which of the two it is.
 */
import type * as v from "valibot";
import type { NodeId } from "../model/ids.ts";
import type { Clock } from "../ports/clock.ts";
import { TransportError, type Duplex, type PeerAddress, type Transport } from "../ports/transport.ts";
import { decodeAs, encode } from "../wire/codec.ts";
import { within } from "./within.ts";

type Handler = (from: NodeId, payload: Uint8Array) => Promise<Uint8Array>;
type StreamHandler = (from: NodeId, header: Uint8Array, stream: Duplex) => void;

export interface PeersPorts {
  readonly transport: Transport;
  readonly clock: Clock;
  /** Where a node is, as membership knows it. */
  readonly locate: (id: NodeId) => PeerAddress | undefined;
}

/** What is sent is only read. */
type Frozen<T> = T extends Uint8Array
  ? Uint8Array
  : T extends readonly (infer Item)[]
    ? readonly Frozen<Item>[]
    : T extends object
      ? { readonly [Key in keyof T]: Frozen<T[Key]> }
      : T;

/** A method's name and the schemas of its bodies. */
export interface Method<Request extends v.GenericSchema, Response extends v.GenericSchema> {
  readonly name: string;
  readonly request: Request;
  readonly response: Response;
}

export class Peers {
  readonly #ports: PeersPorts;
  readonly self: NodeId;
  readonly #handlers = new Map<string, Handler>();
  readonly #streams = new Map<string, StreamHandler>();

  constructor(ports: PeersPorts, options: { readonly self: NodeId }) {
    this.#ports = ports;
    this.self = options.self;
  }

  handle<Q extends v.GenericSchema, R extends v.GenericSchema>(
    method: Method<Q, R>,
    handler: (
      from: NodeId,
      request: v.InferOutput<Q>,
    ) => Promise<Frozen<v.InferInput<R>>> | Frozen<v.InferInput<R>>,
  ): void {
    this.#handlers.set(method.name, async (from, payload) =>
      encode(await handler(from, decodeAs(method.request, payload))),
    );
  }

  handleRaw(name: string, handler: Handler): void {
    this.#handlers.set(name, handler);
  }

  handleStream(name: string, handler: StreamHandler): void {
    this.#streams.set(name, handler);
  }

  /** Rejects with TransportError, or WireError when the answer makes no sense. */
  async call<Q extends v.GenericSchema, R extends v.GenericSchema>(
    to: NodeId,
    method: Method<Q, R>,
    request: Frozen<v.InferInput<Q>>,
    timeoutMs: number,
  ): Promise<v.InferOutput<R>> {
    const payload = encode(request);
    const answer =
      to === this.self
        ? await this.#callSelf(method.name, payload, timeoutMs)
        : await this.#ports.transport.call(this.#locate(to), method.name, payload, { timeoutMs });
    return decodeAs(method.response, answer);
  }

  /** A node whose disk stands still must not keep its own caller waiting either. */
  async #callSelf(method: string, payload: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    const info = { code: "timeout", peer: this.self, timeoutMs } as const;
    const late = () => new TransportError(`no answer within ${Math.round(timeoutMs)} ms`, info);
    return within(this.#ports.clock, timeoutMs, this.receive(this.self, method, payload), late);
  }

  async open(to: NodeId, name: string, header: unknown, timeoutMs: number): Promise<Duplex> {
    return this.#ports.transport.open(this.#locate(to), name, encode(header), { timeoutMs });
  }

  post(to: NodeId, channel: string, message: unknown): void {
    const peer = this.#ports.locate(to);
    if (peer !== undefined) this.#ports.transport.post(peer, channel, encode(message));
  }

  async receive(from: NodeId, method: string, payload: Uint8Array): Promise<Uint8Array> {
    const handler = this.#handlers.get(method);
    if (handler === undefined) throw new Error(`no such method: ${method}`);
    return handler(from, payload);
  }

  receiveStream(from: NodeId, method: string, header: Uint8Array, stream: Duplex): void {
    const handler = this.#streams.get(method);
    if (handler === undefined) stream.abort();
    else handler(from, header, stream);
  }

  #locate(to: NodeId): PeerAddress {
    const peer = this.#ports.locate(to);
    if (peer === undefined) {
      throw new TransportError(`node ${to.slice(0, 8)} is not known here`, { code: "unreachable", peer: to });
    }
    return peer;
  }
}
