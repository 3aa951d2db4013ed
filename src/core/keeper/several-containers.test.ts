import { describe, expect, test } from "bun:test";
import { defined } from "../../model/assert.ts";
import type { CohortRef, InstanceReport } from "../../model/promise.ts";
import type { ReplicaTemplate } from "../../model/spec.ts";
import { containerIdOf, containerLabels, endpointIdOf } from "./container-ids.ts";
import { KeeperMachine } from "./machine.ts";
import type {
  BookRecord,
  KeeperEffect,
  KeeperInput,
  ObservedContainer,
  ProbePurpose,
  StepName,
} from "./messages.ts";
import { keeperDefaults } from "./options.ts";
import { containerOf, probeOf, replicaOf, simulatedTerms } from "./simulated-terms.ts";

const cohort: CohortRef = { group: "g", deployment: "d", epoch: 1, voters: ["n1"] };

/** One promise, on a machine where steps succeed when the test says so. `said` is what was asked for since it was last read. */
class Bench {
  readonly disk = new Map<string, BookRecord>();
  readonly terms;
  machine = new KeeperMachine(keeperDefaults);
  now = 0;
  #open: { step: StepName; container: string | undefined }[] = [];
  #effects: KeeperEffect[] = [];

  constructor(template: ReplicaTemplate) {
    this.terms = simulatedTerms(1, 0, template);
    this.feed({ kind: "start", records: [], containers: [], endpoints: [], wallMs: 0 });
    this.feed({ kind: "admit", terms: [this.terms], cohort, wallMs: 0 });
  }

  feed(input: KeeperInput): this {
    for (const effect of this.machine.step(input, this.now)) {
      this.#effects.push(effect);
      if (effect.kind === "step")
        this.#open.push({ step: effect.step, container: effect.container?.template.name });
      if (effect.kind === "persist")
        for (const record of effect.records) if (record.kind === "promise") this.disk.set("it", record);
    }
    return this;
  }

  /** All steps that were begun succeed, and those that follow from it. */
  settle(): this {
    for (let next = this.#open.shift(); next !== undefined; next = this.#open.shift()) {
      const { step, container } = next;
      const of = container === undefined ? {} : { container };
      this.feed({ kind: "step-done", promise: "g/1", step, networkNamespace: "/netns/1", ...of });
    }
    return this;
  }

  ended(container: string, exitCode: number, attempt = 0): this {
    return this.feed({
      kind: "container-ended",
      status: this.observed(container, "exited", attempt, exitCode),
    });
  }

  /** As the runtime shows it. */
  observed(
    container: string,
    phase: ObservedContainer["phase"],
    attempt = 0,
    exitCode?: number,
  ): ObservedContainer {
    const { initContainers, containers } = this.terms.template;
    const index = [...initContainers, ...containers].findIndex(({ name }) => name === container);
    const id = containerIdOf(this.terms, index, attempt);
    const labels = containerLabels(this.terms, container, attempt);
    return { id, labels, phase, ...(exitCode === undefined ? {} : { exitCode }) };
  }

  probed(container: string, purpose: ProbePurpose, isWell: boolean, attempt = 0): this {
    const { id } = this.observed(container, "running", attempt);
    const detail = isWell ? "fine" : "refused";
    return this.feed({ kind: "probed", promise: "g/1", container, containerId: id, purpose, isWell, detail });
  }

  at(now: number): this {
    this.now = now;
    return this.feed({ kind: "timeout" });
  }

  release(): this {
    return this.feed({ kind: "release", promises: ["g/1"], reason: "scaled down", cohort });
  }

  /** A new agent over the same book finds these. */
  restart(containers: readonly ObservedContainer[], hasNetwork = true): this {
    this.machine = new KeeperMachine(keeperDefaults);
    this.#open = [];
    this.#effects = [];
    const endpoints = hasNetwork ? [{ id: endpointIdOf(this.terms), networkNamespace: "/netns/1" }] : [];
    return this.feed({ kind: "start", records: [...this.disk.values()], containers, endpoints, wallMs: 0 });
  }

