/** What one seed's storm is made of. */
import type { Probe } from "../../src/model/probe.ts";
import type { Rng } from "../../src/core/rng.ts";
import type { ContainerTemplate, PortSpec, ReplicaTemplate } from "../../src/model/spec.ts";
import {
  containerDefaults,
  containerResourcesDefault,
  singleContainer,
  templateDefaults,
} from "../../src/model/template.ts";
import type { LogOptions } from "../../src/node/group.ts";

/** Relative frequency of what happens in one step; what is left of 100 is nothing. */
export interface Weights {
  readonly request: number;
  readonly powerOff: number;
  readonly killAgent: number;
  readonly bringBack: number;
  readonly cut: number;
  readonly heal: number;
  readonly crashContainer: number;
  readonly weather: number;
  readonly stopAgent: number;
  readonly fillDisk: number;
  readonly slowDisk: number;
  readonly skewClock: number;
  readonly join: number;
  readonly leave: number;
  readonly destroy: number;
}

export interface Profile {
  readonly name: string;
  readonly nodes: number;
  /** The fleet never grows past this many machines. */
  readonly nodesMax: number;
  readonly deployments: readonly string[];
  readonly runtimeFailures: number;
  readonly log: LogOptions;
  readonly weights: Weights;
  /** Most replicas a request asks for. */
  readonly replicasMax: number;
}

const everything: Weights = {
  request: 14,
  powerOff: 4,
  killAgent: 4,
  bringBack: 14,
  cut: 5,
  heal: 9,
  crashContainer: 4,
  weather: 4,
  stopAgent: 3,
  fillDisk: 2,
  slowDisk: 2,
  skewClock: 1,
  join: 1,
  leave: 2,
  destroy: 2,
};

const whole: Weights = { ...everything, cut: 0, weather: 0 };
const usersOnly: Weights = {
  ...whole,
  request: 40,
  powerOff: 0,
  killAgent: 0,
  stopAgent: 0,
  fillDisk: 0,
  slowDisk: 0,
  leave: 0,
  destroy: 0,
};

const nodesMax = 9;

/** Every profile comes with every size of fleet; the seed decides. */
export function profileOf(rng: Rng): Profile {
  const kind = rng.int(8);
  const base = {
    nodes: 3 + rng.int(5),
    nodesMax,
    deployments: ["web", ["shop", "big", "job", "many"][rng.int(4)] ?? "shop"],
    runtimeFailures: rng.int(3) === 0 ? 0.05 : 0,
    log:
      rng.int(2) === 0
        ? { entriesPerSnapshot: 8, tailEntries: 2 }
        : { entriesPerSnapshot: 200, tailEntries: 50 },
    weights: everything,
    replicasMax: 6,
  };
  switch (kind) {
    case 0:
      return { ...base, name: "no partitions", weights: whole };
    case 1:
      return {
        ...base,
        name: "growing",
        nodes: 1 + rng.int(2),
        weights: { ...everything, join: 8, leave: 0, destroy: 0 },
      };
    case 2:
      return { ...base, name: "full", deployments: ["big", "shop"], weights: { ...everything, request: 20 } };
    case 3:
      return { ...base, name: "wide", nodes: 5 + rng.int(3), replicasMax: 9 };
    case 4:
      return { ...base, name: "pauses", weights: { ...everything, stopAgent: 12, cut: 2 } };
    case 5:
      return { ...base, name: "users", weights: usersOnly };
    default:
      return { ...base, name: "everything" };
  }
}

const mebibyte = 1024 * 1024;

/** What a deployment of this name runs, in one of its versions. A node has 4,000 thousandths of a core and 1 GiB. */
export function templateOf(name: string, version: number): ReplicaTemplate {
  const container: ContainerTemplate = {
    ...containerDefaults,
    image: "web",
    env: { VERSION: String(version) },
    resources: { ...containerResourcesDefault, cpuMillis: 100, memoryBytes: 16 * mebibyte },
  };
  const replica = { stopTimeoutMs: 1_000 };
  switch (name) {
    case "shop": {
      const ports: readonly PortSpec[] = [{ container: 80, published: 8_080, protocol: "tcp" }];
      return singleContainer({ ...container, ports }, replica);
    }
    case "big": {
      const resources = { ...container.resources, cpuMillis: 1_500, memoryBytes: 400 * mebibyte };
      return singleContainer({ ...container, resources }, replica);
    }
    case "job":
      return singleContainer(
        { ...container, image: "job", command: [String(version % 2)] },
        { ...replica, restart: version % 2 === 0 ? "on-failure" : "never" },
      );
    case "duo":
      return {
        ...templateDefaults,
        ...replica,
        initContainers: [{ ...container, name: "prepare", image: "job", command: ["0"] }],
        containers: [
          { ...container, name: "app", probes: { startup: probe, readiness: probe, liveness: probe } },
          { ...container, name: "proxy", preStop: { kind: "http", port: 80, ...page } },
        ],
      };
    default:
      return singleContainer(container, replica);
  }
}

const page = { path: "/", scheme: "http", headers: {} } as const;
const probe: Probe = {
  action: { kind: "tcp", port: 80 },
  initialDelayMs: 0,
  periodMs: 5_000,
  timeoutMs: 1_000,
  successThreshold: 1,
  failureThreshold: 1,
};
