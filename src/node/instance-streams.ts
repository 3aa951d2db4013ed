/** Commands inside instances, wherever they run. */
import type { PromiseId } from "../model/ids.ts";
import { ok, refused, type Outcome } from "../model/outcome.ts";
import { ProblemError, type Problem } from "../model/problem.ts";
import type { DeploymentView, ReplicaView } from "../model/views.ts";
import type { ContainerRuntime, ExecRequest, ExecSession } from "../ports/container-runtime.ts";
import type { Duplex } from "../ports/transport.ts";
import { execHeaderSchema, execMethod } from "../wire/calls.ts";
import { decodeAs } from "../wire/codec.ts";
import type { Book } from "./book.ts";
import { mainContainer } from "../model/template.ts";
import { unknownContainer } from "./container-choice.ts";
import type { ContainerChoice } from "./node-api.ts";
import type { Peers } from "./peers.ts";
import { openSession, serveSession } from "./session-relay.ts";

export interface InstanceStreamsPorts {
  readonly peers: Peers;
  readonly book: Book;
  readonly runtime: ContainerRuntime;
}

const openTimeoutMs = 2_000;

export class InstanceStreams {
  readonly #ports: InstanceStreamsPorts;

  constructor(ports: InstanceStreamsPorts) {
    this.#ports = ports;
    ports.peers.handleStream(execMethod, (_from, header, stream) => void this.#serveExec(header, stream));
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

export function noInstance(
  { namespace, name, replicas }: DeploymentView,
  replica: number | undefined,
): Problem {
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
