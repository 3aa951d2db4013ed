/** Where each controller's control groups are: one tree for each in version 1, one for all in version 2. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface Controllers {
  /** The directory of `group` under a controller such as `memory`; undefined when the kernel does not offer it. */
  readonly directoryOf: (controller: string, group: string) => string | undefined;
  readonly isV2: boolean;
  /** Mount points of all trees a group can be made in without further ado. */
  readonly mounts: readonly string[];
}

/** A version 1 group without processors and memory nodes of its own takes no process. */
const needsSetting = "cpuset";

/** From /proc/self/mounts, and for version 2 the root's list of controllers. */
export function parseControllers(mounts: string, controllersOf: (path: string) => string): Controllers {
  const byName = new Map<string, string>();
  const trees: string[] = [];
  let unified: string | undefined;
  for (const line of mounts.split("\n")) {
    const [, path, type, options] = line.split(" ");
    if (path === undefined || options === undefined) continue;
    if (type === "cgroup2") unified = path;
    if (type !== "cgroup") continue;
    const names = options.split(",");
    for (const name of names) if (!byName.has(name)) byName.set(name, path);
    if (!names.includes(needsSetting)) trees.push(path);
  }
  const isV2 = trees.length === 0;
  if (unified !== undefined) {
    trees.push(unified);
    if (isV2) for (const name of controllersOf(unified).trim().split(" ")) byName.set(name, unified);
  }
  return {
    isV2,
    mounts: trees,
    directoryOf: (controller, group) => {
      const mount = byName.get(controller);
      return mount === undefined ? undefined : join(mount, group);
    },
  };
}

export function readControllers(): Controllers {
  return parseControllers(readFileSync("/proc/self/mounts", "utf8"), (path) =>
    readFileSync(join(path, "cgroup.controllers"), "utf8"),
  );
}

export interface GroupLimits {
  /** 0 means no limit, here and below. */
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  readonly pids: number;
}

const periodUs = 100_000;
/** The kernel refuses quotas under one millisecond. */
const quotaUsMin = 1_000;

/** Makes the group in every tree and sets its limits. Returns the files a process writes its id to. */
export function makeGroup(controllers: Controllers, group: string, limits: GroupLimits): readonly string[] {
  const directories = controllers.mounts.map((mount) => join(mount, group));
  for (const [at, directory] of directories.entries()) {
    mkdirSync(directory, { recursive: true });
    if (controllers.isV2) openDown(controllers.mounts[at] ?? "", group);
  }
  const set = (controller: string, file: string, value: string): void => {
    const directory = controllers.directoryOf(controller, group);
    if (directory !== undefined) writeFileSync(join(directory, file), value);
  };
  const quotaUs = Math.max(quotaUsMin, Math.round((limits.cpuMillis * periodUs) / 1_000));
  const { isV2 } = controllers;
  if (limits.cpuMillis > 0 && isV2) set("cpu", "cpu.max", `${quotaUs} ${periodUs}`);
  if (limits.cpuMillis > 0 && !isV2) {
    set("cpu", "cpu.cfs_period_us", String(periodUs));
    set("cpu", "cpu.cfs_quota_us", String(quotaUs));
  }
  if (limits.memoryBytes > 0)
    set("memory", isV2 ? "memory.max" : "memory.limit_in_bytes", String(limits.memoryBytes));
  if (limits.memoryBytes > 0) limitSwap(controllers, group, limits.memoryBytes);
  if (limits.pids > 0) set("pids", "pids.max", String(limits.pids));
  return directories.map((directory) => join(directory, "cgroup.procs"));
}

/** Memory that is pushed out is memory all the same; kernels without swap accounting have no such file. */
function limitSwap(controllers: Controllers, group: string, memoryBytes: number): void {
  const directory = controllers.directoryOf("memory", group);
  if (directory === undefined) return;
  const [file, value] = controllers.isV2
    ? ["memory.swap.max", "0"]
    : ["memory.memsw.limit_in_bytes", String(memoryBytes)];
  const path = join(directory, file);
  if (existsSync(path)) writeFileSync(path, value);
}

/** In version 2 a group has a controller when all those above it hand it down. */
function openDown(mount: string, group: string): void {
  const parts = group.split("/").filter((part) => part !== "");
  for (let depth = 0; depth < parts.length; depth += 1) {
    const control = join(mount, ...parts.slice(0, depth), "cgroup.subtree_control");
    for (const controller of ["cpu", "memory", "pids", "io"])
      try {
        writeFileSync(control, `+${controller}`);
      } catch {
        // A controller that is not handed down limits nothing: as with an OCI runtime on such a machine.
      }
  }
}
