/** A transport inside one process, for the simulator and for tests. Calls time out on the network's clock only. */
import { assert } from "../../model/assert.ts";
import type { NodeId } from "../../model/ids.ts";
import {
  TransportError,
  datagramBytesMax,
  frameBytesMax,
  type Address,
  type Duplex,
  type PeerAddress,
  type ProbeOutcome,
  type Transport,
  type TransportHandlers,
} from "../../ports/transport.ts";
import type { Host, Link, MemoryNetwork } from "./memory-network.ts";
import { StreamEnd, type StreamSignal } from "./stream-end.ts";

/** A call, an open or a probe that waits for its end. */
interface Pending {
  readonly peer: NodeId;
  /** The transport that the request went to. */
  remote?: MemoryTransport;
  fail(error: TransportError): void;
}

export class MemoryTransport implements Transport {
  readonly #network: MemoryNetwork;
  readonly #id: NodeId;
  readonly #addresses: readonly Address[];
  #host: Host | undefined;
  #handlers: TransportHandlers | undefined;
  readonly #pending = new Set<Pending>();
  readonly #streams = new Map<StreamEnd, { readonly peer: NodeId; readonly remote: MemoryTransport }>();

  constructor(
    network: MemoryNetwork,
    options: { readonly id: NodeId; readonly addresses: readonly Address[] },
  ) {
    this.#network = network;
    this.#id = options.id;
    this.#addresses = options.addresses;
  }

  async start(handlers: TransportHandlers): Promise<void> {
    assert(this.#host === undefined, "a transport starts once");
    this.#host = this.#network.attach(this, this.#id, this.#addresses);
    this.#handlers = handlers;
  }

  addresses(): readonly Address[] {
    return this.#addresses;
  }

  datagram(to: Address, payload: Uint8Array): void {
    refuseOver(payload, datagramBytesMax);
    const host = this.#live();
    const target = this.#network.hostAt(to);
    if (host === undefined || target === undefined || target.state !== "up") return;
    const link = this.#network.linkFrom(host, target.id);
    if (link.isCut) return;
    const from = host.addresses[0] ?? "";
    const copy = payload.slice();
    link.loosely(() => {
      if (!link.isCut) target.transport?.handlers?.datagram(from, copy);
    });
  }

  post(to: PeerAddress, channel: string, payload: Uint8Array): void {
    refuseOver(payload, frameBytesMax);
    const host = this.#live();
    if (host === undefined) return;
    const route = this.#network.route(host, to);
    if (route.kind !== "up" || route.link.roll(route.link.effective.loss)) return;
    const target = route.host.transport;
    const copy = payload.slice();
    route.link.inOrder(() => {
      if (!route.link.isCut) target?.handlers?.post(this.#id, channel, copy);
    });
  }

  call(
    to: PeerAddress,
    method: string,
    payload: Uint8Array,
    options: { readonly timeoutMs: number },
  ): Promise<Uint8Array> {
    const copy = payload.slice();
    return this.#exchange<Uint8Array>(to, payload, options.timeoutMs, (target, back, settle) => {
      const answer = (act: () => void): void =>
        back.inOrder(() => (back.isCut || target.handlers === undefined ? undefined : act()));
      const handlers = target.handlers;
      if (handlers === undefined) return;
      handlers.call(this.#id, method, copy).then(
        (result) => answer(() => settle.resolve(result.slice())),
        (error: unknown) => answer(() => settle.fail(remoteError(to.id, error))),
      );
    });
  }

