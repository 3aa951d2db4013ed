/**
 * The typed client of the API. It mirrors NodeApi; what NodeApi refuses with a value arrives here as
 * a thrown ProblemError, and a missing agent as AgentUnreachable.
 */
import type { HistoryEvent } from "../../model/event.ts";
import { ProblemError, type Problem } from "../../model/problem.ts";
import type { DeploymentSpec, PullPolicy } from "../../model/spec.ts";
import type { CohortView, DeploymentView, NodeView, PromiseView, StatusView } from "../../model/views.ts";
import type { UsageView } from "../../model/usage.ts";
import type {
  ContainerChoice,
  DeploymentKey,
  LogQuery,
  ReplicaLogLine,
  WriteAnswer,
} from "../../node/node-api.ts";
import type { ImageEvent } from "../../node/node-images.ts";
import type { ExecRequest, ExecSession, TerminalSize } from "../../ports/container-runtime.ts";
import type { ImageDetails, PruneReport, StoredImage } from "../../ports/image-store.ts";
import { openSession } from "./exec-client.ts";
import { AgentUnreachable, Interrupted } from "./failures.ts";
import { textLines } from "./text-lines.ts";

export interface InviteAnswer {
  readonly token: string;
  readonly expiresAtMs: number;
  readonly join: readonly string[];
}

export interface PromisesAnswer {
  readonly promises: readonly PromiseView[];
  readonly unreachable: readonly string[];
}

interface CallOptions {
  readonly method?: "GET" | "POST" | "PUT" | "DELETE";
  readonly body?: unknown;
  /** Sent as it is, in place of a body. */
  readonly stream?: ReadableStream<Uint8Array>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** Writes carry an id of their own, so that one that is sent again changes nothing twice. */
function writeHeaders(): Record<string, string> {
  return { "idempotency-key": Bun.randomUUIDv7() };
}

export class MusterClient {
  readonly socketPath: string;
  readonly #interrupted: AbortSignal | undefined;

  /** When `interrupted` aborts, calls that wait for an answer reject with Interrupted. */
  constructor(socketPath: string, interrupted?: AbortSignal) {
    this.socketPath = socketPath;
    this.#interrupted = interrupted;
  }

  status(): Promise<StatusView> {
    return this.#json("/v1/status");
  }

  nodes(): Promise<readonly NodeView[]> {
    return this.#json("/v1/nodes");
  }

  invite(ttlMs: number): Promise<InviteAnswer> {
    return this.#json("/v1/invites", { method: "POST", body: { ttlMs } });
  }

  promises(scope: "fleet" | "node"): Promise<PromisesAnswer> {
    return this.#json(`/v1/promises?scope=${scope}`);
  }

  deployments(namespace: string | undefined): Promise<readonly DeploymentView[]> {
    return this.#json(
      namespace === undefined
        ? "/v1/deployments"
        : `/v1/deployments?namespace=${encodeURIComponent(namespace)}`,
    );
  }

  declare(spec: DeploymentSpec, options: { readonly createOnly: boolean }): Promise<WriteAnswer> {
    const headers = { ...writeHeaders(), ...(options.createOnly ? { "if-none-match": "*" } : {}) };
    return this.#json(pathOf(spec), { method: "PUT", body: spec, headers });
  }

  scale(key: DeploymentKey, replicas: number): Promise<WriteAnswer> {
    return this.#json(`${pathOf(key)}/scale`, { method: "PUT", body: { replicas }, headers: writeHeaders() });
  }

  /** New runs of one replica's containers, or of one of them. */
  async restartReplica(key: DeploymentKey, replica: number, container?: string): Promise<void> {
    const parameters = new URLSearchParams({ replica: `${replica}` });
    if (container !== undefined) parameters.set("container", container);
    await this.#json(`${pathOf(key)}/restart?${parameters}`, { method: "POST" });
  }

  delete(key: DeploymentKey): Promise<WriteAnswer> {
    return this.#json(pathOf(key), { method: "DELETE", headers: writeHeaders() });
  }

  inspect(key: DeploymentKey): Promise<DeploymentView> {
    return this.#json(pathOf(key));
  }

  cohort(key: DeploymentKey): Promise<CohortView> {
    return this.#json(`${pathOf(key)}/cohort`);
  }

