/**
 * All that this node sends to one peer: the connection it dialled, or the dialling of it.
 *
 * A connection that stops answering for about a second is set aside: what waits on it keeps waiting, everything new goes to a
 * fresh connection. While a machine is silent, knocks by datagram tell when it is back, because a TCP connect that
 * began earlier sleeps through the return.
 */
import type { NodeId } from "../../model/ids.ts";
import { TransportError, type Address, type Duplex } from "../../ports/transport.ts";
import { ClientSession, postQueueBytesMax, type Answer } from "./client-session.ts";
import type { Connection } from "./connection.ts";
import { DialRound } from "./dial-round.ts";
import type { DialEvents, DialFailure } from "./dial.ts";
import { frameTypes } from "./frames.ts";

export interface PeerLinkPorts {
  dial(address: Address, events: DialEvents): () => void;
  knock(addresses: readonly Address[]): void;
}

/** Dialling that takes longer means a machine that is silent. */
const overdueMs = 1_000;
const knockMs = 200;
/** Without any answer to knocks, dialling is tried again all the same: datagrams may be filtered. */
const silentRedialMs = 10_000;
const backoffMinMs = 50;
const backoffMaxMs = 1_000;
const idleMs = 60_000;
const quietStreamMs = 4_000;

interface Waiter {
  begin(session: ClientSession): void;
  fail(failure: DialFailure): void;
}

export class PeerLink {
  readonly #ports: PeerLinkPorts;
  readonly #peer: NodeId;
  #addresses: readonly Address[] = [];
  #session: ClientSession | undefined;
  readonly #aside = new Set<ClientSession>();
  readonly #rounds = new Set<DialRound>();
  readonly #waiters = new Set<Waiter>();
  #posts: { readonly channel: string; readonly payload: Uint8Array }[] = [];
  #postBytes = 0;
  #isSilent = false;
  #overdue: ReturnType<typeof setTimeout> | undefined;
  #knocking: ReturnType<typeof setTimeout> | undefined;
  #lastDialMs = -Infinity;
  #backoffMs = 0;
  #usedAtMs = performance.now();
  #isClosed = false;

  constructor(ports: PeerLinkPorts, peer: NodeId) {
    this.#ports = ports;
    this.#peer = peer;
  }

  /** Dropped when the queue is full, while the machine is silent, and for a moment after a refusal. */
  post(addresses: readonly Address[], channel: string, payload: Uint8Array): void {
    this.#use(addresses);
    if (this.#session !== undefined) {
      this.#session.post(channel, payload);
      return;
    }
    if (this.#isSilent) {
      this.#knockSoon();
      return;
    }
    if (this.#rounds.size === 0 && performance.now() - this.#lastDialMs < this.#backoffMs) return;
    if (this.#postBytes + payload.byteLength <= postQueueBytesMax || this.#posts.length === 0) {
      this.#posts.push({ channel, payload });
      this.#postBytes += payload.byteLength;
    }
    this.#dial();
  }

  call(
    addresses: readonly Address[],
    method: string,
    payload: Uint8Array,
    timeoutMs: number,
  ): Promise<Uint8Array> {
    return this.#ask<Uint8Array>(addresses, timeoutMs, (session, answer) =>
      session.call(method, payload, answer),
    );
  }

  open(
    addresses: readonly Address[],
    method: string,
    header: Uint8Array,
    timeoutMs: number,
  ): Promise<Duplex> {
    return this.#ask<Duplex>(addresses, timeoutMs, (session, answer) => session.open(method, header, answer));
  }