  get said(): string[] {
    const lines = this.#effects.flatMap((effect) => {
      if (effect.kind === "step") return [`${effect.step} ${effect.container?.template.name ?? ""}`.trim()];
      return effect.kind === "probe" ? [`probe ${effect.purpose} ${effect.container}`] : [];
    });
    this.#effects = [];
    return lines;
  }

  get report(): InstanceReport {
    return defined(this.machine.get("g/1"), "the promise").report;
  }

  /** Phase of each container, in order. */
  get phases(): string[] {
    return this.report.containers.map(({ name, phase, ready }) => `${name} ${phase}${ready ? " ready" : ""}`);
  }
}

const [app, proxy] = [containerOf("app"), containerOf("proxy")];
const fetcher = containerOf("fetch");

describe("the order", () => {
  test("images side by side, the network, init containers one by one, then the others", () => {
    const initContainers = [fetcher, containerOf("unpack")];
    const bench = new Bench(replicaOf([app, proxy], { initContainers }));
    expect(bench.said).toEqual(["fetch", "unpack", "app", "proxy"].map((name) => `ensure-image ${name}`));
    expect(bench.settle().said).toEqual(["attach", "create fetch", "start fetch"]);
    expect(bench.ended("fetch", 0).settle().said).toEqual(["create unpack", "start unpack"]);
    expect(bench.phases).toEqual(["fetch completed", "unpack running", "app waiting", "proxy waiting"]);
    expect(bench.ended("unpack", 0).settle().said).toEqual([
      "create app",
      "start app",
      "create proxy",
      "start proxy",
    ]);
    expect(bench.report).toMatchObject({ phase: "running", ready: true, restarts: 0 });
  });

  test("an init container that fails is tried again, later each time, and holds the others back", () => {
    const bench = new Bench(replicaOf([app], { initContainers: [fetcher] })).settle();
    void bench.said;
    expect(bench.ended("fetch", 1).settle().said).toEqual(["remove fetch", "create fetch", "start fetch"]);
    bench.ended("fetch", 1, 1).settle();
    expect(bench.report).toMatchObject({ phase: "backoff", message: "fetch: exited with 1", exitCode: 1 });
    expect(bench.said).toEqual([]);
    expect(bench.at(1_000).settle().said).toEqual(["remove fetch", "create fetch", "start fetch"]);
    expect(bench.ended("fetch", 0, 2).settle().said).toEqual(["create app", "start app"]);
    expect(bench.report.message).toBeUndefined();
  });

  test("under `never` a failed init container is the end", () => {
    const bench = new Bench(replicaOf([app], { initContainers: [fetcher], restart: "never" })).settle();
    bench.ended("fetch", 3).settle();
    expect(bench.report).toMatchObject({ phase: "completed", message: "fetch: exited with 3", exitCode: 3 });
  });

  test("a restart is of one container", () => {
    const bench = new Bench(replicaOf([app, proxy])).settle();
    void bench.said;
    expect(bench.ended("app", 1).settle().said).toEqual(["remove app", "create app", "start app"]);
    expect(bench.report).toMatchObject({ phase: "running", restarts: 1 });
    expect(bench.report.containers.map(({ restarts }) => restarts)).toEqual([1, 0]);
  });

  test("a replica is completed when all its containers are", () => {
    const bench = new Bench(replicaOf([app, proxy], { restart: "on-failure" })).settle();
    bench.ended("app", 0).settle();
    expect(bench.report).toMatchObject({ phase: "running", ready: true });
    bench.ended("proxy", 0).settle();
    expect(bench.report.phase).toBe("completed");
  });

  test("one that pulls always asks the registry before each run", () => {
    const bench = new Bench(replicaOf([containerOf("app", { pull: "always" })])).settle();
    void bench.said;
    const again = ["remove app", "ensure-image app", "create app", "start app"];
    expect(bench.ended("app", 1).settle().said).toEqual(again);
  });
});

