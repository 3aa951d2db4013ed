/**
 * The listening side: TLS, who is it, and then a session for members or one request for guests.
 *
 * A guest shows no certificate of this fleet. It may send one bounded `join` message and nothing else.
 */
import type { X509Certificate } from "node:crypto";
import type { NodeId } from "../../model/ids.ts";
import type { Logger } from "../../ports/logger.ts";
import { TransportError, type Address, type TransportHandlers } from "../../ports/transport.ts";
import { formatAddress } from "./address.ts";
import { Connection, type ConnectionEvents } from "./connection.ts";
import { protocolVersions } from "./dial.ts";
import { encodeText, frameTypes } from "./frames.ts";
import { tlsOptions, type FleetRoot, type TlsIdentity } from "./peer-check.ts";
import { ServerSession } from "./server-session.ts";

/** Answers a guest that asks to join; a throw is told to the guest as text. */
export type JoinHandler = (request: Uint8Array, from: Address) => Promise<Uint8Array>;

export interface AcceptorPorts {
  readonly logger: Logger;
  readonly handlers: TransportHandlers;
  readonly join: JoinHandler | undefined;
  /** A member's connection is in use: it is there. */
  memberSeen(id: NodeId): void;
}

/** Connections that have not shown a member's certificate yet. */
const strangersMax = 128;
const strangerMs = 5_000;
const joinsPerSecond = 10;
export const joinBytesMax = 8 * 1024;
const idleMs = 90_000;
const quietStreamMs = 4_000;

interface Accepted {
  connection: Connection | undefined;
  session: ServerSession | undefined;
  isStranger: boolean;
  deadline: ReturnType<typeof setTimeout> | undefined;
}

type AcceptedSocket = Bun.Socket<Accepted>;

export class Acceptor {
  readonly #ports: AcceptorPorts;
  readonly #identity: TlsIdentity;
  readonly #root: FleetRoot;
  readonly #listeners: Bun.TCPSocketListener<Accepted>[] = [];
  readonly #accepted = new Set<Accepted>();
  readonly #newest = new Map<NodeId, Connection>();
  #strangers = 0;
  #joinTokens = joinsPerSecond;

  constructor(ports: AcceptorPorts, options: { readonly identity: TlsIdentity; readonly root: FleetRoot }) {
    this.#ports = ports;
    this.#identity = options.identity;
    this.#root = options.root;
  }

  /** Connections open now, of members and strangers. */
  get size(): number {
    return this.#accepted.size;
  }

