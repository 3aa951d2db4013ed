/** One attempt to reach one address: TCP, TLS, who is it, hello. */
import type { X509Certificate } from "node:crypto";
import type { Address } from "../../ports/transport.ts";
import { parseAddress } from "./address.ts";
import { Connection, type ConnectionEvents } from "./connection.ts";
import { decodeText, frameTypes, type Message } from "./frames.ts";
import { certificateName } from "./peer-check.ts";
import { isTrueRefusal } from "./refusal-check.ts";

export interface DialFailure {
  /** `refused`: the machine said no. `stranger`: somebody answers, but not the one dialled. `unreachable`: all else. */
  readonly kind: "refused" | "stranger" | "unreachable";
  readonly detail: string;
}

export interface DialOptions {
  readonly address: Address;
  readonly tls: Bun.TLSOptions;
  /** Why the certificate of the other end will not do; undefined when it is the one wanted. */
  readonly fault: (certificate: X509Certificate, isAuthorized: boolean) => string | undefined;
  /** From connected to hello, milliseconds. */
  readonly helloMs: number;
  /** Whether to wait for a hello; one who is no member yet gets none. */
  readonly expectsHello: boolean;
  /** Bound on messages until `become`. */
  readonly messageBytesMax: number;
}

export interface DialEvents {
  /** The machine took the connection; whether somebody speaks on it is not known yet. */
  accepted?(): void;
  /** Connected and checked. The receiver owns the connection and calls `become` at once. */
  connected(connection: Connection): void;
  failed(failure: DialFailure): void;
}

/** Highest and lowest version of the frame protocol spoken here. */
export const protocolVersions: readonly [min: number, max: number] = [1, 1];

/** Starts dialling; exactly one event follows unless the returned function gives the attempt up first. */
export function dial(options: DialOptions, events: DialEvents): () => void {
  const beganMs = performance.now();
  let isOver = false;
  let socket: Bun.Socket<undefined> | undefined;
  let connection: Connection | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const end = (): boolean => {
    if (isOver) return false;
    isOver = true;
    clearTimeout(timer);
    return true;
  };
  const fail = (kind: DialFailure["kind"], detail: string): void => {
    if (!end()) return;
    socket?.terminate();
    events.failed({ kind, detail });
  };
  const ready = (): void => {
    if (connection !== undefined && end()) events.connected(connection);
  };
  const target = parseAddress(options.address);
  if (target === undefined) {
    queueMicrotask(() => fail("unreachable", `${options.address} is not an address`));
    return end;
  }
  const greeting: ConnectionEvents = {
    message: (message) => greet(message, ready, fail),
    silent: () => undefined,
    awake: () => undefined,
    closed: (reason) => fail("refused", reason),
  };
  Bun.connect<undefined>({
    hostname: target.host,
    port: target.port,
    tls: { ...options.tls, serverName: certificateName },
    socket: {
      open: (opened) => {
        socket = opened;
        if (isOver) {
          opened.terminate();
          return;
        }
        events.accepted?.();
        opened.setNoDelay(true);
        timer = setTimeout(() => fail("unreachable", "connected, but no hello came"), options.helloMs);
      },
      handshake: (shaken, _, error) => {
        if (isOver) return;
        if (error !== null && error !== undefined && shaken.getPeerX509Certificate() === undefined) {
          fail("refused", `TLS failed: ${error.message}`);
          return;
        }
        const fault = options.fault(shaken.getPeerX509Certificate(), shaken.authorized);
        if (fault !== undefined) {
          fail("stranger", fault);
          return;
        }
        connection = new Connection(shaken, greeting, options.messageBytesMax);
        if (!options.expectsHello) ready();
      },
      data: (from, bytes) => (connection === undefined ? from.terminate() : connection.received(bytes)),
      drain: () => connection?.drained(),
      close: () => {
        connection?.lost("the peer closed the connection");
        fail("refused", "the peer closed the connection");
      },
      error: (broken) => {
        broken.terminate();
      },
      connectError: () => undefined,
    },
  }).catch(async (error: unknown) => {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    const isRefused =
      code === "ECONNREFUSED" &&
      !isOver &&
      (await isTrueRefusal(options.address, performance.now() - beganMs));
    fail(isRefused ? "refused" : "unreachable", isRefused ? "connection refused" : `no way there (${code})`);
  });
  return () => {
    if (end()) socket?.terminate();
  };
}

function greet(
  message: Message,
  ready: () => void,
  fail: (kind: DialFailure["kind"], detail: string) => void,
): void {
  if (message.type === frameTypes.refuse) {
    fail("stranger", `the peer refused: ${decodeText(message.body)}`);
    return;
  }
  const [min, max] = message.body;
  if (message.type !== frameTypes.hello || min === undefined || max === undefined) {
    fail("stranger", "the peer did not say hello");
    return;
  }
  if (min > protocolVersions[1] || max < protocolVersions[0])
    fail(
      "stranger",
      `the peer speaks protocol versions ${min} to ${max}, this node ${protocolVersions.join(" to ")}`,
    );
  else ready();
}
