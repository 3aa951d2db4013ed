/** Logs and exec of instances, wherever they run. */
import type { PromiseId } from "../model/ids.ts";
import { ok, refused, type Outcome } from "../model/outcome.ts";
import { ProblemError, type Problem } from "../model/problem.ts";
import type { DeploymentView, ReplicaView } from "../model/views.ts";
import {
  RuntimeError,
  type ContainerRuntime,
  type ExecRequest,
  type ExecSession,
  type LogLine,
} from "../ports/container-runtime.ts";
import type { Logger } from "../ports/logger.ts";
import type { Duplex } from "../ports/transport.ts";
import { execHeaderSchema, execMethod, logLineSchema, logsHeaderSchema, logsMethod } from "../wire/calls.ts";
import { decodeAs } from "../wire/codec.ts";
import * as v from "valibot";
import type { Book } from "./book.ts";
import { Channel, MessageStream } from "./message-stream.ts";
import { mainContainer } from "../model/template.ts";
import { unknownContainer } from "./container-choice.ts";
import type { ContainerChoice, LogQuery, ReplicaLogLine } from "./node-api.ts";
import type { Peers } from "./peers.ts";
import { brokenOff, openSession, serveSession } from "./session-relay.ts";

export interface InstanceStreamsPorts {
  readonly peers: Peers;
  readonly book: Book;
  readonly runtime: ContainerRuntime;
  readonly logger: Logger;
}

const openTimeoutMs = 2_000;
const linesInFlightMax = 1_024;

export class InstanceStreams {
  readonly #ports: InstanceStreamsPorts;

  constructor(ports: InstanceStreamsPorts) {
    this.#ports = ports;
    ports.peers.handleStream(logsMethod, (_from, header, stream) => void this.#serveLogs(header, stream));
    ports.peers.handleStream(execMethod, (_from, header, stream) => void this.#serveExec(header, stream));
  }

  /** Lines of the replicas' instances, as they come; those of one replica in order. */
  logs(view: DeploymentView, query: LogQuery): Outcome<AsyncIterable<ReplicaLogLine>, Problem> {
    const stranger = unknownContainer(view, query.container);
    if (stranger !== undefined) return refused(stranger);
    const wanted = view.replicas.filter(
      (replica) => isHeld(replica) && (query.replica === undefined || replica.replica === query.replica),
    );
    if (wanted.length === 0) return refused(noInstance(view, query.replica));
    const channel = new Channel<ReplicaLogLine>(linesInFlightMax);
    const readers = wanted.map(async (replica) => {
      for await (const line of this.#linesOf(replica, query)) {
        if (!(await channel.push({ ...line, replica: replica.replica }))) return;
      }
    });
    void Promise.allSettled(readers).then((results) => {
      const failed = results.find((result): result is PromiseRejectedResult => result.status === "rejected");
      channel.end(query.signal.aborted ? undefined : failed?.reason);
    });
    query.signal.addEventListener("abort", () => channel.end(), { once: true });
    return ok(channel.read());
  }

  async exec(
    view: DeploymentView,
    { replica, container }: ContainerChoice,
    request: ExecRequest,
  ): Promise<Outcome<ExecSession, Problem>> {
    const stranger = unknownContainer(view, container);
    if (stranger !== undefined) return refused(stranger);
    const name = container ?? mainContainer(view.spec.template).name;
    const chosen = view.replicas.find(
      (one) => isRunning(one, name) && (replica === undefined || one.replica === replica),
    );
    if (chosen === undefined) return refused(noInstance(view, replica));
    try {
      return ok(
        chosen.node === this.#ports.peers.self
          ? await this.#execHere(chosen.promise, container, request)
          : await this.#execThere(chosen, container, request),
      );
    } catch (error) {
      return refused(execProblem(view, chosen, error));
    }
  }

  async *#linesOf(replica: ReplicaView, query: LogQuery): AsyncGenerator<LogLine> {
    const { promise, node } = replica;
    const options = {
      follow: query.follow,
      ...(query.tail === undefined ? {} : { tail: query.tail }),
      ...(query.container === undefined ? {} : { container: query.container }),
    };
    if (node === this.#ports.peers.self) {
      yield* this.#linesHere(promise, { ...options, signal: query.signal });
      return;
    }
    const header = { promise, ...options };
    let duplex: Duplex | undefined;
    const abort = (): void => duplex?.abort();
    query.signal.addEventListener("abort", abort, { once: true });
    try {
      duplex = await this.#ports.peers.open(node, logsMethod, header, openTimeoutMs);
      for await (const message of new MessageStream(duplex).messages()) yield v.parse(logLineSchema, message);
    } catch (error) {
      throw brokenOff(`the logs of replica ${replica.replica}`, replica.nodeName, error);
    } finally {
      query.signal.removeEventListener("abort", abort);
      duplex?.abort();
    }
  }

  /** Follows the promise from one run of its container to the next. */
  async *#linesHere(
    promise: PromiseId,
    options: { follow: boolean; tail?: number; container?: string; signal: AbortSignal },
  ): AsyncGenerator<LogLine> {
    let tail = options.tail;
    let last: string | undefined;
    while (!options.signal.aborted) {
      const id = this.#containerOf(promise, options.container);
      if (id === undefined || (id === last && !options.follow)) return;
      if (id === last) {
        await this.#ports.book.nextChange(options.signal);
        continue;
      }
      last = id;
      try {
        const query = {
          follow: options.follow,
          signal: options.signal,
          ...(tail === undefined ? {} : { tail }),
        };
        yield* this.#ports.runtime.logs(id, query);
      } catch (error) {
        if (!(error instanceof RuntimeError) || error.info.code !== "no-such-container") throw error;
      }
      tail = undefined;
      if (!options.follow) return;
    }
  }

