/** What is different between two specs, field by field, in the words of manifests. */
import type { ContainerTemplate, DeploymentSpec, Mount } from "../../model/spec.ts";
import { mainContainerName } from "../../model/template.ts";
import { exactBytes } from "./quantity.ts";
import { formatPath, type PathKey } from "./field-path.ts";
import { writtenContainer, writtenSpec, type Written } from "./written.ts";

export interface Difference {
  readonly path: string;
  /** As it would be written; undefined where there was, or will be, nothing. */
  readonly before?: string;
  readonly after?: string;
}

/** In the order of the fields, those of the former spec first. */
export function differences(before: DeploymentSpec, after: DeploymentSpec): readonly Difference[] {
  const isShort = hasOnlyMain(before) && hasOnlyMain(after);
  const old = fieldsOf(before, isShort);
  const recent = fieldsOf(after, isShort);
  return [...new Set([...old.keys(), ...recent.keys()])].flatMap((path): readonly Difference[] => {
    const from = old.get(path);
    const to = recent.get(path);
    if (from === to) return [];
    return [
      {
        path,
        ...(from === undefined ? {} : { before: from }),
        ...(to === undefined ? {} : { after: to }),
      },
    ];
  });
}

/** Its one container's fields may stand at the top. */
export function hasOnlyMain({ template }: DeploymentSpec): boolean {
  const [first, second] = template.containers;
  return first?.name === mainContainerName && second === undefined && template.initContainers.length === 0;
}

function fieldsOf(spec: DeploymentSpec, isShort: boolean): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  const { initContainers: _inits, containers: _containers, ...replica } = writtenSpec(spec);
  add(fields, [], replica);
  for (const list of ["initContainers", "containers"] as const) {
    const containers = spec.template[list];
    // They start in this order.
    if (containers.length > 1) fields.set(list, containers.map(({ name }) => name).join(", "));
    for (const container of containers)
      addContainer(fields, isShort ? [] : [list, container.name], container);
  }
  return fields;
}

function addContainer(
  fields: Map<string, string>,
  path: readonly PathKey[],
  container: ContainerTemplate,
): void {
  const { name: _name, mounts: _mounts, files: _files, ...rest } = writtenContainer(container);
  add(fields, path, rest);
  for (const mount of container.mounts) add(fields, [...path, "mounts", mount.target], mountWords(mount));
  for (const file of container.files) {
    add(fields, [...path, "files", file.path, "content"], file.content);
    add(fields, [...path, "files", file.path, "mode"], file.mode.toString(8).padStart(4, "0"));
  }
}

function mountWords(mount: Mount): string {
  if (mount.kind === "tmpfs")
    return mount.sizeBytes === 0 ? "tmpfs" : `tmpfs of ${exactBytes(mount.sizeBytes)}`;
  const source = mount.kind === "bind" ? mount.source : `volume ${mount.volume}`;
  return mount.readOnly ? `${source}, read-only` : source;
}

/** Lists are one value each: their order means something, or is sorted. */
function add(fields: Map<string, string>, path: readonly PathKey[], value: Written | undefined): void {
  if (value === undefined) return;
  if (typeof value === "string") fields.set(formatPath(path), value);
  else if (isList(value)) {
    if (value.length > 0) fields.set(formatPath(path), JSON.stringify(value));
  } else for (const [key, member] of Object.entries(value)) add(fields, [...path, key], member);
}

function isList(value: Written): value is readonly Written[] {
  return Array.isArray(value);
}
