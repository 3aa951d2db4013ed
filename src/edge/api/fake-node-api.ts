/** A fleet of one in memory, for the tests of the edge: what is declared runs at once. */
import type { ContainerReport } from "../../model/promise.ts";
import type { HistoryEvent, HistoryKind } from "../../model/event.ts";
import type { MetricFamily } from "../../model/metric.ts";
import { ok, refused, type Outcome } from "../../model/outcome.ts";
import type { Problem } from "../../model/problem.ts";
import { deploymentName, type DeploymentSpec } from "../../model/spec.ts";
import type { CohortView, DeploymentView, NodeView, PromiseView, StatusView } from "../../model/views.ts";
import type {
  ContainerChoice,
  DeclareOptions,
  DeploymentKey,
  LogQuery,
  NodeApi,
  ReplicaLogLine,
  WriteAnswer,
} from "../../node/node-api.ts";
import type { ExecRequest, ExecSession } from "../../ports/container-runtime.ts";
import { templateHashOf } from "../../wire/digest.ts";
import { FakeContainers } from "./fake-containers.ts";
import { FakeImages } from "./fake-images.ts";

const node = "0".repeat(31) + "1";
const deploymentId = "a".repeat(32);

interface Held {
  spec: DeploymentSpec;
  readonly events: HistoryEvent[];
}

export class FakeNodeApi implements NodeApi {
  readonly images = new FakeImages();
  readonly containers = new FakeContainers();
  /** Ids of the writes that came in, in order. */
  readonly requestIds: string[] = [];
  /** Of every replica. */
  containerReports: readonly ContainerReport[] = [];
  readonly logQueries: LogQuery[] = [];
  /** Called with each exec request before it runs. */
  readonly execRequests: ExecRequest[] = [];
  /** And where. */
  readonly execChoices: ContainerChoice[] = [];
  /** Specs that were declared, in order. */
  readonly declared: DeploymentSpec[] = [];
  downs: { readonly keep: boolean }[] = [];
  /** Resolves once a stream that follows was cancelled by its reader. */
  readonly followEnded = Promise.withResolvers<void>();
  /** Resolves once an exec session was killed. */
  readonly execKilled = Promise.withResolvers<void>();
  /** Makes `status` throw, as a bug would. */
  broken = false;
  /** How many of the desired replicas run; undefined: all. */
  running: number | undefined;
  readonly #held = new Map<string, Held>();

  status(): StatusView {
    if (this.broken) throw new Error("a bug");
    return {
      id: node,
      name: "one",
      version: "0.0.0",
      commit: "test",
      pid: process.pid,
      uptimeMs: 61_000,
      fleet: "f".repeat(64),
      members: { alive: 1, suspect: 0, dead: 0 },
      promises: 0,
      groups: this.#held.size,
      rssBytes: 1024,
    };
  }

  metrics(): readonly MetricFamily[] {
    return [
      {
        type: "gauge",
        name: "muster_build_info",
        help: "Always 1; its labels say \\ what this is.",
        samples: [{ labels: { node: 'a "quoted"\nname\\' }, value: 1 }],
      },
    ];
  }

  nodes(): readonly NodeView[] {
    return [
      {
        id: node,
        name: "one",
        status: "alive",
        addresses: ["127.0.0.1:7440"],
        version: "0.0.0",
        architecture: "amd64",
        capacity: { cpuMillis: 2000, memoryBytes: 2 ** 32 },
        free: { cpuMillis: 1500, memoryBytes: 2 ** 31 },
        labels: { disk: "ssd" },
        self: true,
      },
    ];
  }

  async invite(options: { readonly ttlMs: number }) {
    return { token: "token", expiresAtMs: options.ttlMs, join: ["127.0.0.1:7440"] };
  }