  /** Resolves when the agent has done it, or is gone before it could say so. */
  async down(keep: boolean): Promise<void> {
    const signal = this.#interrupted === undefined ? {} : { signal: this.#interrupted };
    const response = await this.#fetch("/v1/down", { method: "POST", body: { keep }, ...signal });
    await response.text().catch(() => "");
  }

  async *events(
    key: DeploymentKey,
    options: { readonly follow: boolean; readonly sinceIndex: number; readonly signal: AbortSignal },
  ): AsyncGenerator<HistoryEvent> {
    const path = `${pathOf(key)}/events?follow=${options.follow}&since=${options.sinceIndex}`;
    let kind = "message";
    for await (const line of this.#lines(path, options.signal)) {
      if (line === "") kind = "message";
      else if (line.startsWith("event: ")) kind = line.slice("event: ".length);
      else if (line.startsWith("data: ")) {
        if (kind === "problem") {
          const problem: Problem = JSON.parse(line.slice("data: ".length));
          throw new ProblemError(problem);
        }
        const event: HistoryEvent = JSON.parse(line.slice("data: ".length));
        yield event;
      }
    }
  }

  async *logs(key: DeploymentKey, query: LogQuery): AsyncGenerator<ReplicaLogLine> {
    const parameters = new URLSearchParams({ follow: String(query.follow) });
    if (query.replica !== undefined) parameters.set("replica", String(query.replica));
    if (query.container !== undefined) parameters.set("container", query.container);
    if (query.tail !== undefined) parameters.set("tail", String(query.tail));
    if (query.sinceMs !== undefined) parameters.set("since", String(query.sinceMs));
    for await (const text of this.#lines(`${pathOf(key)}/logs?${parameters}`, query.signal)) {
      const line: ReplicaLogLine | { problem: Problem } = JSON.parse(text);
      if ("problem" in line) throw new ProblemError(line.problem);
      yield line;
    }
  }

  exec(key: DeploymentKey, choice: ContainerChoice, request: ExecRequest): Promise<ExecSession> {
    return openSession(this.socketPath, `${pathOf(key)}/exec?${parametersOf(choice)}`, request);
  }

  attach(
    key: DeploymentKey,
    choice: ContainerChoice,
    terminal: TerminalSize | undefined,
  ): Promise<ExecSession> {
    const path = `${pathOf(key)}/attach?${parametersOf(choice)}`;
    return openSession(this.socketPath, path, terminal === undefined ? {} : { terminal });
  }

  /** A tar archive; breaks off with an error when not all of it came. */
  async copyOut(
    key: DeploymentKey,
    choice: ContainerChoice,
    path: string,
  ): Promise<AsyncIterable<Uint8Array>> {
    const signal = this.#interrupted === undefined ? {} : { signal: this.#interrupted };
    try {
      const { body } = await this.#fetch(`${pathOf(key)}/files?${parametersOf(choice, { path })}`, signal);
      return wholeOf(body ?? new ReadableStream<Uint8Array>());
    } catch (error) {
      // The answer had begun, and broke before its first bytes were through.
      throw isReset(error) ? brokenCopy(error) : error;
    }
  }

  async copyIn(
    key: DeploymentKey,
    choice: ContainerChoice,
    { path, archive }: { readonly path: string; readonly archive: ReadableStream<Uint8Array> },
  ): Promise<void> {
    const signal = this.#interrupted === undefined ? {} : { signal: this.#interrupted };
    const options = { method: "PUT", stream: archive, ...signal } as const;
    const response = await this.#fetch(`${pathOf(key)}/files?${parametersOf(choice, { path })}`, options);
    await response.text();
  }

  usage(scope: "fleet" | "node"): Promise<UsageView> {
    return this.#json(`/v1/usage?scope=${scope}`);
  }

  images(): Promise<readonly StoredImage[]> {
    return this.#json("/v1/images");
  }

  image(reference: string): Promise<ImageDetails> {
    return this.#json(`/v1/images/details?reference=${encodeURIComponent(reference)}`);
  }

  removeImage(reference: string): Promise<PruneReport> {
    return this.#json(`/v1/images?reference=${encodeURIComponent(reference)}`, { method: "DELETE" });
  }

  pruneImages(all: boolean): Promise<PruneReport> {
    return this.#json("/v1/images/prune", { method: "POST", body: { all } });
  }

