/**
 * HTTP as registries need it: encrypted unless the registry is exempt, redirects followed by our own rules,
 * silence noticed, and failures that pass tried again.
 */
import { ImageError } from "../../../ports/image-store.ts";
import type { Clock } from "../../../ports/clock.ts";
import type { Entropy } from "../../../ports/entropy.ts";
import { isCertificateFailure, type RegistryCertificates } from "./registry-certificates.ts";

export interface RegistryHttpPorts {
  readonly certificates: RegistryCertificates;
  readonly clock: Clock;
  readonly entropy: Entropy;
}

export interface RegistryHttpOptions {
  /** `host:port` (or `host`) of registries spoken to without TLS. Loopback is always one of them. */
  readonly plainHttpRegistries: readonly string[];
  /** A request without a byte for so long is given up and tried again. */
  readonly stallTimeoutMs: number;
  readonly attemptsMax: number;
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
}

/** A failure that may pass: the network's, a busy or broken server's. */
export class TransientFailure extends Error {
  override readonly name = "TransientFailure";
  readonly retryAfterMs: number;
  constructor(detail: string, retryAfterMs = 0) {
    super(detail);
    this.retryAfterMs = retryAfterMs;
  }
}

export interface Exchange {
  readonly response: Response;
  /** The pieces of the body; silence for too long ends it with TransientFailure. */
  body(): AsyncGenerator<Uint8Array>;
}

export type HttpMethod = "GET" | "HEAD" | "POST" | "PUT" | "PATCH";

export interface HttpRequest {
  readonly method: HttpMethod;
  readonly headers: Readonly<Record<string, string>>;
  readonly authorization: string | undefined;
  readonly body?: Blob;
}

const redirectsMax = 5;
/** 64 KB a second: slower lines are taken for broken. */
const uploadBytesPerMsMin = 64;
const retryAfterMsMax = 30_000;

export class RegistryHttp {
  readonly #ports: RegistryHttpPorts;
  readonly #options: RegistryHttpOptions;

  constructor(ports: RegistryHttpPorts, options: RegistryHttpOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  /** The origin to speak to a registry at, such as `https://ghcr.io`. */
  originOf(registry: string): string {
    return `${this.#isPlain(registry) ? "http" : "https"}://${registry}`;
  }

  /**
   * Sends and hands the answer to `use`; the connection is given back when `use` is done. Credentials
   * (`authorization`) go to the origin of `url` only, never along a redirect to another.
   */
  async send<T>(
    url: string,
    request: HttpRequest & { readonly signal: AbortSignal },
    use: (exchange: Exchange) => Promise<T>,
  ): Promise<T> {
    // While a body is on its way nothing is heard: it has time as over a slow line.
    const sendingMs = (request.body?.size ?? 0) / uploadBytesPerMsMin;
    const timeoutMs = this.#options.stallTimeoutMs + sendingMs;
    const guard = new StallGuard(this.#ports.clock, timeoutMs, request.signal);
    try {
      const response = await this.#follow(url, request, guard);
      return await use({ response, body: () => readBody(response, guard) });
    } catch (error) {
      request.signal.throwIfAborted();
      throw asTransient(guard.stallFailure() ?? error, url);
    } finally {
      guard.close();
    }
  }

  /** Runs `attempt` until it succeeds, fails for good, or has been tried often enough. */
  async retry<T>(registry: string, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
    for (let count = 1; ; count += 1) {
      try {
        return await attempt();
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof TransientFailure)) throw error;
        if (count >= this.#options.attemptsMax)
          throw new ImageError(
            `the registry ${registry} cannot be reached: ${error.message} (tried ${count} times)`,
            { code: "registry-unreachable", registry, detail: error.message },
            { cause: error },
          );
        await this.#pause(Math.max(this.#jitteredMs(count), error.retryAfterMs), signal);
      }
    }
  }

  async #follow(url: string, request: HttpRequest, guard: StallGuard): Promise<Response> {
    let target = new URL(url);
    const { origin } = target;
    for (let hops = 0; hops <= redirectsMax; hops += 1) {
      const headers = new Headers(request.headers);
      // The digest is of the bytes as stored, so they must come as stored.
      headers.set("accept-encoding", "identity");
      if (request.authorization !== undefined && target.origin === origin)
        headers.set("authorization", request.authorization);
      const response = await this.#fetch(target, {
        method: request.method,
        headers,
        ...(request.body === undefined ? {} : { body: request.body }),
        redirect: "manual",
        decompress: false,
        signal: guard.signal,
      });
      guard.touch();
      const location = response.headers.get("location");
      const isRedirect = [301, 302, 303, 307, 308].includes(response.status);
      if (!isRedirect || location === null) return response;
      await response.body?.cancel();
      target = this.#redirectTarget(target, location);
    }
    throw new ImageError(`${target.host} redirects without end`, {
      code: "failed",
      detail: `more than ${redirectsMax} redirects`,
    });
  }

  /** Trusts what the machine trusts when the program's own roots do not do. */
  async #fetch(target: URL, init: BunFetchRequestInit): Promise<Response> {
    if (target.protocol !== "https:") return fetch(target.href, init);
    const { certificates } = this.#ports;
    const attempt = async (): Promise<Response> =>
      fetch(target.href, { ...init, tls: await certificates.tlsFor(target.host) });
    try {
      return await attempt();
    } catch (error) {
      if (!isCertificateFailure(error) || !(await certificates.widen(target.host))) throw error;
      return attempt();
    }
  }

  #redirectTarget(from: URL, location: string): URL {
    const refuse = (detail: string): never => {
      throw new ImageError(`${from.host} redirects to ${detail}`, {
        code: "failed",
        detail: `a redirect to ${detail}`,
      });
    };
    if (!URL.canParse(location, from.href)) return refuse("what is no address");
    const target = new URL(location, from.href);
    if (target.protocol !== "https:" && target.protocol !== "http:")
      return refuse(`a "${target.protocol}" address, which is not allowed`);
    if (from.protocol === "https:" && target.protocol === "http:")
      return refuse("an unencrypted address, which is not allowed");
    if (target.protocol === "http:" && !this.#isPlain(target.host)) throw plainHttpError(target.host);
    return target;
  }

  /** Whether a token server or registry at `url` may be spoken to. */
  isAllowed(url: URL): boolean {
    return url.protocol === "https:" || (url.protocol === "http:" && this.#isPlain(url.host));
  }

  #isPlain(host: string): boolean {
    return isLoopback(host) || this.#options.plainHttpRegistries.includes(host);
  }

  /** Full jitter: anything between nothing and the doubled bound, so that many nodes do not come back at once. */
  #jitteredMs(attempt: number): number {
    const { backoffBaseMs, backoffMaxMs } = this.#options;
    const bound = Math.min(backoffMaxMs, backoffBaseMs * 2 ** (attempt - 1));
    const [high = 0, low = 0] = this.#ports.entropy.bytes(2);
    return (bound * (high * 256 + low)) / 65_536;
  }

  #pause(delayMs: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#ports;
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = clock.at(clock.now() + delayMs, resolve);
    const stop = () => resolve();
    signal.addEventListener("abort", stop, { once: true });
    return promise.finally(() => {
      cancel();
      signal.removeEventListener("abort", stop);
      signal.throwIfAborted();
    });
  }
}

