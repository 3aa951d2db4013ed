/** Promises for the keeper's tests: of one plain container, or of whatever a template may ask for. */
import type { Probe, ProbeAction } from "../../model/probe.ts";
import type { PromiseTerms } from "../../model/promise.ts";
import type { ContainerTemplate, ReplicaTemplate, RestartPolicy } from "../../model/spec.ts";
import { containerDefaults, singleContainer, templateDefaults } from "../../model/template.ts";
import { defined } from "../../model/assert.ts";
import type { Rng } from "../rng.ts";

export function simulatedTerms(
  ordinal: number,
  replica: number,
  what: RestartPolicy | ReplicaTemplate,
): PromiseTerms {
  const plain = (restart: RestartPolicy): ReplicaTemplate =>
    singleContainer({ image: "web:1" }, { restart, stopTimeoutMs: 1_000 });
  return {
    id: `g/${ordinal}`,
    group: "g",
    deployment: "d",
    namespace: "test",
    name: "web",
    epoch: 1,
    replica,
    templateHash: "t",
    template: typeof what === "string" ? plain(what) : what,
  };
}

export function containerOf(name: string, more: Partial<ContainerTemplate> = {}): ContainerTemplate {
  return { ...containerDefaults, image: `${name}:1`, ...more, name };
}

export function replicaOf(
  containers: readonly ContainerTemplate[],
  more: Partial<ReplicaTemplate> = {},
): ReplicaTemplate {
  return { ...templateDefaults, stopTimeoutMs: 1_000, ...more, containers };
}

export function probeOf(more: Partial<Probe> = {}): Probe {
  return {
    action: { kind: "tcp", port: 80 },
    initialDelayMs: 0,
    periodMs: 1_000,
    timeoutMs: 500,
    successThreshold: 1,
    failureThreshold: 3,
    ...more,
  };
}

function pick<Item>(rng: Rng, items: readonly Item[]): Item {
  return defined(items[rng.int(items.length)], "one of several");
}

/** One to three containers, up to two that run before them, and probes and hooks by chance. */
export function randomTemplate(rng: Rng): ReplicaTemplate {
  const many = (names: readonly string[]): readonly string[] => names.slice(0, pick(rng, [0, 0, 1, 2]));
  const names = ["app", "proxy", "scribe"].slice(0, pick(rng, [1, 1, 2, 3]));
  return replicaOf(
    names.map((name) => randomContainer(rng, name)),
    {
      initContainers: many(["fetch", "unpack"]).map((name) => containerOf(name)),
      restart: pick(rng, ["always", "always", "on-failure", "never"]),
      stopTimeoutMs: pick(rng, [0, 1_000]),
    },
  );
}

function randomContainer(rng: Rng, name: string): ContainerTemplate {
  const action: ProbeAction = pick(rng, [
    { kind: "tcp", port: 80 },
    { kind: "exec", command: ["true"] },
  ]);
  const maybe = (): Probe | undefined =>
    rng.next() < 0.3
      ? probeOf({
          action,
          initialDelayMs: pick(rng, [0, 700]),
          periodMs: pick(rng, [500, 2_000]),
          failureThreshold: pick(rng, [1, 3]),
          successThreshold: pick(rng, [1, 2]),
        })
      : undefined;
  const [startup, readiness, liveness] = [maybe(), maybe(), maybe()];
  return containerOf(name, {
    pull: pick(rng, ["missing", "always"]),
    probes: {
      ...(startup === undefined ? {} : { startup }),
      ...(readiness === undefined ? {} : { readiness }),
      ...(liveness === undefined ? {} : { liveness }),
    },
    ...(rng.next() < 0.2 ? { preStop: { kind: "exec", command: ["drain"] } } : {}),
  });
}