describe("the end", () => {
  test("is in the reverse order, hook first, and the network last", () => {
    const preStop = { kind: "exec", command: ["drain"] } as const;
    const bench = new Bench(replicaOf([containerOf("app", { preStop }), proxy])).settle();
    void bench.said;
    expect(bench.release().said).toEqual(["stop proxy"]);
    expect(bench.settle().said).toEqual([]);
    bench.ended("proxy", 143);
    expect(bench.said).toEqual(["pre-stop app", "remove proxy"]);
    expect(bench.settle().said).toEqual(["stop app"]);
    expect(bench.ended("app", 143).settle().said).toEqual(["remove app", "detach"]);
    expect(bench.report).toMatchObject({ phase: "stopped", ready: false });
  });

  test("the hook's time counts, but the signal gets its moment", () => {
    const preStop = { kind: "exec", command: ["drain"] } as const;
    const template = replicaOf([containerOf("app", { preStop })], { stopTimeoutMs: 5_000 });
    const bench = new Bench(template).settle();
    void bench.release().said;
    bench.now = 4_000;
    expect(bench.settle().said).toEqual(["stop app"]);
    expect(bench.at(5_999).said).toEqual([]);
    expect(bench.at(6_000).said).toEqual(["kill app"]);
  });

  test("a hook that fails keeps nothing from being stopped", () => {
    const preStop = { kind: "exec", command: ["drain"] } as const;
    const bench = new Bench(replicaOf([containerOf("app", { preStop })])).settle();
    void bench.release().said;
    const error = { code: "failed", message: "no such program", permanent: false };
    bench.feed({ kind: "step-failed", promise: "g/1", step: "pre-stop", container: "app", error });
    expect(bench.said).toEqual(["stop app"]);
  });
});

describe("probes", () => {
  const withProbes = (probes: Parameters<typeof containerOf>[1], more = {}): Bench =>
    new Bench(replicaOf([containerOf("app", probes), proxy], more)).settle();

  test("readiness decides whether the replica is ready, and touches nothing", () => {
    const bench = withProbes({ probes: { readiness: probeOf({ failureThreshold: 2 }) } });
    expect(bench.report).toMatchObject({ phase: "running", ready: false });
    void bench.said;
    bench.probed("app", "readiness", true);
    expect(bench.report.ready).toBe(true);
    for (const at of [1_000, 2_000]) {
      expect(bench.at(at).said).toEqual(["probe readiness app"]);
      expect(bench.report.ready).toBe(true);
      bench.probed("app", "readiness", false);
    }
    expect(bench.report).toMatchObject({
      phase: "running",
      ready: false,
      message: "app: readiness probe failed: refused",
    });
    expect(bench.at(3_000).said).toEqual(["probe readiness app"]);
    bench.probed("app", "readiness", true);
    expect(bench.report).toMatchObject({ ready: true, restarts: 0 });
    expect(bench.report.message).toBeUndefined();
  });

  test("the others wait for startup", () => {
    const bench = withProbes({ probes: { startup: probeOf(), liveness: probeOf({ initialDelayMs: 500 }) } });
    expect(bench.report.ready).toBe(false);
    expect(bench.said).toContain("probe startup app");
    bench.probed("app", "startup", false);
    expect(bench.at(1_000).said).toEqual(["probe startup app"]);
    bench.probed("app", "startup", true);
    expect(bench.said).toEqual(["probe liveness app"]);
    expect(bench.report.ready).toBe(true);
    bench.probed("app", "liveness", true);
    expect(bench.at(2_000).said).toEqual(["probe liveness app"]);
  });

  test("failed liveness ends that container alone, and it is started again", () => {
    const bench = withProbes({ probes: { liveness: probeOf({ failureThreshold: 1 }) } });
    void bench.said;
    bench.probed("app", "liveness", false);
    expect(bench.said).toEqual(["stop app"]);
    expect(bench.phases).toEqual(["app stopping", "proxy running ready"]);
    bench.settle();
    expect(bench.at(1_000).said).toEqual(["kill app"]);
    bench.settle().ended("app", 137).settle();
    expect(bench.said).toEqual(["remove app", "create app", "start app", "probe liveness app"]);
    expect(bench.report).toMatchObject({ phase: "running", ready: true, restarts: 1, exitCode: 137 });
    // An answer for the run before says nothing of this one.
    bench.probed("app", "liveness", false, 0);
    expect(bench.said).toEqual([]);
  });

  test("an end by a failed probe is a failure, also with exit code 0", () => {
    for (const [restart, phase] of [
      ["on-failure", "running"],
      ["never", "completed"],
    ] as const) {
      const liveness = probeOf({ failureThreshold: 1 });
      const bench = new Bench(
        replicaOf([containerOf("app", { probes: { liveness } })], { restart }),
      ).settle();
      bench.probed("app", "liveness", false).settle().ended("app", 0).settle();
      expect(bench.report.phase).toBe(phase);
    }
  });

  test("no more than so many are under way", () => {
    const terms = Array.from({ length: 20 }, (_, i) =>
      simulatedTerms(i, i, replicaOf([containerOf("app", { probes: { liveness: probeOf() } })])),
    );
    const machine = new KeeperMachine(keeperDefaults);
    const containers = terms.map((one) => ({
      id: containerIdOf(one, 0, 0),
      labels: containerLabels(one, "app", 0),
      phase: "running" as const,
    }));
    const endpoints = terms.map((one) => ({ id: endpointIdOf(one), networkNamespace: "/netns" }));
    const seed = new KeeperMachine(keeperDefaults);
    seed.step({ kind: "start", records: [], containers: [], endpoints: [], wallMs: 0 }, 0);
    const records = seed
      .step({ kind: "admit", terms, cohort, wallMs: 0 }, 0)
      .flatMap((effect) => (effect.kind === "persist" ? effect.records : []));
    const countProbes = (effects: readonly KeeperEffect[]): number =>
      effects.filter((effect) => effect.kind === "probe").length;
    const effects = machine.step({ kind: "start", records, containers, endpoints, wallMs: 0 }, 0);
    expect(countProbes(effects)).toBe(keeperDefaults.probesMax);
    const answer = { kind: "probed", promise: "g/0", container: "app", purpose: "liveness" } as const;
    const id = containerIdOf(defined(terms[0], "the first"), 0, 0);
    const next = machine.step({ ...answer, containerId: id, isWell: true, detail: "fine" }, 1);
    expect(countProbes(next)).toBe(1);
  });
});

