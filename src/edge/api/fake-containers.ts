/** Containers in memory, for the tests of the edge: one that echoes, a shelf of archives, and counters that grow. */
import { ok, refused, type Outcome } from "../../model/outcome.ts";
import type { Problem } from "../../model/problem.ts";
import type { UsageView } from "../../model/usage.ts";
import type { ContainerApi, ContainerChoice, DeploymentKey } from "../../node/node-api.ts";
import type { ExecSession, TerminalSize } from "../../ports/container-runtime.ts";

export class FakeContainers implements ContainerApi {
  /** Who was asked for, in order. */
  readonly asked: {
    readonly key: DeploymentKey;
    readonly choice: ContainerChoice;
    readonly path?: string;
  }[] = [];
  readonly terminals: (TerminalSize | undefined)[] = [];
  readonly archives = new Map<string, Uint8Array<ArrayBuffer>>();
  /** Resolves once an attached session was let go of. */
  readonly letGo = Promise.withResolvers<void>();
  /** How often each replica was restarted. */
  readonly restarts = new Map<number, number>();
  /** Breaks off what is copied out, after its first piece. */
  breaksOff = false;
  #readings = 0;

  async attach(
    key: DeploymentKey,
    choice: ContainerChoice,
    terminal: TerminalSize | undefined,
  ): Promise<Outcome<ExecSession, Problem>> {
    this.asked.push({ key, choice });
    this.terminals.push(terminal);
    const input = new TransformStream<Uint8Array, Uint8Array>();
    const writer = input.writable.getWriter();
    const exit = Promise.withResolvers<number>();
    return ok({
      output: echo(input.readable, exit.resolve),
      write: async (data) => writer.write(data),
      closeInput: async () => writer.close(),
      resize: (columns, rows) => this.terminals.push({ columns, rows }),
      kill: () => {
        this.letGo.resolve();
        exit.resolve(0);
        void writer.abort().catch(() => undefined);
      },
      exitCode: exit.promise,
    });
  }

  async copyOut(
    key: DeploymentKey,
    choice: ContainerChoice,
    path: string,
  ): Promise<Outcome<AsyncIterable<Uint8Array>, Problem>> {
    this.asked.push({ key, choice, path });
    const archive = this.archives.get(path);
    if (archive === undefined) return refused({ code: "invalid-request", message: `there is no ${path}` });
    return ok(this.#pieces(archive));
  }

  async copyIn(
    key: DeploymentKey,
    choice: ContainerChoice,
    { path, archive }: { readonly path: string; readonly archive: AsyncIterable<Uint8Array> },
  ): Promise<Outcome<undefined, Problem>> {
    this.asked.push({ key, choice, path });
    const chunks: Uint8Array[] = [];
    for await (const chunk of archive) chunks.push(chunk.slice());
    this.archives.set(path, new Uint8Array(Buffer.concat(chunks)));
    return ok(undefined);
  }

  async restart(
    key: DeploymentKey,
    replica: number,
    container?: string,
  ): Promise<Outcome<undefined, Problem>> {
    this.asked.push({ key, choice: { replica, ...(container === undefined ? {} : { container }) } });
    if (replica > 9) return refused({ code: "not-found", message: `there is no replica ${replica}` });
    this.restarts.set(replica, (this.restarts.get(replica) ?? 0) + 1);
    return ok(undefined);
  }

  /** A tenth of a core more at each reading, which are a second apart. */
  async usage(scope: "fleet" | "node"): Promise<UsageView> {
    const reading = this.#readings++;
    const counters = { readBytes: 0, writtenBytes: 4096, receivedBytes: 2048, sentBytes: 1024 };
    const container = {
      namespace: "default",
      name: "web",
      replica: 0,
      container: "main",
      id: "web-0-1",
      cpuMicros: reading * 100_000,
      memoryBytes: 32 * 1024 * 1024,
      memoryLimitBytes: 64 * 1024 * 1024,
      pids: 3,
      ...counters,
    };
    const machine = {
      cpuMicros: reading * 500_000,
      cpuCount: 2,
      memoryBytes: 2 ** 30,
      memoryTotalBytes: 2 ** 32,
    };
    const nodes = [
      {
        node: "0".repeat(31) + "1",
        nodeName: "one",
        atMs: reading * 1_000,
        machine,
        containers: [container],
      },
    ];
    return { nodes, unreachable: scope === "fleet" ? ["two"] : [] };
  }

  async *#pieces(archive: Uint8Array): AsyncGenerator<Uint8Array> {
    yield archive.subarray(0, 512);
    if (this.breaksOff) throw new Error("the holder went away");
    yield archive.subarray(512);
  }
}

async function* echo(
  input: ReadableStream<Uint8Array>,
  exit: (code: number) => void,
): AsyncGenerator<{ readonly stream: "stdout"; readonly data: Uint8Array }> {
  try {
    for await (const data of input) yield { stream: "stdout", data };
    exit(0);
  } catch {
    // It was let go of.
  }
}