  /** Returns the port. Throws when the address is taken. */
  listen(host: string, port: number): number {
    const listener = Bun.listen<Accepted>({
      hostname: host,
      port,
      tls: tlsOptions(this.#identity),
      socket: {
        open: (socket) => this.#open(socket),
        handshake: (socket) => this.#handshake(socket),
        data: (socket, bytes) => {
          if (socket.data.connection === undefined) socket.terminate();
          else socket.data.connection.received(bytes);
        },
        drain: (socket) => socket.data.connection?.drained(),
        close: (socket) => this.#closed(socket.data),
        error: (socket, error) => {
          this.#ports.logger.debug("an accepted connection failed", { error: error.message });
          socket.terminate();
        },
      },
    });
    this.#listeners.push(listener);
    return listener.port;
  }

  /** Lets go of a port that `listen` returned. */
  unlisten(port: number): void {
    for (const listener of this.#listeners.filter((bound) => bound.port === port)) {
      listener.stop(true);
      this.#listeners.splice(this.#listeners.indexOf(listener), 1);
    }
  }

  sweep(nowMs: number): void {
    for (const { connection, session } of this.#accepted) {
      if (connection === undefined || session === undefined) continue;
      const quietMs = nowMs - connection.heardAtMs;
      if (session.hasStreams && quietMs > quietStreamMs) connection.check();
      if (!session.isBusy && quietMs > idleMs) connection.close("idle");
    }
  }

  /** A second passed. */
  refillJoins(): void {
    this.#joinTokens = joinsPerSecond;
  }

  close(): void {
    for (const listener of this.#listeners.splice(0)) listener.stop(true);
    for (const { connection, deadline } of [...this.#accepted]) {
      clearTimeout(deadline);
      connection?.close("the transport is closed");
    }
  }

  #open(socket: AcceptedSocket): void {
    const accepted: Accepted = {
      connection: undefined,
      session: undefined,
      isStranger: true,
      deadline: undefined,
    };
    socket.data = accepted;
    this.#accepted.add(accepted);
    this.#strangers += 1;
    if (this.#strangers > strangersMax) {
      socket.terminate();
      return;
    }
    socket.setNoDelay(true);
    accepted.deadline = setTimeout(() => socket.terminate(), strangerMs);
  }

  #handshake(socket: AcceptedSocket): void {
    const accepted = socket.data;
    const certificate: X509Certificate | undefined = socket.getPeerX509Certificate();
    if (certificate === undefined) {
      const guest = this.#guest(socket);
      accepted.connection = new Connection(socket, guest, joinBytesMax);
      // With it a guest can tell whether this is the fleet it was invited to, before it shows its invite.
      accepted.connection.send("urgent", frameTypes.root, 0, encodeText(this.#identity.rootPem));
      return;
    }
    const verdict = this.#root.memberOf(certificate, Date.now());
    if (!socket.authorized || "fault" in verdict) {
      const fault = "fault" in verdict ? verdict.fault : "its certificate does not verify";
      const refusing = new Connection(socket, this.#silentEvents(), joinBytesMax);
      refusing.send("urgent", frameTypes.refuse, 0, encodeText(fault));
      refusing.close("refused");
      return;
    }
    this.#admit(accepted, socket, verdict.id);
  }

  #admit(accepted: Accepted, socket: AcceptedSocket, peer: NodeId): void {
    this.#known(accepted);
    const connection: Connection = new Connection(socket, {
      message: (message) => session.message(message),
      silent: () => undefined,
      awake: () => undefined,
      closed: (reason) => {
        session.fail(new TransportError(`the connection broke: ${reason}`, { code: "unreachable", peer }));
        if (this.#newest.get(peer) === connection) this.#newest.delete(peer);
      },
    });
    const session: ServerSession = new ServerSession(
      {
        connection,
        handlers: this.#ports.handlers,
        logger: this.#ports.logger,
        isCurrent: () => this.#newest.get(peer) === connection,
        bound: () => {
          this.#newest.set(peer, connection);
          this.#ports.memberSeen(peer);
        },
      },
      { peer },
    );
    accepted.connection = connection;
    accepted.session = session;
    connection.send("urgent", frameTypes.hello, 0, new Uint8Array(protocolVersions));
  }

  #guest(socket: AcceptedSocket): ConnectionEvents {
    let hasAsked = false;
    return {
      ...this.#silentEvents(),
      message: (message) => {
        const { connection } = socket.data;
        if (
          connection === undefined ||
          hasAsked ||
          message.type !== frameTypes.join ||
          this.#ports.join === undefined
        ) {
          connection?.close("a guest may only ask to join");
          return;
        }
        hasAsked = true;
        void this.#join(this.#ports.join, connection, message.body, formatAddress(socket.remoteAddress, 0));
      },
    };
  }

  async #join(join: JoinHandler, connection: Connection, request: Uint8Array, from: Address): Promise<void> {
    try {
      if (this.#joinTokens <= 0) throw new Error("too many requests to join, try again in a second");
      this.#joinTokens -= 1;
      connection.send("urgent", frameTypes.joined, 0, await join(request, from));
    } catch (error) {
      this.#ports.logger.warn("a request to join was refused", { from, error: String(error) });
      connection.send(
        "urgent",
        frameTypes.refuse,
        0,
        encodeText(error instanceof Error ? error.message : String(error)),
      );
    }
  }

  #silentEvents(): ConnectionEvents {
    return {
      message: () => undefined,
      silent: () => undefined,
      awake: () => undefined,
      closed: () => undefined,
    };
  }

  #known(accepted: Accepted): void {
    if (accepted.isStranger) this.#strangers -= 1;
    accepted.isStranger = false;
    clearTimeout(accepted.deadline);
  }

  #closed(accepted: Accepted | undefined): void {
    if (accepted === undefined) return;
    this.#accepted.delete(accepted);
    this.#known(accepted);
    accepted.connection?.lost("the peer closed the connection");
  }
}
