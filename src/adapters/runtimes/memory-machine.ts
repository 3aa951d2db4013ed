/**
 * The containers of a machine that exists only in memory. They outlive the agent, as on a real
 * machine: whoever plays the machine keeps this object, and every agent that starts on it opens a
 * `MemoryRuntime` over it.
 */
import { assert } from "../../model/assert.ts";
import type { Clock } from "../../ports/clock.ts";
import type { ContainerSpec, ContainerStatus, LogLine } from "../../ports/container-runtime.ts";

/** What a program in a container, or one started in it by exec, does. */
export interface MemoryProgram {
  /** False: it is not in the image, and cannot be started. */
  readonly exists: boolean;
  /** Printed when it starts. */
  readonly output: readonly {
    readonly stream: "stdout" | "stderr";
    readonly text: string;
  }[];
  /** Ends by itself this long after its start; undefined: it runs until a signal ends it. */
  readonly endsAfterMs: number | undefined;
  /** What it exits with when it ends by itself. */
  readonly exitCode: number;
  /** Only SIGKILL ends it. */
  readonly ignoresSignals: boolean;
  /** For exec: copies its input to its output, and ends by itself when the input does. */
  readonly echoesInput: boolean;
}

/** Runs until it is told to end. */
export const waitingProgram: MemoryProgram = {
  exists: true,
  output: [],
  endsAfterMs: undefined,
  exitCode: 0,
  ignoresSignals: false,
  echoesInput: false,
};

export interface MemoryMachineOptions {
  /** What the program with these arguments does, asked at each start. */
  readonly programOf: (args: readonly string[]) => MemoryProgram;
}

export interface MemoryContainer {
  readonly spec: ContainerSpec;
  readonly program: MemoryProgram;
  status: ContainerStatus;
  readonly lines: LogLine[];
  /** What was copied in, by its path; it comes out as it was. */
  readonly archives: Map<string, Uint8Array>;
  /** Called when a line was written or the container went. */
  readonly readers: Set<() => void>;
  cancelEnd: () => void;
}

export class MemoryMachine {
  readonly clock: Clock;
  readonly #options: MemoryMachineOptions;
  readonly #containers = new Map<string, MemoryContainer>();
  readonly #listeners = new Set<(status: ContainerStatus) => void>();
  #nextPid = 100;

  constructor(ports: { readonly clock: Clock }, options: MemoryMachineOptions) {
    this.clock = ports.clock;
    this.#options = options;
  }

  get(id: string): MemoryContainer | undefined {
    return this.#containers.get(id);
  }

  /** In order of their creation. */
  all(): readonly MemoryContainer[] {
    return [...this.#containers.values()];
  }

  programOf(args: readonly string[]): MemoryProgram {
    return this.#options.programOf(args);
  }

  create(spec: ContainerSpec): void {
    assert(!this.#containers.has(spec.id), "a container is created once");
    this.#containers.set(spec.id, {
      spec,
      program: this.programOf(spec.args),
      status: { id: spec.id, labels: spec.labels, phase: "created" },
      lines: [],
      archives: new Map(),
      readers: new Set(),
      cancelEnd: () => {},
    });
  }

  start(container: MemoryContainer): void {
    assert(container.status.phase === "created", "a container runs once");
    const { id, labels } = container.status;
    container.status = { id, labels, phase: "running", pid: this.#nextPid++ };
    for (const { stream, text } of container.program.output)
      container.lines.push({ stream, atMs: this.clock.wallMs(), text });
    wake(container);
    const { endsAfterMs, exitCode } = container.program;
    if (endsAfterMs === undefined) return;
    container.cancelEnd = this.clock.at(this.clock.now() + endsAfterMs, () => this.end(id, exitCode));
  }

  /** The container's program ends, whatever the reason; harmless when it does not run. */
  end(id: string, exitCode: number): void {
    const container = this.#containers.get(id);
    if (container === undefined || container.status.phase !== "running") return;
    this.#ended(container, { phase: "exited", exitCode });
  }

  /** The power went: no program runs any more, nobody is told, and nobody can say how they ended. */
  losePower(): void {
    this.#listeners.clear();
    for (const container of this.#containers.values())
      if (container.status.phase === "running") this.#ended(container, { phase: "unknown" });
  }

  remove(id: string): void {
    const container = this.#containers.get(id);
    if (container === undefined) return;
    this.end(id, 137);
    this.#containers.delete(id);
    wake(container);
  }

  watch(listener: (status: ContainerStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #ended(container: MemoryContainer, end: Pick<ContainerStatus, "phase" | "exitCode">): void {
    const { id, labels } = container.status;
    container.cancelEnd();
    container.status = { id, labels, ...end };
    wake(container);
    for (const listener of this.#listeners) listener(container.status);
  }
}

function wake(container: MemoryContainer): void {
  for (const reader of container.readers) reader();
}
