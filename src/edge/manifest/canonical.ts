/** One writing for each meaning: lists whose order means nothing are sorted, so that equal specs have equal hashes. */
import type { ContainerTemplate, PortSpec, ReplicaTemplate } from "../../model/spec.ts";

export function canonicalTemplate(template: ReplicaTemplate): ReplicaTemplate {
  return {
    ...template,
    labels: sortedByKey(template.labels),
    initContainers: template.initContainers.map(canonicalContainer),
    containers: template.containers.map(canonicalContainer),
  };
}

function canonicalContainer(container: ContainerTemplate): ContainerTemplate {
  const { capabilities } = container;
  return {
    ...container,
    env: sortedByKey(container.env),
    ports: container.ports.toSorted(byPort),
    // Without nested targets the order of mounts and files means nothing.
    mounts: container.mounts.toSorted((a, b) => order(a.target, b.target)),
    files: container.files.toSorted((a, b) => order(a.path, b.path)),
    capabilities: { add: uniqueSorted(capabilities.add), drop: uniqueSorted(capabilities.drop) },
  };
}

export function sortedByKey(values: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(values).sort(([a], [b]) => order(a, b)));
}

function byPort(a: PortSpec, b: PortSpec): number {
  return (
    a.container - b.container || order(a.protocol, b.protocol) || (a.published ?? 0) - (b.published ?? 0)
  );
}

function uniqueSorted(names: readonly string[]): readonly string[] {
  return [...new Set(names)].toSorted(order);
}

/** By UTF-16 units: the same everywhere. */
function order(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
