/**
 * The smallest complete driver of the keeper: a book in SQLite, containers, images and network in
 * memory. `bun examples/keeper.ts` makes a promise, lets its container crash, kills the agent, starts
 * another over the same book and machine, and releases the promise. The node's own driver is src/node/book.ts.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryFabric, MemoryNetwork } from "../src/adapters/fabrics/memory-fabric.ts";
import { MemoryMachine, waitingProgram } from "../src/adapters/runtimes/memory-machine.ts";
import { MemoryRuntime } from "../src/adapters/runtimes/memory-runtime.ts";
import { SqliteStore } from "../src/adapters/stores/sqlite-store.ts";
import { SystemClock } from "../src/adapters/system/system-clock.ts";
import { containerLabels } from "../src/core/keeper/container-ids.ts";
import { KeeperMachine } from "../src/core/keeper/machine.ts";
import type {
  BookRecord,
  ContainerRun,
  KeeperEffect,
  KeeperInput,
  StepEffect,
} from "../src/core/keeper/messages.ts";
import { keeperDefaults } from "../src/core/keeper/options.ts";
import { replicaAddress } from "../src/model/address.ts";
import type { CohortRef, InstanceReport, PromiseTerms } from "../src/model/promise.ts";
import { portsOf, requestOf, singleContainer } from "../src/model/template.ts";

const clock = new SystemClock();

/** What outlives an agent. */
export interface ExampleHost {
  readonly directory: string;
  readonly machine: MemoryMachine;
  readonly network: MemoryNetwork;
}

export class ExampleAgent {
  readonly #keeper = new KeeperMachine(keeperDefaults);
  readonly #store: SqliteStore;
  readonly #runtime: MemoryRuntime;
  readonly #fabric: MemoryFabric;
  readonly #listen: (report: InstanceReport) => void;
  readonly #effects: KeeperEffect[] = [];
  #isBusy = false;
  #isStopped = false;
  #cancelTimer = (): void => {};

  constructor(host: ExampleHost, listen: (report: InstanceReport) => void) {
    this.#store = SqliteStore.open(host.directory);
    this.#runtime = new MemoryRuntime({ machine: host.machine });
    this.#fabric = new MemoryFabric({ network: host.network });
    this.#listen = listen;
  }

  async start(): Promise<void> {
    this.#runtime.watch((status) => this.feed({ kind: "container-ended", status }));
    const stored = await this.#store.scan("promises");
    const records: BookRecord[] = stored.map(({ value }) => JSON.parse(new TextDecoder().decode(value)));
    const [containers, endpoints] = await Promise.all([this.#runtime.list(), this.#fabric.list()]);
    this.feed({ kind: "start", records, containers, endpoints, wallMs: clock.wallMs() });
  }

  /** The agent ends; what runs goes on. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelTimer();
    await this.#runtime.close();
    await this.#store.close();
  }

  feed(input: KeeperInput): void {
    if (this.#isStopped) return;
    this.#effects.push(...this.#keeper.step(input, clock.now()));
    void this.#carryOut();
    this.#cancelTimer();
    const deadline = this.#keeper.deadline();
    if (deadline !== undefined) this.#cancelTimer = clock.at(deadline, () => this.feed({ kind: "timeout" }));
  }

  /** In order, and nothing after a persist before it is durable. */
  async #carryOut(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    for (let effect = this.#effects.shift(); effect !== undefined; effect = this.#effects.shift()) {
      if (effect.kind === "persist") await this.#persist(effect.records, effect.removed);
      else if (effect.kind === "step") void this.#step(effect);
      else if (effect.kind === "report") this.#report(effect.report);
    }
    this.#isBusy = false;
  }

