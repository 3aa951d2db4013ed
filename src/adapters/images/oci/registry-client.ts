/** Reads manifests and blobs from registries (OCI distribution-spec 1.1, pull), with anonymous or password login. */
import { ImageError } from "../../../ports/image-store.ts";
import * as v from "valibot";
import type { DockerCredentials } from "./credentials.ts";
import { acceptedTypes, badManifest, type Descriptor, manifestBytesMax } from "./manifest.ts";
import type { ImageReference } from "./reference.ts";
import { type Exchange, type RegistryHttp, statusFailure, TransientFailure } from "./registry-http.ts";

export interface RegistryClientPorts {
  readonly http: RegistryHttp;
  readonly credentials: DockerCredentials;
}

/** Where a blob goes. The registry client does not look at the bytes. */
export interface BlobSink {
  /** Bytes taken so far; a broken transfer goes on from here. */
  readonly received: number;
  /** Forgets all bytes: the transfer starts over. */
  restart(): Promise<void>;
  write(chunk: Uint8Array): Promise<void>;
}

const tokenSchema = v.object({
  token: v.optional(v.string()),
  access_token: v.optional(v.string()),
});
const tokenBytesMax = 1024 * 1024;

export class RegistryClient {
  readonly #http: RegistryHttp;
  readonly #credentials: DockerCredentials;
  /** By registry and repository; replaced when the registry asks again. */
  readonly #authorizations = new Map<string, string>();

  constructor(ports: RegistryClientPorts) {
    this.#http = ports.http;
    this.#credentials = ports.credentials;
  }

  /** A manifest or index by tag or digest, and the digest of what came. */
  async manifest(
    reference: ImageReference,
    version: string,
    signal: AbortSignal,
  ): Promise<{ readonly bytes: Uint8Array; readonly digest: string }> {
    const path = `manifests/${version}`;
    const headers = { accept: acceptedTypes };
    const text = reference.written;
    const request = { path, headers, signal };
    return this.#request(reference, request, async (exchange) => {
      requireSuccess(exchange.response, text);
      const bytes = await collect(exchange, manifestBytesMax, () =>
        badManifest(text, `its manifest is over ${manifestBytesMax} bytes`),
      );
      const digest = sha256(bytes);
      const claimed = exchange.response.headers.get("docker-content-digest");
      const expected = version.startsWith("sha256:") ? version : claimed;
      if (expected !== null && expected !== digest) throw digestMismatch(expected, digest);
      return { bytes, digest };
    });
  }

  /** The bytes of a blob into `sink`, never more than its descriptor declares. */
  async blob(
    reference: ImageReference,
    descriptor: Descriptor,
    sink: BlobSink,
    signal: AbortSignal,
  ): Promise<void> {
    const path = `blobs/${descriptor.digest}`;
    await this.#http.retry(reference.registry, signal, async () => {
      const from = sink.received;
      if (from > 0 && from === descriptor.size) return;
      const headers: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {};
      const request = { path, headers, signal };
      await this.#requestOnce(reference, request, async (exchange) => {
        if (exchange.response.status === 416) {
          await sink.restart();
          throw new TransientFailure("it cannot go on where it broke off");
        }
        requireSuccess(exchange.response, reference.written);
        const range = exchange.response.headers.get("content-range") ?? "";
        const continues = exchange.response.status === 206 && range.startsWith(`bytes ${from}-`);
        if (from > 0 && !continues) await sink.restart();
        for await (const chunk of exchange.body()) {
          if (sink.received + chunk.length > descriptor.size)
            throw digestMismatch(descriptor.digest, `more than the declared ${descriptor.size} bytes`);
          await sink.write(chunk);
        }
      });
    });
  }

  #request<T>(
    reference: ImageReference,
    request: RegistryRequest,
    use: (exchange: Exchange) => Promise<T>,
  ): Promise<T> {
    return this.#http.retry(reference.registry, request.signal, () =>
      this.#requestOnce(reference, request, use),
    );
  }

  /** Sends with what authorization there is; asked for another, gets it and sends once more. */
  async #requestOnce<T>(
    reference: ImageReference,
    request: RegistryRequest,
    use: (exchange: Exchange) => Promise<T>,
  ): Promise<T> {
    const { registry, repository } = reference;
    const scope = `${registry}/${repository}`;
    const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
    const url = `${this.#http.originOf(host)}/v2/${repository}/${request.path}`;
    const { headers, signal } = request;
    const send = (authorization: string | undefined, take: (exchange: Exchange) => Promise<T | Challenge>) =>
      this.#http.get(url, { headers, authorization, signal }, take);
    const first = await send(this.#authorizations.get(scope), async (exchange) =>
      exchange.response.status === 401
        ? new Challenge(exchange.response.headers.get("www-authenticate") ?? "")
        : use(exchange),
    );
    if (!(first instanceof Challenge)) return first;
    const authorization = await this.#authorize(reference, first, signal);
    this.#authorizations.set(scope, authorization);
    const second = await send(authorization, use);
    if (second instanceof Challenge) throw unauthorized(reference);
    return second;
  }

  async #authorize(reference: ImageReference, challenge: Challenge, signal: AbortSignal): Promise<string> {
    const basic = await this.#credentials.basicFor(reference.registry);
    if (challenge.scheme === "basic") {
      if (basic === undefined) throw unauthorized(reference);
      return basic;
    }
    const realm = challenge.parameters.get("realm") ?? "";
    if (challenge.scheme !== "bearer" || !URL.canParse(realm)) throw unauthorized(reference);
    const url = new URL(realm);
    if (!this.#http.isAllowed(url))
      throw new ImageError(
        `${reference.registry} wants a login at ${url.protocol}//${url.host}, which is not encrypted`,
        { code: "plain-http", registry: url.host },
      );
    const service = challenge.parameters.get("service");
    if (service !== undefined) url.searchParams.set("service", service);
    url.searchParams.set("scope", `repository:${reference.repository}:pull`);
    const request = { headers: {}, authorization: basic, signal };
    const token = await this.#http.get(url.href, request, async (exchange) => {
      const { status } = exchange.response;
      const failure = statusFailure(exchange.response);
      if (failure !== undefined) throw failure;
      if (status !== 200) throw unauthorized(reference);
      const bytes = await collect(exchange, tokenBytesMax, () => unauthorized(reference));
      return parseToken(bytes);
    });
    if (token === undefined) throw unauthorized(reference);
    return `Bearer ${token}`;
  }
}