  async declare(spec: DeploymentSpec, options: DeclareOptions): Promise<Outcome<WriteAnswer, Problem>> {
    this.requestIds.push(options.requestId);
    this.declared.push(spec);
    const held = this.#held.get(deploymentName(spec));
    if (held !== undefined && options.createOnly)
      return refused({
        code: "already-exists",
        message: `${deploymentName(spec)} exists`,
        next: "choose another name, or change it with muster apply",
      });
    if (held === undefined) this.#held.set(deploymentName(spec), { spec, events: [] });
    else held.spec = spec;
    return ok(this.#wrote(spec, "declared"));
  }

  async scale(key: DeploymentKey, replicas: number, options: { readonly requestId: string }) {
    this.requestIds.push(options.requestId);
    const held = this.#find(key);
    if (!held.ok) return held;
    held.value.spec = { ...held.value.spec, replicas };
    return ok(this.#wrote(held.value.spec, "scaled"));
  }

  async delete(key: DeploymentKey, options: { readonly requestId: string }) {
    this.requestIds.push(options.requestId);
    const held = this.#find(key);
    if (!held.ok) return held;
    const answer = this.#wrote({ ...held.value.spec, replicas: 0 }, "deleted");
    this.#held.delete(deploymentName(key));
    return ok(answer);
  }

  async deployments(namespace: string | undefined): Promise<readonly DeploymentView[]> {
    return [...this.#held.values()]
      .filter(({ spec }) => namespace === undefined || spec.namespace === namespace)
      .map(({ spec }) => this.#view(spec));
  }

  async inspect(key: DeploymentKey): Promise<Outcome<DeploymentView, Problem>> {
    const held = this.#find(key);
    return held.ok ? ok(this.#view(held.value.spec)) : held;
  }

  async cohort(key: DeploymentKey): Promise<Outcome<CohortView, Problem>> {
    const held = this.#find(key);
    if (!held.ok) return held;
    return ok({
      deployment: deploymentId,
      ...key,
      group: `${deploymentId}.1.00000000`,
      epoch: 1,
      term: 1,
      steward: node,
      members: [{ node, name: "one", roles: ["steward", "voter", "holder"], status: "alive", match: 3 }],
      commitIndex: 3,
      tolerates: 0,
      note: "one node: no loss is tolerated",
      freshness: { source: "steward", node, index: 3 },
    });
  }

  async promises(scope: "fleet" | "node") {
    const promise: PromiseView = {
      promise: `${deploymentId}.1.00000000/1`,
      namespace: "default",
      name: scope,
      replica: 0,
      node,
      nodeName: "one",
      phase: "running",
      assessment: "kept",
      restarts: 0,
      sinceMs: 0,
      resources: { cpuMillis: 0, memoryBytes: 0 },
    };
    return { promises: [promise], unreachable: scope === "fleet" ? ["two"] : [] };
  }

  async events(
    key: DeploymentKey,
    options: { readonly follow: boolean; readonly sinceIndex: number; readonly signal: AbortSignal },
  ): Promise<Outcome<AsyncIterable<HistoryEvent>, Problem>> {
    const held = this.#find(key);
    if (!held.ok) return held;
    const events = held.value.events.filter((event) => event.index >= options.sinceIndex);
    return ok(this.#stream(events, options.follow, options.signal));
  }

  async logs(key: DeploymentKey, query: LogQuery): Promise<Outcome<AsyncIterable<ReplicaLogLine>, Problem>> {
    const held = this.#find(key);
    if (!held.ok) return held;
    this.logQueries.push(query);
    const lines = [0, 1].flatMap((replica): ReplicaLogLine[] => [
      { replica, stream: "stdout", atMs: 0, text: `hello from ${replica}` },
      { replica, stream: "stderr", atMs: 1, text: `oops \u{1f600} from ${replica}` },
    ]);
    const chosen = lines.filter((line) => query.replica === undefined || line.replica === query.replica);
    return ok(
      this.#stream(query.tail === undefined ? chosen : chosen.slice(-query.tail), query.follow, query.signal),
    );
  }

  /** `cat` gives back its input; `exit N` ends with N; `flood N` writes N bytes; anything else is said on stderr. */
  async exec(
    key: DeploymentKey,
    choice: ContainerChoice,
    request: ExecRequest,
  ): Promise<Outcome<ExecSession, Problem>> {
    const held = this.#find(key);
    if (!held.ok) return held;
    this.execRequests.push(request);
    this.execChoices.push(choice);
    return ok(new FakeExec(request, this.execKilled.resolve));
  }

  async down(options: { readonly keep: boolean }): Promise<void> {
    this.downs.push(options);
  }

  #find(key: DeploymentKey): Outcome<Held, Problem> {
    const held = this.#held.get(deploymentName(key));
    if (held !== undefined) return ok(held);
    return refused({
      code: "not-found",
      message: `there is no deployment ${deploymentName(key)}`,
      next: "muster ps -A lists all",
    });
  }

  #wrote(spec: DeploymentSpec, kind: HistoryKind): WriteAnswer {
    const events = this.#held.get(deploymentName(spec))?.events ?? [];
    const index = events.length + 1;
    events.push({
      deployment: deploymentName(spec),
      index,
      epoch: 1,
      atMs: 0,
      kind,
      actor: "user",
      cause: "asked for",
    });
    return {
      deployment: deploymentId,
      templateHash: templateHashOf(spec.template),
      desired: spec.replicas,
      changed: true,
      epoch: 1,
      index,
      notes: [],
    };
  }

  #view(spec: DeploymentSpec): DeploymentView {
    const running = Math.min(spec.replicas, this.running ?? spec.replicas);
    return {
      id: deploymentId,
      namespace: spec.namespace,
      name: spec.name,
      spec,
      templateHash: templateHashOf(spec.template),
      status: "active",
      running,
      desired: spec.replicas,
      steward: node,
      epoch: 1,
      replicas: Array.from({ length: running }, (_, replica) => ({
        replica,
        promise: `${deploymentId}.1.00000000/${replica}`,
        node,
        nodeName: "one",
        phase: "running",
        ready: true,
        restarts: this.containers.restarts.get(replica) ?? 0,
        sinceMs: 0,
        templateHash: templateHashOf(spec.template),
        containers: this.containerReports,
        address: `fd00::${replica + 1}`,
      })),
      unplaced: running < spec.replicas ? [`memory: 1 node has too little`] : [],
      freshness: {
        source: "steward",
        node,
        index: this.#held.get(deploymentName(spec))?.events.length ?? 0,
      },
    };
  }

  async *#stream<T>(items: readonly T[], follow: boolean, signal: AbortSignal): AsyncGenerator<T> {
    yield* items;
    if (!follow) return;
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
    this.followEnded.resolve();
  }
}

class FakeExec implements ExecSession {
  readonly output: AsyncIterable<{ readonly stream: "stdout" | "stderr"; readonly data: Uint8Array }>;
  readonly exitCode: Promise<number>;
  readonly #exit = Promise.withResolvers<number>();
  readonly #input = new TransformStream<Uint8Array, Uint8Array>();
  readonly #writer = this.#input.writable.getWriter();

  readonly #killed: () => void;

  constructor(request: ExecRequest, killed: () => void) {
    this.#killed = killed;
    this.exitCode = this.#exit.promise;
    this.output = this.#run(request);
  }

  async *#run({
    args,
    terminal,
  }: ExecRequest): AsyncGenerator<{ stream: "stdout" | "stderr"; data: Uint8Array }> {
    const [program, argument] = args;
    if (program === "cat") {
      for await (const data of this.#input.readable) yield { stream: "stdout", data };
      this.#exit.resolve(0);
    } else if (program === "exit") this.#exit.resolve(Number(argument));
    else if (program === "flood") {
      const data = new Uint8Array(Number(argument)).fill(120);
      yield { stream: "stdout", data };
      this.#exit.resolve(0);
    } else if (program === "size") {
      yield { stream: "stdout", data: Buffer.from(`${terminal?.columns}x${terminal?.rows}`) };
      this.#exit.resolve(0);
    } else {
      yield { stream: "stderr", data: Buffer.from(`${args.join(" ")}: not here\n`) };
      this.#exit.resolve(127);
    }
  }

  write(data: Uint8Array): Promise<void> {
    return this.#writer.write(data);
  }

  closeInput(): Promise<void> {
    return this.#writer.close();
  }

  resize(): void {}

  kill(): void {
    this.#killed();
    this.#exit.resolve(137);
    void this.#writer.abort().catch(() => undefined);
  }
}
