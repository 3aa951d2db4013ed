/**
 * The transport between real machines: TLS 1.3 with both ends proved for connections, sealed datagrams beside them, on
 * one port number. What a payload holds must not change after it was handed over.
 */
import { networkInterfaces } from "node:os";
import type { X509Certificate } from "node:crypto";
import { assert, defined } from "../../model/assert.ts";
import type { NodeId } from "../../model/ids.ts";
import type { Logger } from "../../ports/logger.ts";
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
import { Acceptor, type JoinHandler } from "./acceptor.ts";
import { formatAddress, isIpv6, isWildcard, parseAddress } from "./address.ts";
import { DatagramOpener, DatagramSealer } from "./datagram-seal.ts";
import { DatagramSockets } from "./datagram-sockets.ts";
import { dial, type DialEvents } from "./dial.ts";
import { FleetRoot, tlsOptions, type TlsIdentity } from "./peer-check.ts";
import { PeerLink } from "./peer-link.ts";

export interface TlsTransportPorts {
  readonly logger: Logger;
  /** Answers guests that ask to join; undefined turns them away. */
  readonly join: JoinHandler | undefined;
}

export interface TlsTransportOptions {
  readonly identity: TlsIdentity;
  /** Numeric hosts; port 0 takes a free one. */
  readonly listen: readonly Address[];
  /** What `addresses` answers instead of the bound ones; empty: as bound, a wildcard as the machine's addresses. */
  readonly advertise: readonly Address[];
}

const sweepMs = 1_000;
const sweepsPerLinkSweep = 4;
const helloMs = 10_000;
const bindTriesMax = 20;

export class TlsTransport implements Transport {
  readonly #ports: TlsTransportPorts;
  readonly #options: TlsTransportOptions;
  readonly #root: FleetRoot;
  readonly #sealer: DatagramSealer;
  readonly #opener: DatagramOpener;
  readonly #datagrams: DatagramSockets;
  readonly #links = new Map<NodeId, PeerLink>();
  #acceptor: Acceptor | undefined;
  #handlers: TransportHandlers | undefined;
  #bound: Address[] = [];
  #sweeping: ReturnType<typeof setInterval> | undefined;
  #sweeps = 0;

  constructor(ports: TlsTransportPorts, options: TlsTransportOptions) {
    this.#ports = ports;
    this.#options = options;
    const { id, rootPem, datagramKey } = options.identity;
    this.#root = new FleetRoot(rootPem);
    this.#sealer = new DatagramSealer({ sender: id, fleetKey: datagramKey, bootMs: Date.now() });
    this.#opener = new DatagramOpener({ fleetKey: datagramKey });
    this.#datagrams = new DatagramSockets({ received: (from, bytes) => this.#received(from, bytes) });
  }

