/** A container runtime over a `MemoryMachine`: for the simulator and for tests. */
import {
  RuntimeError,
  type ContainerRuntime,
  type ContainerSpec,
  type ContainerStatus,
  type ContainerUsage,
  type ExecRequest,
  type ExecSession,
  type LogLine,
  type LogOptions,
} from "../../ports/container-runtime.ts";
import { endedSession } from "./ended-session.ts";
import { MemoryExecSession } from "./memory-exec-session.ts";
import { MemoryAttachment } from "./memory-attachment.ts";
import type { MemoryContainer, MemoryMachine } from "./memory-machine.ts";

const killSignal = 9;

export class MemoryRuntime implements ContainerRuntime {
  readonly #machine: MemoryMachine;
  readonly #stops = new Set<() => void>();

  constructor(ports: { readonly machine: MemoryMachine }) {
    this.#machine = ports.machine;
  }

  async create(spec: ContainerSpec): Promise<void> {
    if (this.#machine.get(spec.id) === undefined) this.#machine.create(spec);
  }

  async start(id: string): Promise<void> {
    const container = this.#get(id);
    if (!container.program.exists) throw badCommand(id, container.spec.args);
    if (container.status.phase === "created") this.#machine.start(container);
  }

  async signal(id: string, signal: number): Promise<void> {
    const container = this.#get(id);
    if (signal === killSignal || !container.program.ignoresSignals) this.#machine.end(id, 128 + signal);
  }

  async remove(id: string): Promise<void> {
    this.#machine.remove(id);
  }

  async list(): Promise<readonly ContainerStatus[]> {
    return this.#machine.all().map((container) => container.status);
  }

  watch(listener: (status: ContainerStatus) => void): () => void {
    const stop = this.#machine.watch(listener);
    this.#stops.add(stop);
    return () => {
      stop();
      this.#stops.delete(stop);
    };
  }

  async *logs(id: string, options: LogOptions): AsyncIterable<LogLine> {
    const container = this.#get(id);
    const { lines } = container;
    const { sinceMs = 0, tail = lines.length } = options;
    const older = lines.findIndex(({ atMs }) => atMs >= sinceMs);
    let next = Math.max(older === -1 ? lines.length : older, lines.length - tail);
    for (;;) {
      for (let line = lines[next]; line !== undefined; line = lines[next]) {
        next++;
        yield line;
      }
      const isOver = !options.follow || this.#machine.get(id) !== container;
      if (isOver || options.signal.aborted) return;
      await newsOf(container, options.signal);
    }
  }

  async exec(id: string, request: ExecRequest): Promise<ExecSession> {
    if (this.#get(id).status.phase !== "running") throw notRunning(id);
    const program = this.#machine.programOf(request.args);
    if (!program.exists)
      return endedSession(`${request.args[0] ?? ""}: not found`, request.terminal !== undefined);
    return new MemoryExecSession({ clock: this.#machine.clock }, program);
  }

  async attach(id: string): Promise<ExecSession> {
    const container = this.#get(id);
    if (container.status.phase !== "running") throw notRunning(id);
    return new MemoryAttachment(container);
  }

  async copyOut(id: string, path: string): Promise<AsyncIterable<Uint8Array>> {
    const archive = this.#get(id).archives.get(path);
    if (archive !== undefined) return once(archive);
    const detail = `there is no ${path}`;
    throw new RuntimeError(`copy ${path} of ${id}: ${detail}`, { code: "bad-path", id, path, detail });
  }

  async copyIn(id: string, path: string, archive: AsyncIterable<Uint8Array>): Promise<void> {
    const { archives } = this.#get(id);
    const pieces: Uint8Array[] = [];
    for await (const piece of archive) pieces.push(piece.slice());
    archives.set(path, new Uint8Array(await new Blob(pieces).arrayBuffer()));
  }

  async usage(): Promise<readonly ContainerUsage[]> {
    const running = this.#machine.all().filter(({ status }) => status.phase === "running");
    return running.map(({ status: { id, labels }, spec }) => ({
      ...noUsage,
      id,
      labels,
      atMs: this.#machine.clock.now(),
      memoryLimitBytes: spec.memoryBytes,
      pids: 1,
    }));
  }

  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#stops.clear();
  }

  #get(id: string): MemoryContainer {
    const container = this.#machine.get(id);
    if (container !== undefined) return container;
    throw new RuntimeError(`there is no container ${id}`, {
      code: "no-such-container",
      id,
    });
  }
}

const noUsage = {
  cpuMicros: 0,
  memoryBytes: 0,
  readBytes: 0,
  writtenBytes: 0,
  receivedBytes: 0,
  sentBytes: 0,
} as const;

async function* once(archive: Uint8Array): AsyncGenerator<Uint8Array> {
  yield archive;
}

function notRunning(id: string): RuntimeError {
  return new RuntimeError(`container ${id} does not run`, { code: "not-running", id });
}

function badCommand(id: string, args: readonly string[]): RuntimeError {
  const detail = `${args[0] ?? "the empty command"} is not in the image`;
  return new RuntimeError(`cannot start container ${id}: ${detail}`, {
    code: "bad-command",
    id,
    detail,
  });
}

/** Resolves when the container has a new line or went, or when the signal aborts. */
function newsOf(container: MemoryContainer, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      container.readers.delete(done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    container.readers.add(done);
    signal.addEventListener("abort", done);
  });
}
