/** What users may do with single containers, wherever they run: the deployment is looked up, then its holder asked. */
import type { NodeId } from "../model/ids.ts";
import type { MemberRecord } from "../model/member.ts";
import { ok, refused, type Outcome } from "../model/outcome.ts";
import type { Problem } from "../model/problem.ts";
import type { NodeUsageView, UsageView } from "../model/usage.ts";
import type { DeploymentView, ReplicaView } from "../model/views.ts";
import type { ExecSession, TerminalSize } from "../ports/container-runtime.ts";
import { methods } from "../wire/calls.ts";
import type { Book } from "./book.ts";
import { unknownContainer } from "./container-choice.ts";
import { ContainerStreams, type ContainerStreamsPorts } from "./container-streams.ts";
import type { ContainerApi, ContainerChoice, DeploymentKey } from "./node-api.ts";
import { gatherUsage, ownUsage, type UsagePorts } from "./usage.ts";

export interface ContainersPorts extends ContainerStreamsPorts, UsagePorts {
  readonly inspect: (key: DeploymentKey) => Promise<Outcome<DeploymentView, Problem>>;
  readonly members: () => readonly MemberRecord[];
  readonly book: Pick<Book, "restart">;
}

const restartTimeoutMs = 2_000;

export class Containers implements ContainerApi {
  readonly #ports: ContainersPorts;
  readonly #node: { readonly id: NodeId; readonly name: string };
  readonly #streams: ContainerStreams;

  constructor(ports: ContainersPorts, node: { readonly id: NodeId; readonly name: string }) {
    this.#ports = ports;
    this.#node = node;
    this.#streams = new ContainerStreams(ports);
    ports.peers.handle(methods.restart, (_from, { promise, container }) => ({
      isHeld: ports.book.restart(promise, container, "a restart was asked for"),
    }));
    ports.peers.handle(methods.usage, async () => ({ json: JSON.stringify(await this.#ownUsage()) }));
  }

  async attach(
    key: DeploymentKey,
    choice: ContainerChoice,
    terminal: TerminalSize | undefined,
  ): Promise<Outcome<ExecSession, Problem>> {
    const view = await this.#ports.inspect(key);
    return view.ok ? this.#streams.attach(view.value, choice, terminal) : view;
  }

  async copyOut(
    key: DeploymentKey,
    choice: ContainerChoice,
    path: string,
  ): Promise<Outcome<AsyncIterable<Uint8Array>, Problem>> {
    const view = await this.#ports.inspect(key);
    return view.ok ? this.#streams.copyOut(view.value, choice, path) : view;
  }

  async copyIn(
    key: DeploymentKey,
    choice: ContainerChoice,
    copy: { readonly path: string; readonly archive: AsyncIterable<Uint8Array> },
  ): Promise<Outcome<undefined, Problem>> {
    const view = await this.#ports.inspect(key);
    return view.ok ? this.#streams.copyIn(view.value, choice, copy) : view;
  }

  async restart(
    key: DeploymentKey,
    replica: number,
    container?: string,
  ): Promise<Outcome<undefined, Problem>> {
    const view = await this.#ports.inspect(key);
    if (!view.ok) return view;
    const unknown = unknownContainer(view.value, container);
    if (unknown !== undefined) return refused(unknown);
    const name = `${key.namespace}/${key.name}`;
    if (view.value.spec.template.restart === "never")
      return refused({
        code: "conflict",
        message: `replica ${replica} of ${name} cannot be restarted: its restart policy is never`,
        next: `muster restart ${name} replaces all replicas by new ones`,
      });
    const held = view.value.replicas.find((one) => one.replica === replica && one.phase !== "broken");
    if (held === undefined)
      return refused({
        code: "not-found",
        message: `${name} has no replica ${replica}`,
        next: `muster inspect ${key.name} -n ${key.namespace} lists its replicas`,
      });
    return this.#askToRestart(held, container);
  }

  async #askToRestart(
    { node, nodeName, promise }: ReplicaView,
    container: string | undefined,
  ): Promise<Outcome<undefined, Problem>> {
    const request = { promise, ...(container === undefined ? {} : { container }) };
    const next = "try again in a moment";
    try {
      const { isHeld } = await this.#ports.peers.call(node, methods.restart, request, restartTimeoutMs);
      if (isHeld) return ok(undefined);
      return refused({ code: "conflict", message: `${nodeName} does not hold that replica any more`, next });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return refused({ code: "unreachable", message: `${nodeName} does not answer: ${reason}`, next });
    }
  }

  async usage(scope: "fleet" | "node"): Promise<UsageView> {
    if (scope === "node") return { nodes: [await this.#ownUsage()], unreachable: [] };
    return gatherUsage(this.#ports.peers, this.#ports.members(), () => this.#ownUsage());
  }

  #ownUsage(): Promise<NodeUsageView> {
    return ownUsage(this.#ports, this.#node);
  }
}