  open(
    to: PeerAddress,
    method: string,
    header: Uint8Array,
    options: { readonly timeoutMs: number },
  ): Promise<Duplex> {
    const copy = header.slice();
    return this.#exchange<Duplex>(to, header, options.timeoutMs, (target, back, settle) => {
      const forth = this.#linkTo(to.id);
      const here: StreamEnd = this.#streamEnd(target, to.id, forth, (signal) => there.receive(signal));
      const there: StreamEnd = target.#streamEnd(this, this.#id, back, (signal) => here.receive(signal));
      back.inOrder(() => {
        if (!back.isCut) settle.resolve(here);
      });
      target.handlers?.open(this.#id, method, copy, there);
    });
  }

  async probe(to: PeerAddress, options: { readonly timeoutMs: number }): Promise<ProbeOutcome> {
    try {
      await this.#exchange<undefined>(to, undefined, options.timeoutMs, (_, back, settle) => {
        back.inOrder(() => {
          if (!back.isCut) settle.resolve(undefined);
        });
      });
      return "answered";
    } catch (error) {
      return error instanceof TransportError && error.info.code === "refused" ? "refused" : "timeout";
    }
  }

  async close(): Promise<void> {
    if (this.#live() !== undefined) this.#network.crashAgent(this.#id);
  }

  /** For the network: undefined once dead. */
  get handlers(): TransportHandlers | undefined {
    return this.#handlers;
  }

  /** For the network: nothing goes in or out from here on. */
  die(): void {
    this.#handlers = undefined;
    const closed = new TransportError("the transport is closed", { code: "closed" });
    for (const pending of [...this.#pending]) pending.fail(closed);
    for (const stream of [...this.#streams.keys()]) stream.fail(closed);
  }

  /** For the network: the peer's connections were reset. */
  peerReset(peer: NodeId): void {
    const error = new TransportError("the connection was reset", { code: "unreachable", peer });
    for (const pending of [...this.#pending]) if (isCarriedOutBy(pending, peer)) pending.fail(error);
    this.#breakStreams((stream) => stream.peer === peer && stream.remote.handlers === undefined, error);
  }

  /** For the network: breaks streams whose other end cannot be reached. */
  breakDeadStreams(): void {
    this.#breakStreams(
      ({ peer, remote }) => remote.handlers === undefined || !this.#network.isConnected(this.#id, peer),
    );
  }

  #breakStreams(
    isBroken: (stream: { readonly peer: NodeId; readonly remote: MemoryTransport }) => boolean,
    error?: TransportError,
  ): void {
    for (const [end, stream] of [...this.#streams])
      if (isBroken(stream))
        end.fail(
          error ?? new TransportError("the peer does not answer", { code: "unreachable", peer: stream.peer }),
        );
  }

  /** Sends a request along the route and settles by answer, refusal, reset, close or timeout, whichever is first. */
  #exchange<T>(
    to: PeerAddress,
    payload: Uint8Array | undefined,
    timeoutMs: number,
    arrive: (
      target: MemoryTransport,
      back: Link,
      settle: { resolve(value: T): void; fail(error: TransportError): void },
    ) => void,
  ): Promise<T> {
    const host = this.#live();
    if (host === undefined)
      return Promise.reject(new TransportError("the transport is closed", { code: "closed" }));
    if (payload !== undefined && payload.byteLength > frameBytesMax)
      return Promise.reject(tooLarge(payload.byteLength, frameBytesMax));
    const { clock } = this.#network.ports;
    return new Promise<T>((resolve, reject) => {
      const pending: Pending = {
        peer: to.id,
        fail: (error) => {
          if (settled()) reject(error);
        },
      };
      const cancelTimer = clock.at(clock.now() + timeoutMs, () =>
        pending.fail(
          new TransportError(`no answer within ${Math.round(timeoutMs)} ms`, {
            code: "timeout",
            peer: to.id,
            timeoutMs,
          }),
        ),
      );
      const settled = (): boolean => {
        cancelTimer();
        return this.#pending.delete(pending);
      };
      this.#pending.add(pending);
      const route = this.#network.route(host, to);
      if (route.kind === "silent") return;
      if (route.kind !== "up") {
        const error = refusal(route.kind, to.id);
        route.link.inOrder(() => route.link.inOrder(() => pending.fail(error)));
        return;
      }
      const target = route.host.transport;
      if (target !== undefined) pending.remote = target;
      route.link.inOrder(() => {
        if (route.link.isCut || target?.handlers === undefined) return;
        arrive(target, this.#network.linkFrom(route.host, this.#id), {
          resolve: (value) => {
            if (settled()) resolve(value);
          },
          fail: pending.fail,
        });
      });
    });
  }

  #streamEnd(
    remote: MemoryTransport,
    peer: NodeId,
    link: Link,
    deliver: (signal: StreamSignal) => void,
  ): StreamEnd {
    const transmit = (signal: StreamSignal): void => {
      link.inOrder(() => {
        if (!link.isCut && this.#network.isConnected(this.#id, peer)) deliver(signal);
      });
    };
    const end: StreamEnd = new StreamEnd({
      send: (signal) => {
        if (this.#handlers === undefined) return;
        transmit(signal.kind === "data" ? { kind: "data", chunk: signal.chunk.slice() } : signal);
      },
      ended: () => this.#streams.delete(end),
    });
    this.#streams.set(end, { peer, remote });
    return end;
  }

  #linkTo(peer: NodeId): Link {
    assert(this.#host !== undefined, "the transport is started");
    return this.#network.linkFrom(this.#host, peer);
  }

  #live(): Host | undefined {
    return this.#handlers === undefined ? undefined : this.#host;
  }
}

/** Whether the peer that died held the request; its successor's answers are not awaited in vain. */
function isCarriedOutBy(pending: Pending, peer: NodeId): boolean {
  return pending.peer === peer && pending.remote !== undefined && pending.remote.handlers === undefined;
}

function refuseOver(payload: Uint8Array, bytesMax: number): void {
  if (payload.byteLength > bytesMax) throw tooLarge(payload.byteLength, bytesMax);
}

function tooLarge(bytes: number, bytesMax: number): TransportError {
  return new TransportError("the payload is too large", { code: "too-large", bytes, bytesMax });
}

function remoteError(peer: NodeId, error: unknown): TransportError {
  const detail = error instanceof Error ? error.message : String(error);
  return new TransportError(`the peer answered with an error: ${detail}`, { code: "remote", peer, detail });
}

function refusal(kind: "refused" | "stranger", peer: NodeId): TransportError {
  return kind === "refused"
    ? new TransportError("the machine refused the connection", { code: "refused", peer })
    : new TransportError("another node answers there", {
        code: "identity",
        peer,
        detail: "another node answers there",
      });
}