  pullImage(
    reference: string,
    options: { readonly pull: PullPolicy; readonly signal: AbortSignal },
  ): AsyncGenerator<ImageEvent> {
    const body = { reference, pull: options.pull };
    return this.#values("/v1/images/pull", { method: "POST", body, signal: options.signal });
  }

  /** `path` is absolute, on the agent's machine. */
  loadImages(
    path: string,
    options: { readonly name?: string; readonly signal: AbortSignal },
  ): AsyncGenerator<ImageEvent> {
    const { signal, ...rest } = options;
    return this.#values("/v1/images/load", { method: "POST", body: { path, ...rest }, signal });
  }

  pushImage(
    reference: string,
    options: { readonly destination: string; readonly signal: AbortSignal },
  ): AsyncGenerator<ImageEvent> {
    const body = { reference, destination: options.destination };
    return this.#values("/v1/images/push", { method: "POST", body, signal: options.signal });
  }

  async saveImages(references: readonly string[], signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const options = { method: "POST", body: { references }, signal } as const;
    const { body } = await this.#fetch("/v1/images/save", options);
    return body ?? new ReadableStream<Uint8Array>({ start: (controller) => controller.close() });
  }

  /** One JSON value a line; a problem on the way is thrown. */
  async *#values<T extends object>(
    path: string,
    options: CallOptions & { readonly signal: AbortSignal },
  ): AsyncGenerator<T> {
    for await (const text of this.#lines(path, options.signal, options)) {
      const value: T | { problem: Problem } = JSON.parse(text);
      if ("problem" in value) throw new ProblemError(value.problem);
      yield value;
    }
  }

  async #json<T>(path: string, options: CallOptions = {}): Promise<T> {
    const signal = this.#interrupted === undefined ? {} : { signal: this.#interrupted };
    const response = await this.#fetch(path, { ...options, ...signal });
    const value: T = JSON.parse(await response.text());
    return value;
  }

  /** Ends quietly when the caller's signal aborts. */
  async *#lines(path: string, signal: AbortSignal, options: CallOptions = {}): AsyncGenerator<string> {
    try {
      const { body } = await this.#fetch(path, { ...options, signal });
      if (body !== null) yield* textLines(body);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #fetch(path: string, options: CallOptions): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(`http://muster${path}`, {
        unix: this.socketPath,
        method: options.method ?? "GET",
        // A stream may be silent for as long as it likes.
        timeout: false,
        ...(options.headers === undefined ? {} : { headers: options.headers }),
        ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
        ...(options.stream === undefined ? {} : { body: options.stream }),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
    } catch (error) {
      throw options.signal?.aborted === true
        ? new Interrupted("interrupted before the agent had answered", { cause: error })
        : new AgentUnreachable(this.socketPath, { cause: error });
    }
    if (response.ok) return response;
    throw new ProblemError(await problemIn(response));
  }
}

async function problemIn(response: Response): Promise<Problem> {
  const text = await response.text();
  try {
    const answer: { problem?: Problem } = JSON.parse(text);
    if (answer.problem !== undefined) return answer.problem;
  } catch {
    // Not the agent's own words: say what came.
  }
  return {
    code: "internal",
    message: `the agent answered ${response.status} without a problem: ${text.slice(0, 200)}`,
  };
}

/** An answer of bytes that breaks off says so in our words. */
async function* wholeOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (error) {
    throw brokenCopy(error);
  }
}

function brokenCopy(cause: unknown): ProblemError {
  return new ProblemError(
    {
      code: "unreachable",
      message: "the copy broke off before all of it had come",
      next: "run it again; the log of the agent that holds the replica may say why",
    },
    { cause },
  );
}

function isReset(error: unknown): boolean {
  const cause = error instanceof AgentUnreachable ? error.cause : undefined;
  return cause instanceof Error && "code" in cause && cause.code === "ECONNRESET";
}

function parametersOf(
  { replica, container }: ContainerChoice,
  others: Readonly<Record<string, string>> = {},
): URLSearchParams {
  const parameters = new URLSearchParams(others);
  if (replica !== undefined) parameters.set("replica", String(replica));
  if (container !== undefined) parameters.set("container", container);
  return parameters;
}

function pathOf(key: DeploymentKey): string {
  return `/v1/deployments/${encodeURIComponent(key.namespace)}/${encodeURIComponent(key.name)}`;
}
