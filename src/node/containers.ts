/** What users may do with single containers, wherever they run: the deployment is looked up, then its holder asked. */
import type { NodeId } from "../model/ids.ts";
import type { MemberRecord } from "../model/member.ts";
import type { Outcome } from "../model/outcome.ts";
import type { Problem } from "../model/problem.ts";
import type { NodeUsageView, UsageView } from "../model/usage.ts";
import type { DeploymentView } from "../model/views.ts";
import type { ExecSession, TerminalSize } from "../ports/container-runtime.ts";
import { methods } from "../wire/calls.ts";
import { ContainerStreams, type ContainerStreamsPorts } from "./container-streams.ts";
import type { ContainerApi, ContainerChoice, DeploymentKey } from "./node-api.ts";
import { gatherUsage, ownUsage, type UsagePorts } from "./usage.ts";

export interface ContainersPorts extends ContainerStreamsPorts, UsagePorts {
  readonly inspect: (key: DeploymentKey) => Promise<Outcome<DeploymentView, Problem>>;
  readonly members: () => readonly MemberRecord[];
}

export class Containers implements ContainerApi {
  readonly #ports: ContainersPorts;
  readonly #node: { readonly id: NodeId; readonly name: string };
  readonly #streams: ContainerStreams;

  constructor(ports: ContainersPorts, node: { readonly id: NodeId; readonly name: string }) {
    this.#ports = ports;
    this.#node = node;
    this.#streams = new ContainerStreams(ports);
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

  async usage(scope: "fleet" | "node"): Promise<UsageView> {
    if (scope === "node") return { nodes: [await this.#ownUsage()], unreachable: [] };
    return gatherUsage(this.#ports.peers, this.#ports.members(), () => this.#ownUsage());
  }

  #ownUsage(): Promise<NodeUsageView> {
    return ownUsage(this.#ports, this.#node);
  }
}