  async #serveLogs(header: Uint8Array, duplex: Duplex): Promise<void> {
    const stream = new MessageStream(duplex);
    const abort = new AbortController();
    try {
      const { promise, ...options } = decodeAs(logsHeaderSchema, header);
      void drain(duplex).finally(() => abort.abort());
      const lines = this.#linesHere(promise, { ...options, signal: abort.signal });
      for await (const line of lines) await stream.send(line);
      await stream.finish();
    } catch (error) {
      this.#ports.logger.debug("log stream ended", { error: String(error) });
      duplex.abort();
    } finally {
      abort.abort();
    }
  }

  async #execHere(
    promise: PromiseId,
    container: string | undefined,
    request: ExecRequest,
  ): Promise<ExecSession> {
    const id = this.#containerOf(promise, container);
    if (id === undefined)
      throw new ProblemError({ code: "not-found", message: `promise ${promise} is not in this node's book` });
    return this.#ports.runtime.exec(id, request);
  }

  async #execThere(
    { promise, node, nodeName }: ReplicaView,
    container: string | undefined,
    request: ExecRequest,
  ): Promise<ExecSession> {
    const header = { promise, request, ...(container === undefined ? {} : { container }) };
    const duplex = await this.#ports.peers.open(node, execMethod, header, openTimeoutMs);
    return openSession(duplex, nodeName);
  }

  async #serveExec(header: Uint8Array, duplex: Duplex): Promise<void> {
    await serveSession(duplex, async () => {
      const { promise, container, request } = decodeAs(execHeaderSchema, header);
      return this.#execHere(promise, container, request);
    });
  }

  /** The newest run of a container of a promise in this node's book; without a name, of the replica's first. */
  #containerOf(promise: PromiseId, name?: string): string | undefined {
    const entry = this.#ports.book.entries().find(({ terms }) => terms.id === promise);
    const container = entry?.containers.find((one) => (name === undefined ? !one.isInit : one.name === name));
    return container?.id;
  }
}

/** Others of the replica may be down meanwhile. */
function isRunning({ phase, containers }: ReplicaView, name: string): boolean {
  if (phase === "running") return true;
  return containers.some((container) => container.name === name && container.phase === "running");
}

function isHeld({ phase }: ReplicaView): boolean {
  return phase !== "awarded" && phase !== "broken" && phase !== "stopped";
}

async function drain(duplex: Duplex): Promise<void> {
  const reader = duplex.incoming[Symbol.asyncIterator]();
  try {
    while ((await reader.next()).done !== true);
  } catch {
    // The other end went away: what was being sent to it has no reader any more.
  }
}

function noInstance({ namespace, name, replicas }: DeploymentView, replica: number | undefined): Problem {
  const known = replicas.map((one) => `${one.replica} (${one.phase})`).join(", ");
  const wanted = replica === undefined ? "no replica that runs" : `no running replica ${replica}`;
  return {
    code: "not-found",
    message: `${namespace}/${name} has ${wanted}; its replicas: ${known === "" ? "none" : known}`,
  };
}

function execProblem(
  { namespace, name }: DeploymentView,
  { replica, nodeName }: ReplicaView,
  error: unknown,
): Problem {
  if (error instanceof ProblemError) return error.problem;
  const reason = error instanceof Error ? error.message : String(error);
  return {
    code: "unreachable",
    message: `exec in ${namespace}/${name}/${replica} on ${nodeName}: ${reason}`,
  };
}
