/** Joining the programs of containers and copying in and out of them, wherever they run. */
import * as v from "valibot";
import { attemptLabel, containerLabel, promiseLabel } from "../core/keeper/container-ids.ts";
import type { PromiseId } from "../model/ids.ts";
import { ok, refused, type Outcome } from "../model/outcome.ts";
import { ProblemError, type Problem } from "../model/problem.ts";
import { mainContainer, mainContainerName } from "../model/template.ts";
import type { DeploymentView, ReplicaView } from "../model/views.ts";
import {
  RuntimeError,
  type ContainerRuntime,
  type ContainerStatus,
  type ExecSession,
  type TerminalSize,
} from "../ports/container-runtime.ts";
import type { Logger } from "../ports/logger.ts";
import type { Duplex } from "../ports/transport.ts";
import { decodeAs } from "../wire/codec.ts";
import {
  attachHeaderSchema,
  attachMethod,
  copyFrameSchema,
  copyHeaderSchema,
  copyMethod,
} from "../wire/stream-headers.ts";
import { MessageStream } from "./message-stream.ts";
import type { ContainerChoice } from "./node-api.ts";
import type { Peers } from "./peers.ts";
import { brokenOff, openSession, problemFrom, serveSession, toProblem } from "./session-relay.ts";

export interface ContainerStreamsPorts {
  readonly peers: Peers;
  readonly runtime: ContainerRuntime;
  readonly logger: Logger;
}

const openTimeoutMs = 2_000;
/** Well under the longest message between nodes. */
const pieceBytesMax = 256 * 1024;

interface Place {
  readonly replica: ReplicaView;
  readonly promise: PromiseId;
  readonly container: string;
}

export class ContainerStreams {
  readonly #ports: ContainerStreamsPorts;

  constructor(ports: ContainerStreamsPorts) {
    this.#ports = ports;
    const { peers } = ports;
    peers.handleStream(attachMethod, (_from, header, stream) => void this.#serveAttach(header, stream));
    peers.handleStream(copyMethod, (_from, header, stream) => void this.#serveCopy(header, stream));
  }

  async attach(
    view: DeploymentView,
    choice: ContainerChoice,
    terminal: TerminalSize | undefined,
  ): Promise<Outcome<ExecSession, Problem>> {
    const place = placeOf(view, choice, ({ phase }) => phase === "running");
    if (!place.ok) return place;
    const { replica, promise, container } = place.value;
    return this.#outcome(view, replica, async () => {
      if (this.#isHere(replica)) return this.#attachHere(promise, container, terminal);
      const header = { promise, container, ...(terminal === undefined ? {} : { terminal }) };
      const duplex = await this.#ports.peers.open(replica.node, attachMethod, header, openTimeoutMs);
      return openSession(duplex, replica.nodeName);
    });
  }

  async copyOut(
    view: DeploymentView,
    choice: ContainerChoice,
    path: string,
  ): Promise<Outcome<AsyncIterable<Uint8Array>, Problem>> {
    const place = placeOf(view, choice, hasContainers);
    if (!place.ok) return place;
    const { replica, promise, container } = place.value;
    return this.#outcome(view, replica, async () => {
      if (this.#isHere(replica))
        return this.#ports.runtime.copyOut((await this.#find(promise, container)).id, path);
      const header = { promise, container, direction: "out" as const, path };
      const duplex = await this.#ports.peers.open(replica.node, copyMethod, header, openTimeoutMs);
      const messages = new MessageStream(duplex).messages();
      const first = frameOf(await messages.next());
      if (first.kind !== "started") throw new Error("the holder did not say that it begins");
      return received(messages, duplex, replica.nodeName);
    });
  }

  async copyIn(
    view: DeploymentView,
    choice: ContainerChoice,
    { path, archive }: { readonly path: string; readonly archive: AsyncIterable<Uint8Array> },
  ): Promise<Outcome<undefined, Problem>> {
    const place = placeOf(view, choice, hasContainers);
    if (!place.ok) return place;
    const { replica, promise, container } = place.value;
    return this.#outcome(view, replica, async () => {
      if (this.#isHere(replica)) {
        await this.#ports.runtime.copyIn((await this.#find(promise, container)).id, path, archive);
        return undefined;
      }
      const header = { promise, container, direction: "in" as const, path };
      const duplex = await this.#ports.peers.open(replica.node, copyMethod, header, openTimeoutMs);
      try {
        await sendAll(new MessageStream(duplex), archive);
      } finally {
        duplex.abort();
      }
      return undefined;
    });
  }

  #isHere({ node }: ReplicaView): boolean {
    return node === this.#ports.peers.self;
  }

  async #outcome<T>(
    { namespace, name }: DeploymentView,
    { replica, nodeName }: ReplicaView,
    act: () => Promise<T>,
  ): Promise<Outcome<T, Problem>> {
    try {
      return ok(await act());
    } catch (error) {
      const cause = brokenOff(`${namespace}/${name}/${replica}`, nodeName, error);
      return refused(problemFrom(cause instanceof RuntimeError ? fromRuntime(cause) : cause));
    }
  }

  async #attachHere(
    promise: PromiseId,
    container: string,
    terminal: TerminalSize | undefined,
  ): Promise<ExecSession> {
    return this.#ports.runtime.attach((await this.#find(promise, container)).id, terminal);
  }

  /** The newest run of a promise's container. */
  async #find(promise: PromiseId, container: string): Promise<ContainerStatus> {
    const attempt = ({ labels }: ContainerStatus): number => Number(labels[attemptLabel] ?? 0);
    const runs = (await this.#ports.runtime.list()).filter(
      ({ labels }) => labels[promiseLabel] === promise && (labels[containerLabel] ?? container) === container,
    );
    const newest = runs.toSorted((a, b) => attempt(b) - attempt(a))[0];
    if (newest !== undefined) return newest;
    throw new ProblemError({
      code: "not-found",
      message: `container ${container} of promise ${promise} is not on this node`,
      next: "muster inspect shows where its replicas are",
    });
  }

  async #serveAttach(header: Uint8Array, duplex: Duplex): Promise<void> {
    await serveSession(duplex, async () => {
      const { promise, container, terminal } = decodeAs(attachHeaderSchema, header);
      return this.#attachHere(promise, container, terminal).catch((error: unknown) => {
        throw error instanceof RuntimeError ? fromRuntime(error) : error;
      });
    });
  }

  async #serveCopy(header: Uint8Array, duplex: Duplex): Promise<void> {
    const stream = new MessageStream(duplex);
    try {
      const { promise, container, direction, path } = decodeAs(copyHeaderSchema, header);
      const { id } = await this.#find(promise, container);
      if (direction === "out") {
        const archive = await this.#ports.runtime.copyOut(id, path);
        await stream.send({ kind: "started" });
        for await (const data of pieces(archive)) await stream.send({ kind: "data", data });
      } else await this.#ports.runtime.copyIn(id, path, dataOf(stream.messages()));
      await stream.send({ kind: "done" });
      await stream.finish();
    } catch (error) {
      const problem = problemFrom(error instanceof RuntimeError ? fromRuntime(error) : error);
      this.#ports.logger.debug("copy ended", { error: problem.message });
      await stream.send({ kind: "problem", problem }).then(
        () => stream.finish(),
        () => duplex.abort(),
      );
    }
  }
}