  /** Throws the system's error when an address is taken; then nothing stays bound. */
  async start(handlers: TransportHandlers): Promise<void> {
    assert(this.#acceptor === undefined, "a transport starts once");
    this.#handlers = handlers;
    const acceptor = new Acceptor(
      {
        logger: this.#ports.logger,
        handlers,
        join: this.#ports.join,
        memberSeen: (id) => this.#links.get(id)?.heard(),
      },
      { identity: this.#options.identity, root: this.#root },
    );
    this.#acceptor = acceptor;
    try {
      for (const address of this.#options.listen) {
        const { host, port } = defined(
          parseAddress(address),
          `a listening address host:port, not ${address}`,
        );
        this.#bound.push(formatAddress(host, await this.#bind(acceptor, host, port)));
      }
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#sweeping = setInterval(() => this.#sweep(), sweepMs);
    this.#sweeping.unref();
  }

  addresses(): readonly Address[] {
    return this.#options.advertise.length > 0
      ? this.#options.advertise
      : this.#bound.flatMap((bound) => reachableAt(bound));
  }

  datagram(to: Address, payload: Uint8Array): void {
    if (payload.byteLength > datagramBytesMax) throw tooLarge(payload.byteLength, datagramBytesMax);
    if (this.#handlers !== undefined) this.#datagrams.send(to, this.#sealer.seal("payload", payload));
  }

  post(to: PeerAddress, channel: string, payload: Uint8Array): void {
    if (payload.byteLength > frameBytesMax) throw tooLarge(payload.byteLength, frameBytesMax);
    if (this.#handlers !== undefined) this.#link(to.id).post(to.addresses, channel, payload);
  }

  async call(
    to: PeerAddress,
    method: string,
    payload: Uint8Array,
    options: { readonly timeoutMs: number },
  ): Promise<Uint8Array> {
    this.#check(payload);
    return this.#link(to.id).call(to.addresses, method, payload, options.timeoutMs);
  }

  async open(
    to: PeerAddress,
    method: string,
    header: Uint8Array,
    options: { readonly timeoutMs: number },
  ): Promise<Duplex> {
    this.#check(header);
    return this.#link(to.id).open(to.addresses, method, header, options.timeoutMs);
  }

  /** A stranger at the peer's address counts as no answer: the peer itself gave none. */
  probe(to: PeerAddress, options: { readonly timeoutMs: number }): Promise<ProbeOutcome> {
    return new Promise((resolve) => {
      let left = to.addresses.length;
      let isRefused = false;
      const accepted = new Set<Address>();
      const cancels: (() => void)[] = [];
      const end = (outcome: ProbeOutcome): void => {
        clearTimeout(timer);
        for (const cancel of cancels) cancel();
        resolve(outcome);
      };
      const verdict = (): ProbeOutcome =>
        accepted.size > 0 ? "accepted" : isRefused ? "refused" : "timeout";
      const timer = setTimeout(() => end(verdict()), options.timeoutMs);
      for (const address of to.addresses)
        cancels.push(
          this.#dial(to.id, address, {
            accepted: () => void accepted.add(address),
            connected: (connection) => {
              connection.close("a probe");
              end("answered");
            },
            failed: ({ kind }) => {
              left -= 1;
              accepted.delete(address);
              isRefused ||= kind === "refused";
              if (left === 0 && isRefused) end("refused");
            },
          }),
        );
    });
  }

  async close(): Promise<void> {
    this.#handlers = undefined;
    clearInterval(this.#sweeping);
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
    this.#acceptor?.close();
    this.#datagrams.close();
  }

  /** TCP picks or takes the port, UDP follows; a port free in one only is tried again when the choice was free. */
  async #bind(acceptor: Acceptor, host: string, port: number): Promise<number> {
    for (let tries = 1; ; tries++) {
      const taken = acceptor.listen(host, port);
      try {
        await this.#datagrams.bind(host, taken);
        return taken;
      } catch (error) {
        acceptor.unlisten(taken);
        if (port !== 0 || tries === bindTriesMax) throw error;
      }
    }
  }

  #dial(peer: NodeId, address: Address, events: DialEvents): () => void {
    return dial(
      {
        address,
        tls: tlsOptions(this.#options.identity),
        fault: (certificate, isAuthorized) => this.#faultOf(peer, certificate, isAuthorized),
        helloMs,
        expectsHello: true,
        messageBytesMax: 1_024,
      },
      events,
    );
  }

  #faultOf(peer: NodeId, certificate: X509Certificate, isAuthorized: boolean): string | undefined {
    const verdict = this.#root.memberOf(certificate, Date.now());
    if ("fault" in verdict) return verdict.fault;
    if (!isAuthorized) return "its certificate does not verify";
    return verdict.id === peer ? undefined : `it is node ${verdict.id}`;
  }

  #link(peer: NodeId): PeerLink {
    const known = this.#links.get(peer);
    if (known !== undefined) return known;
    const link = new PeerLink(
      {
        dial: (address, events) => this.#dial(peer, address, events),
        knock: (addresses) => {
          for (const address of addresses)
            this.#datagrams.send(address, this.#sealer.seal("knock", new Uint8Array()));
        },
      },
      peer,
    );
    this.#links.set(peer, link);
    return link;
  }

  #received(from: Address, bytes: Uint8Array): void {
    const handlers = this.#handlers;
    const opened = handlers === undefined ? undefined : this.#opener.open(bytes, performance.now());
    if (opened === undefined) return;
    this.#links.get(opened.sender)?.heard();
    if (opened.kind === "knock") this.#datagrams.send(from, this.#sealer.seal("answer", new Uint8Array()));
    if (opened.kind !== "payload") return;
    try {
      handlers?.datagram(from, opened.payload);
    } catch (error) {
      this.#ports.logger.error("a transport handler threw", { handler: "datagram", error: String(error) });
    }
  }

  #sweep(): void {
    this.#acceptor?.refillJoins();
    this.#sweeps += 1;
    if (this.#sweeps % sweepsPerLinkSweep !== 0) return;
    const nowMs = performance.now();
    this.#acceptor?.sweep(nowMs);
    for (const [peer, link] of this.#links) {
      if (!link.sweep(nowMs)) continue;
      link.close();
      this.#links.delete(peer);
    }
  }

  #check(payload: Uint8Array): void {
    if (this.#handlers === undefined) throw new TransportError("the transport is closed", { code: "closed" });
    if (payload.byteLength > frameBytesMax) throw tooLarge(payload.byteLength, frameBytesMax);
  }
}

/** A wildcard becomes the addresses of the machine's interfaces, loopback only when there is nothing else. */
export function reachableAt(bound: Address): Address[] {
  const parsed = parseAddress(bound);
  if (parsed === undefined || !isWildcard(parsed.host)) return [bound];
  const all = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    // An IPv4 wildcard is IPv4 only; link-local addresses mean nothing elsewhere, and every node with replicas
    // has the same ones, as their gateway.
    .filter(
      ({ address }) => (parsed.host === "::" || !isIpv6(address)) && !/^(fe80:|169\.254\.)/.test(address),
    );
  const outside = all.filter(({ internal }) => !internal);
  return (outside.length > 0 ? outside : all).map(({ address }) => formatAddress(address, parsed.port));
}

function tooLarge(bytes: number, bytesMax: number): TransportError {
  return new TransportError("the payload is too large", { code: "too-large", bytes, bytesMax });
}