describe("a new agent", () => {
  test("adopts every container, and what was found out of their health", () => {
    const probes = { startup: probeOf(), readiness: probeOf() };
    const bench = new Bench(replicaOf([containerOf("app", { probes }), proxy])).settle();
    bench.probed("app", "startup", true).probed("app", "readiness", true);
    bench.restart([bench.observed("app", "running"), bench.observed("proxy", "running")]);
    expect(bench.said).toEqual(["probe readiness app"]);
    expect(bench.report).toMatchObject({ phase: "running", ready: true, restarts: 0 });
  });

  test("starts only what is missing", () => {
    const bench = new Bench(replicaOf([app, proxy])).settle();
    bench.restart([bench.observed("app", "running"), bench.observed("proxy", "exited", 0, 1)]).settle();
    expect(bench.said).toEqual(["remove proxy", "ensure-image proxy", "create proxy", "start proxy"]);
  });

  test("does not run init containers again in the same network, but in another one", () => {
    const bench = new Bench(replicaOf([app], { initContainers: [fetcher] })).settle();
    bench.ended("fetch", 0).settle();
    const found = [bench.observed("fetch", "exited", 0, 0), bench.observed("app", "unknown")];
    expect(bench.restart(found).settle().said).toEqual([
      "remove app",
      "ensure-image app",
      "create app",
      "start app",
    ]);
    bench.restart([bench.observed("fetch", "exited", 0, 0), bench.observed("app", "unknown", 1)], false);
    expect(bench.settle().said).toEqual([
      "remove app",
      "ensure-image app",
      "attach",
      "remove fetch",
      "ensure-image fetch",
      "create fetch",
      "start fetch",
    ]);
    expect(bench.ended("fetch", 0, 1).settle().said).toEqual(["create app", "start app"]);
  });

  test("does not take what an init container did in another network for done", () => {
    const bench = new Bench(replicaOf([app], { initContainers: [fetcher] })).settle();
    bench.ended("fetch", 0).settle();
    const old = bench.observed("fetch", "exited", 0, 0);
    // The first of them makes the network and dies.
    bench.restart([old, bench.observed("app", "unknown")], false).settle();
    bench.restart([old]).settle();
    expect(bench.said.filter((line) => !line.startsWith("ensure"))).toEqual([
      "remove fetch",
      "create fetch",
      "start fetch",
    ]);
  });

  test("judges anew one that its predecessor was ending", () => {
    const bench = new Bench(
      replicaOf([containerOf("app", { probes: { liveness: probeOf({ failureThreshold: 1 }) } })]),
    ).settle();
    bench.probed("app", "liveness", false).restart([bench.observed("app", "running")]);
    expect(bench.said).toEqual(["probe liveness app"]);
    expect(bench.report.ready).toBe(true);
    bench.probed("app", "liveness", false);
    expect(bench.said).toEqual(["stop app"]);
  });

  test("on release, what may still run keeps those before it running until it is removed", () => {
    const bench = new Bench(replicaOf([app, proxy])).settle();
    bench.restart([bench.observed("app", "running"), bench.observed("proxy", "unknown")]);
    void bench.said;
    bench.release();
    expect(bench.said).toEqual([]);
    expect(bench.settle().said).toEqual(["stop app"]);
  });

  test("removes what may run on unwatched, also under `never`, before its policy is asked", () => {
    const bench = new Bench(replicaOf([app], { restart: "never" })).settle();
    bench.restart([bench.observed("app", "unknown")]);
    expect(bench.said).toEqual(["remove app"]);
    expect(bench.report.phase).toBe("starting");
    bench.settle();
    expect(bench.report.phase).toBe("completed");
    expect(bench.said).toEqual([]);
  });

  test("ends those that run in a network that is gone, once another has to start", () => {
    const bench = new Bench(replicaOf([app, proxy])).settle();
    bench.restart([bench.observed("app", "running"), bench.observed("proxy", "running")], false);
    expect(bench.said).toEqual([]);
    bench.ended("proxy", 1);
    expect(bench.said).toEqual(["stop app", "remove proxy"]);
    bench.settle().ended("app", 143).settle();
    expect(bench.said.filter((line) => !line.startsWith("ensure"))).toEqual([
      "remove app",
      "attach",
      "create app",
      "start app",
      "create proxy",
      "start proxy",
    ]);
  });
});

