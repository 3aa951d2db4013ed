/**
 * Logs of replicas, wherever they run. Who follows a replica follows it through the restarts of its container, of
 * its holder's agent, and to its next node: the deployment is looked at again and again, each promise of a wanted
 * replica is read once, and a reading that broke off goes on behind the last line that came.
 */
import * as v from "valibot";
import type { PromiseId } from "../model/ids.ts";
import { ok, refused, type Outcome } from "../model/outcome.ts";
import type { Problem } from "../model/problem.ts";
import type { DeploymentView, ReplicaView } from "../model/views.ts";
import type { Clock } from "../ports/clock.ts";
import { RuntimeError, type ContainerRuntime, type LogLine } from "../ports/container-runtime.ts";
import type { Logger } from "../ports/logger.ts";
import type { Duplex } from "../ports/transport.ts";
import { logLineSchema, logsHeaderSchema, logsMethod } from "../wire/calls.ts";
import { decodeAs } from "../wire/codec.ts";
import type { Book } from "./book.ts";
import { unknownContainer } from "./container-choice.ts";
import { noInstance } from "./instance-streams.ts";
import { LogPosition } from "./log-position.ts";
import { Channel, MessageStream } from "./message-stream.ts";
import type { LogQuery, ReplicaLogLine } from "./node-api.ts";
import type { Peers } from "./peers.ts";
import { brokenOff } from "./session-relay.ts";

export interface LogStreamsPorts {
  readonly peers: Peers;
  readonly book: Book;
  readonly runtime: ContainerRuntime;
  readonly clock: Clock;
  readonly logger: Logger;
}

const openTimeoutMs = 2_000;
const linesInFlightMax = 1_024;
/** How late a follower notices at worst that a replica has moved. */
const lookPauseMs = 1_000;
/** For the last lines of a deployment that is no more. */
const lastWordsMs = 2_000;

/** What is asked of one holder. */
interface Range {
  readonly follow: boolean;
  readonly tail?: number;
  readonly sinceMs?: number;
  readonly container?: string;
}

interface Reading {
  readonly position: LogPosition;
  isUnderWay: boolean;
}

type Look = () => Promise<Outcome<DeploymentView, Problem>>;

export class LogStreams {
  readonly #ports: LogStreamsPorts;

