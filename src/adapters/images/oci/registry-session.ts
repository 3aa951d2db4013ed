/** Requests to registries with the login they ask for: none, a password, or a token bought with it. */
import * as v from "valibot";
import { ImageError } from "../../../ports/image-store.ts";
import type { DockerCredentials } from "./credentials.ts";
import type { ImageReference } from "./reference.ts";
import {
  type Exchange,
  type HttpMethod,
  readAll,
  type RegistryHttp,
  statusFailure,
} from "./registry-http.ts";

export interface RegistrySessionPorts {
  readonly http: RegistryHttp;
  readonly credentials: DockerCredentials;
}

export interface RegistryRequest {
  /** Below `/v2/REPOSITORY/`, or a whole URL of the registry's own. */
  readonly path: string;
  readonly signal: AbortSignal;
  readonly method?: HttpMethod;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Blob;
  /** What the login has to allow; reading by default. */
  readonly actions?: "pull" | "pull,push";
  /** Another repository of the registry that has to be readable, too. */
  readonly alsoFrom?: string;
}

const tokenSchema = v.object({
  token: v.optional(v.string()),
  access_token: v.optional(v.string()),
});
const tokenBytesMax = 1024 * 1024;

export class RegistrySession {
  readonly #http: RegistryHttp;
  readonly #credentials: DockerCredentials;
  /** By registry, repository and actions; replaced when the registry asks again. */
  readonly #authorizations = new Map<string, string>();

  constructor(ports: RegistrySessionPorts) {
    this.#http = ports.http;
    this.#credentials = ports.credentials;
  }

  /** Sends until it is answered for good; failures that pass are tried again. Rejects with ImageError. */
  request<T>(
    reference: ImageReference,
    request: RegistryRequest,
    use: (exchange: Exchange) => Promise<T>,
  ): Promise<T> {
    return this.retry(reference, request.signal, () => this.once(reference, request, use));
  }

  /** Runs `attempt` again while its failures are of the passing kind (TransientFailure). */
  retry<T>(reference: ImageReference, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
    return this.#http.retry(reference.registry, signal, attempt);
  }

  /** Sends with what authorization there is; asked for another, gets it and sends once more. */
  async once<T>(
    reference: ImageReference,
    request: RegistryRequest,
    use: (exchange: Exchange) => Promise<T>,
  ): Promise<T> {
    const { actions = "pull", alsoFrom = "" } = request;
    const scope = `${reference.registry}/${reference.repository} ${actions} ${alsoFrom}`;
    const url = this.#urlOf(reference, request.path);
    const { method = "GET", headers = {}, signal } = request;
    const body = request.body === undefined ? {} : { body: request.body };
    const send = (authorization: string | undefined, take: (exchange: Exchange) => Promise<T | Challenge>) =>
      this.#http.send(url, { method, headers, authorization, signal, ...body }, take);
    // An upload may go to another host, which proves itself by its address: a password is none of its business.
    const isOwn = new URL(url).origin === this.#originOf(reference);
    if (!isOwn)
      return this.#http.send(url, { method, headers, authorization: undefined, signal, ...body }, use);
    const first = await send(this.#authorizations.get(scope), async (exchange) =>
      exchange.response.status === 401
        ? new Challenge(exchange.response.headers.get("www-authenticate") ?? "")
        : use(exchange),
    );
    if (!(first instanceof Challenge)) return first;
    const authorization = await this.#authorize(reference, first, request);
    this.#authorizations.set(scope, authorization);
    const second = await send(authorization, use);
    if (second instanceof Challenge) throw await this.#unauthorized(reference);
    return second;
  }

  #originOf({ registry }: ImageReference): string {
    return this.#http.originOf(registry === "docker.io" ? "registry-1.docker.io" : registry);
  }

  #urlOf(reference: ImageReference, path: string): string {
    const { registry, repository } = reference;
    const base = `${this.#originOf(reference)}/v2/${repository}/`;
    if (!URL.canParse(path, base)) throw new TypeError(`no address: ${path}`);
    const url = new URL(path, base);
    if (this.#http.isAllowed(url)) return url.href;
    throw new ImageError(
      `${registry} wants an upload to ${url.protocol}//${url.host}, which is not encrypted`,
      {
        code: "plain-http",
        registry: url.host,
      },
    );
  }

  async #authorize(
    reference: ImageReference,
    challenge: Challenge,
    { signal, actions = "pull", alsoFrom }: RegistryRequest,
  ): Promise<string> {
    const basic = await this.#credentials.basicFor(reference.registry);
    if (challenge.scheme === "basic") {
      if (basic === undefined) throw await this.#unauthorized(reference);
      return basic;
    }
    const realm = challenge.parameters.get("realm") ?? "";
    if (challenge.scheme !== "bearer" || !URL.canParse(realm)) throw await this.#unauthorized(reference);
    const url = new URL(realm);
    if (!this.#http.isAllowed(url))
      throw new ImageError(
        `${reference.registry} wants a login at ${url.protocol}//${url.host}, which is not encrypted`,
        { code: "plain-http", registry: url.host },
      );
    const service = challenge.parameters.get("service");
    if (service !== undefined) url.searchParams.set("service", service);
    url.searchParams.append("scope", `repository:${reference.repository}:${actions}`);
    if (alsoFrom !== undefined) url.searchParams.append("scope", `repository:${alsoFrom}:pull`);
    const request = { method: "GET", headers: {}, authorization: basic, signal } as const;
    const token = await this.#http.send(url.href, request, async (exchange) => {
      const { status } = exchange.response;
      const failure = statusFailure(exchange.response);
      if (failure !== undefined) throw failure;
      if (status !== 200) throw await this.#unauthorized(reference);
      const refusal = await this.#unauthorized(reference);
      return parseToken(await readAll(exchange, tokenBytesMax, () => refusal));
    });
    if (token === undefined) throw await this.#unauthorized(reference);
    return `Bearer ${token}`;
  }

  async #unauthorized(reference: ImageReference): Promise<ImageError> {
    const { registry, written } = reference;
    const unusable = await this.#credentials.unusableFor(registry);
    const hint = unusable ?? `"docker login ${registry}" stores a password that is used`;
    return new ImageError(
      `the registry ${registry} does not let us at ${written}; it may be private or not exist (${hint})`,
      { code: "unauthorized", reference: written },
    );
  }
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