  /** The peer was heard from by other ways: it is there. */
  heard(): void {
    if (!this.#isSilent) return;
    this.#isSilent = false;
    clearTimeout(this.#knocking);
    this.#knocking = undefined;
    if (this.#waiters.size > 0 || performance.now() - this.#usedAtMs < overdueMs) this.#dial();
  }

  /** Housekeeping, every few seconds. True when nothing of this link is left to keep. */
  sweep(nowMs: number): boolean {
    const session = this.#session;
    if (session !== undefined) {
      if (session.hasStreams && nowMs - session.connection.heardAtMs > quietStreamMs)
        session.connection.check();
      if (!session.isBusy && nowMs - session.connection.usedAtMs > idleMs) session.connection.close("idle");
    }
    for (const old of this.#aside) if (!old.isBusy) old.connection.close("replaced");
    const isIdle =
      this.#session === undefined && this.#rounds.size + this.#aside.size + this.#waiters.size === 0;
    return isIdle && nowMs - this.#usedAtMs > idleMs;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#overdue);
    clearTimeout(this.#knocking);
    for (const round of this.#rounds) round.cancel();
    this.#rounds.clear();
    const sessions = this.#session === undefined ? [...this.#aside] : [this.#session, ...this.#aside];
    for (const session of sessions) {
      session.fail(new TransportError("the transport is closed", { code: "closed" }));
      session.connection.close("the transport is closed");
    }
    this.#failWaiters({ kind: "unreachable", detail: "the transport is closed" });
  }

  #use(addresses: readonly Address[]): void {
    this.#usedAtMs = performance.now();
    this.#addresses = addresses;
  }

  #ask<T>(
    addresses: readonly Address[],
    timeoutMs: number,
    ask: (session: ClientSession, answer: Answer<T>) => () => void,
  ): Promise<T> {
    this.#use(addresses);
    return new Promise<T>((resolve, reject) => {
      let forget: () => void = () => undefined;
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter);
        forget();
        reject(
          new TransportError(`no answer within ${Math.round(timeoutMs)} ms`, {
            code: "timeout",
            peer: this.#peer,
            timeoutMs,
          }),
        );
      }, timeoutMs);
      const answer: Answer<T> = {
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const waiter: Waiter = {
        begin: (session) => {
          forget = ask(session, answer);
        },
        fail: (failure) => answer.reject(this.#errorOf(failure)),
      };
      if (this.#session !== undefined) {
        waiter.begin(this.#session);
        return;
      }
      this.#waiters.add(waiter);
      if (this.#isSilent) this.#knockSoon();
      else this.#dial();
    });
  }

  #dial(): void {
    if (this.#isClosed || this.#session !== undefined) return;
    if (this.#rounds.size > 0 && performance.now() - this.#lastDialMs < overdueMs) return;
    this.#lastDialMs = performance.now();
    const round: DialRound = new DialRound(
      {
        dial: (address, events) => this.#ports.dial(address, events),
        connected: (connection) => this.#adopt(connection),
        failed: (failure) => this.#roundFailed(round, failure),
      },
      this.#addresses,
    );
    this.#rounds.add(round);
    clearTimeout(this.#overdue);
    this.#overdue = setTimeout(() => this.#becomeSilent(), overdueMs);
    round.start();
  }

  #adopt(connection: Connection): void {
    for (const round of this.#rounds) round.cancel();
    this.#rounds.clear();
    clearTimeout(this.#overdue);
    clearTimeout(this.#knocking);
    this.#knocking = undefined;
    this.#isSilent = false;
    this.#backoffMs = 0;
    const session = new ClientSession(connection, this.#peer);
    this.#session = session;
    connection.become({
      message: (message) => session.message(message),
      silent: () => this.#setAside(session),
      awake: () => this.#takeBack(session),
      closed: (reason) => this.#lost(session, reason),
    });
    connection.send("urgent", frameTypes.bind, 0, new Uint8Array());
    for (const { channel, payload } of this.#posts) session.post(channel, payload);
    this.#dropPosts();
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const waiter of waiters) waiter.begin(session);
  }

  #setAside(session: ClientSession): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    this.#aside.add(session);
  }

  /** It answers again, and nothing newer has taken its place. */
  #takeBack(session: ClientSession): void {
    if (this.#session !== undefined || !this.#aside.delete(session)) return;
    this.#session = session;
    this.#isSilent = false;
    for (const round of this.#rounds) round.cancel();
    this.#rounds.clear();
    clearTimeout(this.#overdue);
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const waiter of waiters) waiter.begin(session);
  }

  #lost(session: ClientSession, reason: string): void {
    if (this.#session === session) this.#session = undefined;
    this.#aside.delete(session);
    session.fail(
      new TransportError(`the connection broke: ${reason}`, { code: "unreachable", peer: this.#peer }),
    );
  }

  #roundFailed(round: DialRound, failure: DialFailure): void {
    this.#rounds.delete(round);
    if (this.#rounds.size > 0) return;
    clearTimeout(this.#overdue);
    this.#backoffMs = Math.min(backoffMaxMs, Math.max(backoffMinMs, this.#backoffMs * 2));
    this.#dropPosts();
    // From a silent machine a late error tells nothing; from one that refuses it tells that the agent is away.
    if (failure.kind !== "unreachable") this.#isSilent = false;
    this.#failWaiters(failure);
  }

  #becomeSilent(): void {
    if (this.#session !== undefined) return;
    this.#isSilent = true;
    this.#dropPosts();
    this.#knockSoon();
  }

  /** One knock now and then, for as long as somebody wants something. */
  #knockSoon(): void {
    if (this.#knocking !== undefined || this.#isClosed) return;
    this.#ports.knock(this.#addresses);
    if (performance.now() - this.#lastDialMs > silentRedialMs) this.#dial();
    this.#knocking = setTimeout(() => {
      this.#knocking = undefined;
      if (this.#isSilent && this.#waiters.size > 0) this.#knockSoon();
    }, knockMs);
  }

  #dropPosts(): void {
    this.#posts = [];
    this.#postBytes = 0;
  }

  #failWaiters(failure: DialFailure): void {
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const waiter of waiters) waiter.fail(failure);
  }

  #errorOf(failure: DialFailure): TransportError {
    const peer = this.#peer;
    if (this.#isClosed) return new TransportError("the transport is closed", { code: "closed" });
    switch (failure.kind) {
      case "refused":
        return new TransportError(`the machine refused: ${failure.detail}`, { code: "refused", peer });
      case "stranger":
        return new TransportError(`whoever answers is not the peer: ${failure.detail}`, {
          code: "identity",
          peer,
          detail: failure.detail,
        });
      case "unreachable":
        return new TransportError(`the peer cannot be reached: ${failure.detail}`, {
          code: "unreachable",
          peer,
        });
    }
  }
}