  constructor(ports: LogStreamsPorts) {
    this.#ports = ports;
    ports.peers.handleStream(logsMethod, (_from, header, stream) => void this.#serve(header, stream));
  }

  /** Lines as they come; those of one replica in order. `look` asks for the deployment as it is then. */
  logs(view: DeploymentView, query: LogQuery, look: Look): Outcome<AsyncIterable<ReplicaLogLine>, Problem> {
    const stranger = unknownContainer(view, query.container);
    if (stranger !== undefined) return refused(stranger);
    const wanted = wantedOf(view, query);
    if (wanted.length === 0) return refused(noInstance(view, query.replica));
    const channel = new Channel<ReplicaLogLine>(linesInFlightMax);
    query.signal.addEventListener("abort", () => channel.end(), { once: true });
    const work = query.follow
      ? this.#follow(view, query, { channel, look })
      : Promise.all(wanted.map((replica) => this.#copy(replica, rangeOf(query), { query, channel })));
    void work.then(
      () => channel.end(),
      (error: unknown) => channel.end(query.signal.aborted ? undefined : error),
    );
    return ok(channel.read());
  }

  async #follow(
    first: DeploymentView,
    query: LogQuery,
    { channel, look }: { readonly channel: Channel<ReplicaLogLine>; readonly look: Look },
  ): Promise<void> {
    const readings = new Map<PromiseId, Reading>();
    const underWay = new Set<Promise<void>>();
    const read = (replica: ReplicaView, isNew: boolean): void => {
      const reading = readings.get(replica.promise) ?? { position: new LogPosition(), isUnderWay: false };
      readings.set(replica.promise, reading);
      if (reading.isUnderWay) return;
      reading.isUnderWay = true;
      // Of a replica that comes later every line is news.
      const begin = isNew ? rangeOf({ ...query, tail: undefined }) : rangeOf(query);
      const range = reading.position.resume(begin);
      const task = this.#copy(replica, range, { query, channel, position: reading.position })
        .catch((error: unknown) =>
          this.#ports.logger.debug("logs break off", { promise: replica.promise, error: String(error) }),
        )
        .finally(() => {
          reading.isUnderWay = false;
          underWay.delete(task);
        });
      underWay.add(task);
    };
    for (const replica of wantedOf(first, query)) read(replica, false);
    while (!query.signal.aborted) {
      await this.#pause(lookPauseMs, query.signal);
      const seen = await look();
      // Who cannot be asked now may be asked in a moment; what is read goes on.
      if (!seen.ok && seen.error.code !== "not-found") continue;
      if (!seen.ok || seen.value.status === "deleted") break;
      for (const replica of wantedOf(seen.value, query)) read(replica, true);
    }
    await Promise.race([Promise.all(underWay), this.#pause(lastWordsMs, query.signal)]);
  }

  /** One holder's lines into the channel. Rejects when the holder cannot be reached or breaks off. */
  async #copy(
    replica: ReplicaView,
    range: Range,
    to: {
      readonly query: LogQuery;
      readonly channel: Channel<ReplicaLogLine>;
      readonly position?: LogPosition;
    },
  ): Promise<void> {
    for await (const line of this.#linesOf(replica, range, to.query.signal)) {
      if (to.position?.isKnown(line) === true) continue;
      if (!(await to.channel.push({ ...line, replica: replica.replica }))) return;
      to.position?.passed(line);
    }
  }

  async *#linesOf(replica: ReplicaView, range: Range, signal: AbortSignal): AsyncGenerator<LogLine> {
    const { promise, node } = replica;
    if (node === this.#ports.peers.self) {
      yield* this.#linesHere(promise, { ...range, signal });
      return;
    }
    let duplex: Duplex | undefined;
    const abort = (): void => duplex?.abort();
    signal.addEventListener("abort", abort, { once: true });
    try {
      duplex = await this.#ports.peers.open(node, logsMethod, { promise, ...range }, openTimeoutMs);
      for await (const message of new MessageStream(duplex).messages()) yield v.parse(logLineSchema, message);
    } catch (error) {
      throw brokenOff(`the logs of replica ${replica.replica}`, replica.nodeName, error);
    } finally {
      signal.removeEventListener("abort", abort);
      duplex?.abort();
    }
  }

  /** Follows the promise from one run of its container to the next. */
  async *#linesHere(
    promise: PromiseId,
    { signal, container, ...range }: Range & { readonly signal: AbortSignal },
  ): AsyncGenerator<LogLine> {
    let { tail } = range;
    let last: string | undefined;
    while (!signal.aborted) {
      const id = this.#containerOf(promise, container);
      if (id === undefined || (id === last && !range.follow)) return;
      if (id === last) {
        await this.#ports.book.nextChange(signal);
        continue;
      }
      last = id;
      try {
        const { sinceMs } = range;
        yield* this.#ports.runtime.logs(id, {
          follow: range.follow,
          signal,
          ...(tail === undefined ? {} : { tail }),
          ...(sinceMs === undefined ? {} : { sinceMs }),
        });
      } catch (error) {
        if (!(error instanceof RuntimeError) || error.info.code !== "no-such-container") throw error;
      }
      tail = undefined;
      if (!range.follow) return;
    }
  }

  async #serve(header: Uint8Array, duplex: Duplex): Promise<void> {
    const stream = new MessageStream(duplex);
    const abort = new AbortController();
    try {
      const { promise, ...range } = decodeAs(logsHeaderSchema, header);
      void drain(duplex).finally(() => abort.abort());
      for await (const line of this.#linesHere(promise, { ...range, signal: abort.signal }))
        await stream.send(line);
      await stream.finish();
    } catch (error) {
      this.#ports.logger.debug("log stream ended", { error: String(error) });
      duplex.abort();
    } finally {
      abort.abort();
    }
  }

  /** The newest run of a container of a promise in this node's book; without a name, of the replica's first. */
  #containerOf(promise: PromiseId, name: string | undefined): string | undefined {
    const entry = this.#ports.book.entries().find(({ terms }) => terms.id === promise);
    return entry?.containers.find((one) => (name === undefined ? !one.isInit : one.name === name))?.id;
  }

  #pause(ms: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#ports;
    return new Promise((resolve) => {
      const cancel = clock.at(clock.now() + ms, resolve);
      const stop = (): void => {
        cancel();
        resolve();
      };
      signal.addEventListener("abort", stop, { once: true });
    });
  }
}

function wantedOf(view: DeploymentView, { replica }: LogQuery): readonly ReplicaView[] {
  return view.replicas.filter((one) => isHeld(one) && (replica === undefined || one.replica === replica));
}

function isHeld({ phase }: ReplicaView): boolean {
  return phase !== "awarded" && phase !== "broken" && phase !== "stopped";
}

function rangeOf({
  follow,
  tail,
  sinceMs,
  container,
}: Pick<LogQuery, "follow" | "sinceMs" | "container"> & { readonly tail?: number | undefined }): Range {
  return {
    follow,
    ...(tail === undefined ? {} : { tail }),
    ...(sinceMs === undefined ? {} : { sinceMs }),
    ...(container === undefined ? {} : { container }),
  };
}

async function drain(duplex: Duplex): Promise<void> {
  const reader = duplex.incoming[Symbol.asyncIterator]();
  try {
    while ((await reader.next()).done !== true);
  } catch {
    // The other end went away: what was being sent to it has no reader any more.
  }
}
