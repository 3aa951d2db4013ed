/** What follows from a template, and templates made of little. */
import { defined } from "./assert.ts";
import type { ContainerResources, ContainerTemplate, PortSpec, ReplicaTemplate, Resources } from "./spec.ts";

export const stopTimeoutMsDefault = 10_000;

/** The container of a replica that has one and does not name it. */
export const mainContainerName = "main";

/** As generous as a container needs and a machine can bear. */
export const pidsDefault = 4_096;

export const containerResourcesDefault: ContainerResources = {
  cpuMillis: 0,
  memoryBytes: 0,
  pids: pidsDefault,
  ephemeralBytes: 0,
};

/** Everything of a container but its image has a default. */
export const containerDefaults: Omit<ContainerTemplate, "image"> = {
  name: mainContainerName,
  pull: "missing",
  env: {},
  resources: containerResourcesDefault,
  ports: [],
  probes: {},
  capabilities: { add: [], drop: [] },
  readOnlyRoot: false,
  allowNewPrivileges: false,
  userNamespace: false,
  mounts: [],
  files: [],
  logs: { fileBytes: 10 * 1024 * 1024, files: 3 },
};

export const templateDefaults: Omit<ReplicaTemplate, "containers"> = {
  labels: {},
  initContainers: [],
  restart: "always",
  stopTimeoutMs: stopTimeoutMsDefault,
};

/** A replica of one container. */
export function singleContainer(
  container: Partial<ContainerTemplate> & Pick<ContainerTemplate, "image">,
  replica: Partial<ReplicaTemplate> = {},
): ReplicaTemplate {
  return { ...templateDefaults, ...replica, containers: [{ ...containerDefaults, ...container }] };
}

/** The one that stands for the replica where only one can: the first. */
export function mainContainer(template: ReplicaTemplate): ContainerTemplate {
  return defined(template.containers[0], "a replica's first container");
}

/** What a replica reserves: all its containers together, or the greatest of those that run before them. */
export function requestOf({ containers, initContainers }: ReplicaTemplate): Resources {
  let cpuMillis = 0;
  let memoryBytes = 0;
  for (const { resources } of containers) {
    cpuMillis += resources.cpuMillis;
    memoryBytes += resources.memoryBytes;
  }
  for (const { resources } of initContainers) {
    cpuMillis = Math.max(cpuMillis, resources.cpuMillis);
    memoryBytes = Math.max(memoryBytes, resources.memoryBytes);
  }
  return { cpuMillis, memoryBytes };
}

/** They share one network, so their ports are the replica's. */
export function portsOf({ containers }: ReplicaTemplate): readonly PortSpec[] {
  return containers.flatMap(({ ports }) => ports);
}

/** Runs programs of the machine itself; every other runtime runs images. */
const processRuntime = "process";

/** What stands in the place of an image where a runtime takes none. */
export const noImageName = "none";

export function needsImages({ runtime }: ReplicaTemplate): boolean {
  return runtime !== processRuntime;
}

/** Each image once, in the order in which they are needed. */
export function imagesOf(template: ReplicaTemplate): readonly string[] {
  if (!needsImages(template)) return [];
  const { initContainers, containers } = template;
  return [...new Set([...initContainers, ...containers].map(({ image }) => image))];
}

/** What a call for volunteers asks for. */
export function needsOf(template: ReplicaTemplate): {
  readonly resources: Resources;
  readonly ports: readonly PortSpec[];
  readonly images: readonly string[];
} {
  return { resources: requestOf(template), ports: portsOf(template), images: imagesOf(template) };
}

/** For a line of a table: the first image, and how many more there are. */
export function imageWords(template: ReplicaTemplate): string {
  const { image } = mainContainer(template);
  const more = template.containers.length - 1;
  return more === 0 ? image : `${image} and ${more} more`;
}