  #persist(records: readonly BookRecord[], removed: readonly string[]): Promise<void> {
    const puts = records.map((record) => ({
      kind: "put" as const,
      table: "promises" as const,
      key: record.kind === "promise" ? record.terms.id : record.promise,
      value: new TextEncoder().encode(JSON.stringify(record)),
    }));
    const deletes = removed.map((key) => ({ kind: "delete" as const, table: "promises" as const, key }));
    return this.#store.commit([...puts, ...deletes]);
  }

  /** This example's steward hears everything, and says so. */
  #report(report: InstanceReport): void {
    this.#listen(report);
    queueMicrotask(() => this.feed({ kind: "acked", acks: [{ promise: report.promise, seq: report.seq }] }));
  }

  async #step(effect: StepEffect): Promise<void> {
    const { promise, step, container } = effect;
    const of =
      container === undefined ? { promise, step } : { promise, step, container: container.template.name };
    try {
      this.feed({ kind: "step-done", ...of, ...(await this.#perform(effect)) });
    } catch (error) {
      this.feed({
        kind: "step-failed",
        ...of,
        error: { code: "failed", message: String(error), permanent: false },
      });
    }
  }

  async #perform({ step, terms, container, endpointId }: StepEffect): Promise<{ networkNamespace?: string }> {
    if (step === "attach") {
      const ipv6 = replicaAddress("fd000000", terms.deployment, terms.replica);
      const { networkNamespace } = await this.#fabric.attach({
        id: endpointId,
        owner: terms.name,
        ipv6,
        ports: portsOf(terms.template),
      });
      return { networkNamespace };
    }
    if (step === "detach") await this.#fabric.detach(endpointId);
    if (container === undefined) return {};
    if (step === "create") await this.#runtime.create(containerSpec(terms, container));
    if (step === "start") await this.#runtime.start(container.id);
    if (step === "stop") await this.#runtime.signal(container.id, 15);
    if (step === "kill") await this.#runtime.signal(container.id, 9);
    if (step === "remove") await this.#runtime.remove(container.id);
    return {};
  }
}

function containerSpec(terms: PromiseTerms, { id, attempt, template }: ContainerRun) {
  const labels = containerLabels(terms, template.name, attempt);
  const rest = { layers: ["/"], args: ["web"], env: [], workingDirectory: "/", user: "", hostname: "web" };
  return { id, labels, ...rest, ...requestOf(terms.template) };
}

export const exampleCohort: CohortRef = { group: "g", deployment: "0".repeat(32), epoch: 1, voters: [] };

export const exampleTerms: PromiseTerms = {
  ...{ id: "g/1", group: "g", deployment: exampleCohort.deployment, namespace: "default", name: "web" },
  ...{ epoch: 1, replica: 0, templateHash: "1" },
  template: singleContainer({ image: "web:1" }, { stopTimeoutMs: 1_000 }),
};

export function exampleHost(directory: string): ExampleHost {
  const machine = new MemoryMachine({ clock }, { programOf: () => waitingProgram });
  return { directory, machine, network: new MemoryNetwork() };
}

/** The story above; `tell` gets a line for each thing that happens. */
export async function tellStory(host: ExampleHost, tell: (line: string) => void): Promise<void> {
  let wake: (report: InstanceReport) => void = () => {};
  const listen = (report: InstanceReport): void => {
    tell(`${report.promise} is ${report.phase}, restarts ${report.restarts}`);
    wake(report);
  };
  const until = (holds: (report: InstanceReport) => boolean): Promise<void> =>
    new Promise((resolve) => {
      wake = (report) => holds(report) && resolve();
    });
  const first = new ExampleAgent(host, listen);
  await first.start();
  first.feed({ kind: "admit", terms: [exampleTerms], cohort: exampleCohort, wallMs: clock.wallMs() });
  await until(({ phase }) => phase === "running");
  tell("the program crashes");
  host.machine.end(host.machine.all()[0]?.spec.id ?? "", 1);
  await until(({ phase, restarts }) => phase === "running" && restarts === 1);
  tell("the agent ends, and another starts");
  await first.stop();
  const second = new ExampleAgent(host, listen);
  await second.start();
  await until(({ phase }) => phase === "running");
  second.feed({
    kind: "release",
    promises: [exampleTerms.id],
    reason: "the story ends",
    cohort: exampleCohort,
  });
  await until(({ phase }) => phase === "stopped");
  await second.stop();
}

if (import.meta.main) {
  const directory = mkdtempSync(join(tmpdir(), "muster-keeper-"));
  await tellStory(exampleHost(directory), (line) => console.log(line));
  rmSync(directory, { recursive: true });
}
