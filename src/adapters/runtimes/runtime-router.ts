/**
 * The runtimes of a node as one: a container goes to the one that its spec names, and everything afterwards to
 * the one that has it. What a new agent finds is asked of each of them once.
 */
import type {
  ContainerRuntime,
  ContainerSpec,
  ContainerStatus,
  ContainerUsage,
  ExecRequest,
  ExecSession,
  LogLine,
  LogOptions,
  TerminalSize,
} from "../../ports/container-runtime.ts";

/** Beside it, every name is one of an OCI runtime: runc, crun, runsc, a path. */
export const processRuntimeName = "process";

export interface RuntimeRouterPorts {
  readonly oci: ContainerRuntime;
  readonly process: ContainerRuntime;
}

export class RuntimeRouter implements ContainerRuntime {
  readonly #oci: ContainerRuntime;
  readonly #process: ContainerRuntime;
  readonly #holders = new Map<string, ContainerRuntime>();

  constructor(ports: RuntimeRouterPorts) {
    this.#oci = ports.oci;
    this.#process = ports.process;
  }

  async create(spec: ContainerSpec): Promise<void> {
    const runtime = spec.runtime === processRuntimeName ? this.#process : this.#oci;
    this.#holders.set(spec.id, runtime);
    await runtime.create(spec);
  }

  async start(id: string): Promise<void> {
    await (await this.#holder(id)).start(id);
  }

  async signal(id: string, signal: number): Promise<void> {
    await (await this.#holder(id)).signal(id, signal);
  }

  async remove(id: string): Promise<void> {
    await (await this.#holder(id)).remove(id);
    this.#holders.delete(id);
  }

  async list(): Promise<readonly ContainerStatus[]> {
    const both = [this.#oci, this.#process];
    const lists = await Promise.all(both.map((runtime) => runtime.list()));
    for (const [at, runtime] of both.entries())
      for (const { id } of lists[at] ?? []) this.#holders.set(id, runtime);
    return lists.flat();
  }

  watch(listener: (status: ContainerStatus) => void): () => void {
    const stops = [this.#oci.watch(listener), this.#process.watch(listener)];
    return () => {
      for (const stop of stops) stop();
    };
  }

  async *logs(id: string, options: LogOptions): AsyncIterable<LogLine> {
    yield* (await this.#holder(id)).logs(id, options);
  }

  async exec(id: string, request: ExecRequest): Promise<ExecSession> {
    return (await this.#holder(id)).exec(id, request);
  }

  async attach(id: string, terminal?: TerminalSize): Promise<ExecSession> {
    return (await this.#holder(id)).attach(id, terminal);
  }

  async copyOut(id: string, path: string): Promise<AsyncIterable<Uint8Array>> {
    return (await this.#holder(id)).copyOut(id, path);
  }

  async copyIn(id: string, path: string, archive: AsyncIterable<Uint8Array>): Promise<void> {
    await (await this.#holder(id)).copyIn(id, path, archive);
  }

  async usage(): Promise<readonly ContainerUsage[]> {
    return (await Promise.all([this.#oci.usage(), this.#process.usage()])).flat();
  }

  async close(): Promise<void> {
    await Promise.all([this.#oci.close(), this.#process.close()]);
  }

  /** For an id that nobody has, the OCI runtime: it says so in its own words. */
  async #holder(id: string): Promise<ContainerRuntime> {
    if (!this.#holders.has(id)) await this.list();
    return this.#holders.get(id) ?? this.#oci;
  }
}