/** Aborts a request when nothing has been heard for a while, or when its owner gives up. */
class StallGuard {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #owner: AbortSignal;
  readonly #controller = new AbortController();
  readonly #onOwnerAbort = () => this.#controller.abort(this.#owner.reason);
  #cancelTimer: () => void;
  #heardAt: number;
  #isStalled = false;

  constructor(clock: Clock, timeoutMs: number, owner: AbortSignal) {
    owner.throwIfAborted();
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#owner = owner;
    owner.addEventListener("abort", this.#onOwnerAbort, { once: true });
    this.#heardAt = clock.now();
    this.#cancelTimer = this.#arm();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  touch(): void {
    this.#heardAt = this.#clock.now();
  }

  stallFailure(): TransientFailure | undefined {
    return this.#isStalled ? new TransientFailure(`silent for ${this.#timeoutMs / 1000} s`) : undefined;
  }

  close(): void {
    this.#cancelTimer();
    this.#owner.removeEventListener("abort", this.#onOwnerAbort);
    // Ends what `use` left unread.
    this.#controller.abort();
  }

  /** One timer at a time, moved on when it fires early: a timer per chunk would cost more than the chunk. */
  #arm(): () => void {
    return this.#clock.at(this.#heardAt + this.#timeoutMs, () => {
      if (this.#clock.now() - this.#heardAt < this.#timeoutMs) {
        this.#cancelTimer = this.#arm();
        return;
      }
      this.#isStalled = true;
      this.#controller.abort();
    });
  }
}

/** The whole body; throws `tooLong()` past `bytesMax`. */
export async function readAll(
  exchange: Exchange,
  bytesMax: number,
  tooLong: () => ImageError,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of exchange.body()) {
    length += chunk.length;
    if (length > bytesMax) throw tooLong();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function* readBody(response: Response, guard: StallGuard): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  for await (const chunk of response.body) {
    guard.touch();
    yield chunk;
    // The time its reader takes is not the server's silence.
    guard.touch();
  }
}

/** Errors of fetch carry a code; ours are passed on. */
function asTransient(error: unknown, url: string): unknown {
  if (error instanceof ImageError || error instanceof TransientFailure) return error;
  const code =
    error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
  if (code === undefined || /^E(NOSPC|DQUOT|ROFS|IO|ACCES|NOENT)$/.test(code)) return error;
  const { host, protocol } = new URL(url);
  if (code === "EPROTO" && protocol === "https:") return plainHttpError(host);
  if (isCertificateFailure(error) || code.startsWith("ERR_TLS"))
    return new ImageError(
      `the certificate of ${host} is not to be trusted (${code}); its authority's belongs into /etc/docker/certs.d/${host}/ca.crt`,
      { code: "registry-unreachable", registry: host, detail: code },
    );
  return new TransientFailure(`${host}: ${describeFetchCode(code)}`);
}

function describeFetchCode(code: string): string {
  const known: Readonly<Record<string, string>> = {
    ECONNREFUSED: "connection refused",
    ECONNRESET: "the connection was closed in the middle",
    ENOTFOUND: "no such host",
    ETIMEDOUT: "no answer",
  };
  return known[code] ?? code;
}

function plainHttpError(registry: string): ImageError {
  return new ImageError(
    `the registry ${registry} does not speak TLS; if that is meant, name it in plainHttpRegistries`,
    { code: "plain-http", registry },
  );
}

export function isLoopback(host: string): boolean {
  const name = host.replace(/:[0-9]+$/, "");
  return name === "localhost" || name === "[::1]" || /^127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$/.test(name);
}

/** Of a status that is not success: what passes is told from what does not. */
export function statusFailure(response: Response): TransientFailure | undefined {
  const { status } = response;
  if (status !== 429 && status !== 408 && status < 500) return undefined;
  const seconds = Number(response.headers.get("retry-after") ?? "0");
  const retryAfterMs = Number.isFinite(seconds) ? Math.min(retryAfterMsMax, Math.max(0, seconds * 1000)) : 0;
  const detail = status === 429 ? "too many requests (429)" : `it answered ${status}`;
  return new TransientFailure(detail, retryAfterMs);
}