/** A replica that the choice and the deployment allow, and the name of one of its containers. */
function placeOf(
  view: DeploymentView,
  choice: ContainerChoice,
  isFit: (replica: ReplicaView) => boolean,
): Outcome<Place, Problem> {
  const { namespace, name, replicas, spec } = view;
  const found = replicas.find(
    (one) => isFit(one) && (choice.replica === undefined || one.replica === choice.replica),
  );
  if (found === undefined) {
    const known = replicas.map((one) => `${one.replica} (${one.phase})`).join(", ");
    const wanted =
      choice.replica === undefined ? "no replica that runs" : `no running replica ${choice.replica}`;
    const message = `${namespace}/${name} has ${wanted}; its replicas: ${known === "" ? "none" : known}`;
    return refused({ code: "not-found", message });
  }
  const { containers, initContainers } = spec.template;
  const names = [...containers, ...initContainers].map((one) => one.name);
  const container = choice.container ?? mainContainer(spec.template).name;
  if (names.includes(container) || container === mainContainerName)
    return ok({ replica: found, promise: found.promise, container });
  const message = `${namespace}/${name} has no container ${container}; its containers: ${names.join(", ")}`;
  return refused({ code: "not-found", message });
}

function hasContainers({ phase }: ReplicaView): boolean {
  return phase !== "awarded" && phase !== "broken" && phase !== "stopped" && phase !== "admitted";
}

function fromRuntime(error: RuntimeError): ProblemError {
  const { info } = error;
  const problem = (code: Problem["code"], next?: string): Problem => ({
    code,
    message: error.message,
    ...(next === undefined ? {} : { next }),
  });
  switch (info.code) {
    case "bad-path":
      return new ProblemError(problem("invalid-request"), { cause: error });
    case "no-such-container":
      return new ProblemError(problem("not-found"), { cause: error });
    case "not-running":
      return new ProblemError(problem("conflict", "muster inspect shows why it does not run"), {
        cause: error,
      });
    default:
      return new ProblemError(problem("internal"), { cause: error });
  }
}

type Frame = v.InferOutput<typeof copyFrameSchema>;

/** The next frame; a problem is thrown. */
function frameOf(next: IteratorResult<unknown>): Frame {
  if (next.done === true)
    throw new ProblemError({ code: "unreachable", message: "the node went away during the copy" });
  const frame = v.parse(copyFrameSchema, next.value);
  if (frame.kind === "problem") throw new ProblemError(toProblem(frame.problem));
  return frame;
}

async function* received(
  messages: AsyncGenerator<unknown>,
  duplex: Duplex,
  nodeName: string,
): AsyncGenerator<Uint8Array> {
  try {
    for (;;) {
      const frame = frameOf(await messages.next());
      if (frame.kind === "done") return;
      if (frame.kind === "data") yield frame.data;
    }
  } catch (error) {
    throw brokenOff("the copy", nodeName, error);
  } finally {
    duplex.abort();
  }
}

async function* dataOf(messages: AsyncGenerator<unknown>): AsyncGenerator<Uint8Array> {
  for (;;) {
    const frame = frameOf(await messages.next());
    if (frame.kind === "done") return;
    if (frame.kind === "data") yield frame.data;
  }
}

/** Sends until the holder says that it has it all, or why it has not. */
async function sendAll(stream: MessageStream, archive: AsyncIterable<Uint8Array>): Promise<void> {
  const messages = stream.messages();
  const answer = messages.next();
  const verdict: { refusal?: IteratorResult<unknown> } = {};
  void answer.then(
    (next) => (verdict.refusal = next),
    () => {},
  );
  try {
    for await (const data of pieces(archive)) {
      // A holder that gave up has said why, and reads no more.
      if (verdict.refusal !== undefined) break;
      await stream.send({ kind: "data", data });
    }
    if (verdict.refusal === undefined) await stream.send({ kind: "done" });
  } catch (error) {
    // The reason may be on its way.
    frameOf(await answer);
    throw error;
  }
  frameOf(await answer);
}

async function* pieces(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of source)
    for (let start = 0; start < chunk.length; start += pieceBytesMax)
      yield chunk.subarray(start, start + pieceBytesMax);
}
