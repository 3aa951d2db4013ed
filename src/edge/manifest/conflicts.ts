/** What is wrong with fields that are right one by one. Paths are those of manifests and of resolved specs alike. */
import type { ContainerTemplate, FileSpec, Mount, PortSpec, ReplicaTemplate } from "../../model/spec.ts";
import { needsImages, noImageName } from "../../model/template.ts";

export interface Conflict {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

type Path = Conflict["path"];

/** `at` says where a container's fields stand: at the top in the short form. */
export function conflictsOf(
  template: ReplicaTemplate,
  at: (list: "containers" | "initContainers", index: number) => Path,
): readonly Conflict[] {
  const conflicts: Conflict[] = [];
  const names = new Map<string, Path>();
  const ports: { readonly port: PortSpec; readonly container: number; readonly path: Path }[] = [];
  for (const list of ["initContainers", "containers"] as const)
    template[list].forEach((container, index) => {
      const path = at(list, index);
      const first = names.get(container.name);
      if (first !== undefined)
        conflicts.push({ path: [...path, "name"], message: `is the name of ${words(first)}, too` });
      names.set(container.name, first ?? path);
      const own = [
        ...containerConflicts(container, template.stopTimeoutMs),
        ...(needsImages(template) ? [] : programConflicts(container)),
      ];
      for (const conflict of own) conflicts.push({ ...conflict, path: [...path, ...conflict.path] });
      if (list === "containers")
        container.ports.forEach((port, at) =>
          ports.push({ port, container: index, path: [...path, "ports", at] }),
        );
      else conflicts.push(...initConflicts(container, path));
    });
  return [...conflicts, ...portConflicts(ports)];
}

/** What a program of the machine cannot have: it sees the machine's own files. */
function programConflicts(container: ContainerTemplate): readonly Conflict[] {
  const conflicts: Conflict[] = [];
  if (container.image !== noImageName)
    conflicts.push({ path: ["image"], message: `the runtime process takes none: write ${noImageName}` });
  if ((container.entrypoint ?? container.command ?? []).length === 0)
    conflicts.push({ path: ["command"], message: "command is missing: it names the program" });
  const refused: readonly (readonly [string, boolean])[] = [
    ["mounts", container.mounts.length > 0],
    ["files", container.files.length > 0],
    ["readOnlyRoot", container.readOnlyRoot],
    ["userNamespace", container.userNamespace],
    ["tty", container.terminal === true],
    ["resources", container.resources.ephemeralBytes > 0],
  ];
  for (const [name, isGiven] of refused)
    if (isGiven)
      conflicts.push({
        path: [name],
        message: `the runtime process cannot give ${name === "resources" ? "a limit of disk" : "this"}: it runs programs in the machine's own file tree`,
      });
  return conflicts;
}

/** What only a container that goes on running can have. */
function initConflicts(container: ContainerTemplate, path: Path): readonly Conflict[] {
  const given = [
    container.ports.length > 0 ? "ports" : "",
    Object.keys(container.probes).length > 0 ? "probes" : "",
    container.preStop === undefined ? "" : "preStop",
    container.stopSignal === undefined ? "" : "stopSignal",
    container.stdin === true ? "stdin" : "",
    container.terminal === true ? "tty" : "",
  ].filter((name) => name !== "");
  return given.map((name) => ({ path: [...path, name], message: `an init container has no ${name}` }));
}

function portConflicts(
  ports: readonly { readonly port: PortSpec; readonly container: number; readonly path: Path }[],
): readonly Conflict[] {
  const conflicts: Conflict[] = [];
  const published = new Map<string, Path>();
  const inside = new Map<string, { readonly container: number; readonly path: Path }>();
  const seen = new Set<string>();
  for (const { port, container, path } of ports) {
    const own = `${port.container}/${port.protocol}`;
    const holder = inside.get(own);
    if (holder === undefined) inside.set(own, { container, path });
    else if (holder.container !== container) {
      conflicts.push({
        path,
        message: `${own} is that of ${words(holder.path)}: the containers of a replica share one network`,
      });
      continue;
    } else if (seen.has(`${own} ${port.published ?? ""}`)) {
      conflicts.push({ path, message: `stands here a second time, first as ${words(holder.path)}` });
      continue;
    }
    seen.add(`${own} ${port.published ?? ""}`);
    if (port.published === undefined) continue;
    const outside = `${port.published}/${port.protocol}`;
    const first = published.get(outside);
    if (first === undefined) published.set(outside, path);
    else conflicts.push({ path, message: `publishes the same port as ${words(first)}` });
  }
  return conflicts;
}

function containerConflicts(container: ContainerTemplate, stopTimeoutMs: number): readonly Conflict[] {
  const conflicts: Conflict[] = [
    ...mountConflicts(container.mounts, container.resources.memoryBytes),
    ...fileConflicts(container.files, container.mounts),
  ];
  if (container.preStop !== undefined && stopTimeoutMs === 0)
    conflicts.push({ path: ["preStop"], message: "has no time: the stop timeout is 0" });
  const both = container.capabilities.add.findIndex((name) => container.capabilities.drop.includes(name));
  if (both >= 0)
    conflicts.push({
      path: ["capabilities", "add", both],
      message: `${container.capabilities.add[both] ?? ""} is dropped, too`,
    });
  for (const [name, probe] of Object.entries(container.probes)) {
    if (probe === undefined) continue;
    if (probe.timeoutMs > probe.periodMs)
      conflicts.push({
        path: ["probes", name],
        message: "its timeout is longer than its period: the next question would come before the answer",
      });
    if (name !== "readiness" && probe.successThreshold !== 1)
      conflicts.push({
        path: ["probes", name],
        message: "its successThreshold must be 1: only readiness has something to come back from",
      });
  }
  return conflicts;
}

function mountConflicts(mounts: readonly Mount[], memoryBytes: number): readonly Conflict[] {
  return mounts.flatMap((mount, index): readonly Conflict[] => {
    const path = ["mounts", index];
    if (mount.kind === "tmpfs" && memoryBytes > 0 && mount.sizeBytes > memoryBytes)
      return [{ path, message: "is larger than the memory of its container, which it counts towards" }];
    const other = mounts.findIndex(
      ({ target }, at) => isWithin(mount.target, target) && (target !== mount.target || at < index),
    );
    const { target } = mounts[other] ?? mount;
    if (other < 0) return [];
    return target === mount.target
      ? [{ path, message: `has the target of mounts[${other}]` }]
      : [{ path, message: `lies inside mounts[${other}], ${target}` }];
  });
}

function fileConflicts(files: readonly FileSpec[], mounts: readonly Mount[]): readonly Conflict[] {
  return files.flatMap((file, index): readonly Conflict[] => {
    const path = ["files", index, "path"];
    const mount = mounts.find(({ target }) => isWithin(file.path, target) || isWithin(target, file.path));
    if (mount !== undefined)
      return [
        {
          path,
          message: isWithin(file.path, mount.target)
            ? `lies inside the mount ${mount.target}`
            : `is a directory of the mount ${mount.target}`,
        },
      ];
    const other = files.findIndex(
      (one, at) => isWithin(file.path, one.path) && (one.path !== file.path || at < index),
    );
    if (other < 0) return [];
    const same = files[other]?.path === file.path;
    return [
      { path, message: same ? `is that of files[${other}]` : `lies inside files[${other}], which is a file` },
    ];
  });
}

/** Whether a normal path is another or below it. */
function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

function words(path: Path): string {
  return (
    path.map((key, at) => (typeof key === "number" ? `[${key}]` : at === 0 ? key : `.${key}`)).join("") ||
    "the container"
  );
}