interface RegistryRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** A WWW-Authenticate header (RFC 9110 11.6.1), as far as registries use it: one scheme with parameters. */
class Challenge {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;

  constructor(header: string) {
    this.scheme = (/^[a-z]+/i.exec(header)?.[0] ?? "").toLowerCase();
    const parameters = new Map<string, string>();
    for (const [, key, quoted, bare] of header.matchAll(/([a-z]+)=(?:"([^"]*)"|([^\s,]+))/gi))
      parameters.set((key ?? "").toLowerCase(), quoted ?? bare ?? "");
    this.parameters = parameters;
  }
}

function parseToken(bytes: Uint8Array): string | undefined {
  try {
    const json: unknown = JSON.parse(new TextDecoder().decode(bytes));
    const parsed = v.parse(tokenSchema, json);
    return parsed.token ?? parsed.access_token;
  } catch {
    return undefined;
  }
}

function requireSuccess(response: Response, reference: string): void {
  if (response.status === 200 || response.status === 206) return;
  const failure = statusFailure(response);
  if (failure !== undefined) throw failure;
  if (response.status === 404)
    throw new ImageError(`there is no image ${reference}`, {
      code: "not-found",
      reference,
    });
  if (response.status === 401 || response.status === 403)
    throw new ImageError(`the registry does not let us read ${reference}`, {
      code: "unauthorized",
      reference,
    });
  throw new ImageError(`asked for ${reference}, the registry answered ${response.status}`, {
    code: "failed",
    detail: `unexpected status ${response.status}`,
  });
}

function unauthorized(reference: ImageReference): ImageError {
  const text = reference.written;
  return new ImageError(
    `the registry ${reference.registry} does not let us read ${text}; it may be private or not exist ("docker login" stores a password we would use)`,
    { code: "unauthorized", reference: text },
  );
}

export function digestMismatch(expected: string, actual: string): ImageError {
  return new ImageError(`digest mismatch: expected ${expected}, got ${actual}`, {
    code: "digest-mismatch",
    expected,
    actual,
  });
}

export function sha256(bytes: Uint8Array): string {
  return `sha256:${Bun.CryptoHasher.hash("sha256", bytes, "hex")}`;
}

async function collect(exchange: Exchange, bytesMax: number, tooLong: () => ImageError): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of exchange.body()) {
    length += chunk.length;
    if (length > bytesMax) throw tooLong();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
