import { expect, test } from "bun:test";
import type { MetricFamily } from "../../model/metric.ts";
import type { InstancePhase, InstanceReport } from "../../model/promise.ts";
import { ImageError, type Image, type ImageExchange, type ImageStore } from "../../ports/image-store.ts";
import type { Store } from "../../ports/store.ts";
import { agentMetrics } from "./agent-metrics.ts";
import { Histogram } from "./histogram.ts";
import { Meters } from "./meters.ts";
import { RestartCount } from "./restart-count.ts";

/** The value of the one sample with these labels. */
function valueOf(families: readonly MetricFamily[], name: string, labels: Record<string, string> = {}) {
  const family = families.find((one) => one.name === name);
  if (family === undefined || family.type === "histogram") return undefined;
  return family.samples.find((sample) => Bun.deepEquals(sample.labels, labels))?.value;
}

test("a histogram's buckets hold all that is below them", () => {
  const histogram = new Histogram([0.1, 1]);
  for (const value of [0.05, 0.1, 0.5, 7]) histogram.observe(value);
  expect(histogram.sample({ a: "b" })).toEqual({
    labels: { a: "b" },
    buckets: [
      { le: 0.1, count: 2 },
      { le: 1, count: 3 },
    ],
    count: 4,
    sum: 7.65,
  });
});

test("restarts add up over promises that come and go, and an earlier agent's are not ours", () => {
  const count = new RestartCount();
  const report = (promise: string, phase: InstancePhase, restarts: number): InstanceReport => ({
    promise,
    seq: 1,
    phase,
    restarts,
    ready: true,
    sinceMs: 0,
    containers: [],
  });
  const total = () => valueOf(count.families(), "muster_instance_restarts_total");
  count.seen(report("a", "admitted", 0));
  count.seen(report("a", "running", 0));
  count.seen(report("a", "running", 2));
  count.seen(report("a", "stopped", 2));
  count.seen(report("old", "running", 40));
  count.seen(report("old", "running", 41));
  expect(total()).toBe(3);
});

const image: Image = {
  reference: "a:1",
  digest: "sha256:0",
  layers: [],
  config: { entrypoint: [], command: [], env: [], workingDirectory: "", user: "" },
  sizeBytes: 10,
};

function imagesWith(ensure: ImageStore["ensure"]): ImageStore & ImageExchange {
  const missing = () => Promise.reject(new Error("not asked for here"));
  return {
    ensure,
    find: async () => image,
    list: missing,
    inspect: missing,
    protect: () => {},
    remove: missing,
    prune: missing,
    load: missing,
    // oxlint-disable-next-line require-yield
    save: async function* () {
      throw new Error("not asked for here");
    },
    push: missing,
  };
}

const store = (commit: Store["commit"]): Store => ({
  commit,
  get: async () => undefined,
  scan: async () => [],
  readLog: async () => [],
  close: async () => {},
});

test("a pull counts when something came, with its bytes; one that was given up is no failure", async () => {
  let next: (options: Parameters<ImageStore["ensure"]>[1]) => Promise<Image> = async () => image;
  const meters = new Meters({
    store: store(async () => {}),
    images: imagesWith((_reference, options) => next(options)),
    clock: { now: () => 0 },
  });
  const { images } = meters.ports;
  const abort = new AbortController();
  await images.ensure("a:1", { signal: abort.signal });
  next = async ({ onProgress }) => {
    for (const bytes of [4, 10]) onProgress?.({ bytes, bytesTotal: 10, layersDone: 0, layersTotal: 1 });
    return image;
  };
  await images.ensure("a:1", { signal: abort.signal });
  next = () => Promise.reject(new ImageError("no", { code: "not-found", reference: "a:1" }));
  await images.ensure("a:1", { signal: abort.signal }).catch(() => {});
  abort.abort();
  await images.ensure("a:1", { signal: abort.signal }).catch(() => {});
  const families = meters.families();
  expect(valueOf(families, "muster_image_pulls_total", { outcome: "done" })).toBe(1);
  expect(valueOf(families, "muster_image_pulls_total", { outcome: "failed" })).toBe(1);
  expect(valueOf(families, "muster_image_pull_bytes_total")).toBe(10);
});

test("commits are timed, and counted where they fail", async () => {
  let nowMs = 0;
  let fails = false;
  const meters = new Meters({
    store: store(async () => {
      nowMs += 3;
      if (fails) throw new Error("full");
    }),
    images: imagesWith(async () => image),
    clock: { now: () => nowMs },
  });
  await meters.ports.store.commit([]);
  await meters.ports.store.commit([]);
  fails = true;
  expect(await meters.ports.store.commit([]).catch((error: unknown) => String(error))).toBe("Error: full");
  const families = meters.families();
  const commits = families.find(({ name }) => name === "muster_store_commit_duration_seconds");
  expect(commits?.type === "histogram" ? commits.samples[0] : undefined).toMatchObject({
    count: 2,
    sum: 0.006,
  });
  expect(valueOf(families, "muster_store_commit_failures_total")).toBe(1);
});

test("an agent's members, promises, reservations and cohorts", () => {
  const group = (name: string, isSteward: boolean) => ({
    charter: { namespace: "shop", name },
    isSteward,
    status: () => ({
      term: 4,
      leader: undefined,
      commitIndex: 17,
      voters: [],
      learners: [],
      match: new Map<string, number>(),
    }),
  });
  const families = agentMetrics({
    status: {
      id: "0",
      name: "n1",
      version: "1",
      commit: "c",
      pid: 1,
      uptimeMs: 2500,
      fleet: "f",
      members: { alive: 3, suspect: 1, dead: 0 },
      promises: 2,
      groups: 2,
      rssBytes: 0,
    },
    fleet: { members: () => [{ status: "left" }, { status: "alive" }] },
    book: {
      entries: () => [{ report: { phase: "running" } }, { report: { phase: "running" } }],
      summary: () => ({
        node: "0",
        capacity: { cpuMillis: 4000, memoryBytes: 1000 },
        lines: [
          {
            promise: "p",
            deployment: "d",
            holder: "shop/web",
            epoch: 1,
            resources: { cpuMillis: 1500, memoryBytes: 400 },
            ports: [],
          },
        ],
        takenPorts: [],
        isStopping: false,
        released: new Set(),
      }),
    },
    groups: { all: () => [group("web", true), group("db", false)] },
  });
  const value = (name: string, labels?: Record<string, string>) => valueOf(families, name, labels);
  expect(value("muster_build_info", { version: "1", commit: "c", node: "n1" })).toBe(1);
  expect(value("muster_uptime_seconds")).toBe(2.5);
  expect(value("muster_members", { status: "alive" })).toBe(3);
  expect(value("muster_members", { status: "left" })).toBe(1);
  expect(value("muster_promises", { phase: "running" })).toBe(2);
  expect(value("muster_promises", { phase: "backoff" })).toBe(0);
  expect(value("muster_reserved_cpu_cores")).toBe(1.5);
  expect(value("muster_reserved_memory_bytes")).toBe(400);
  expect(value("muster_cohorts", { role: "steward" })).toBe(1);
  expect(value("muster_cohort_commit_index", { namespace: "shop", deployment: "db" })).toBe(17);
});