describe("a restart that a user asks for", () => {
  const asked = (container?: string): KeeperInput => ({
    kind: "restart",
    promise: "g/1",
    cause: "asked for",
    ...(container === undefined ? {} : { container }),
  });

  test("ends what runs and starts it again, whatever it made of the signal", () => {
    const bench = new Bench(replicaOf([app, proxy], { initContainers: [fetcher], restart: "on-failure" }));
    bench.settle().ended("fetch", 0).settle();
    expect(bench.phases).toEqual(["fetch completed", "app running ready", "proxy running ready"]);
    expect(bench.said.length).toBeGreaterThan(0);
    expect(bench.feed(asked("app")).said).toEqual(["stop app"]);
    bench.settle().ended("app", 0).settle();
    expect(bench.phases).toEqual(["fetch completed", "app running ready", "proxy running ready"]);
    expect(bench.report.restarts).toBe(1);
    bench.feed(asked());
    expect(bench.said.filter((line) => line.startsWith("stop"))).toEqual(["stop app", "stop proxy"]);
  });

  test("does not keep waiting what waits for its next try", () => {
    const bench = new Bench(replicaOf([app]));
    bench.settle();
    for (const attempt of [0, 1, 2]) bench.ended("app", 1, attempt).settle();
    expect(bench.phases).toEqual(["app backoff"]);
    bench.feed(asked()).settle();
    expect(bench.phases).toEqual(["app running ready"]);
  });

  test("means nothing for a promise that is not here or is let go of", () => {
    const bench = new Bench(replicaOf([app]));
    bench.settle();
    bench.feed({ kind: "restart", promise: "g/9", cause: "asked for" });
    expect(bench.phases).toEqual(["app running ready"]);
    bench.release().settle().ended("app", 0).settle();
    const before = bench.said.length;
    expect(before).toBeGreaterThan(0);
    expect(bench.feed(asked()).said).toEqual([]);
  });
});
