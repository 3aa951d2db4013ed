/** Control groups of containers, version 1 (also hybrid) and version 2. The OCI runtime makes and limits them; this reads and ends them. */
import { existsSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { isErrno, readIfThere } from "./bundle.ts";

export interface CgroupTree {
  /** Mount points of all hierarchies in which a container's group may be. */
  readonly mounts: readonly string[];
  /** Where the memory controller is; undefined when the kernel has none. */
  readonly memory: string | undefined;
  /** The version 2 hierarchy, with or without controllers. */
  readonly unified: string | undefined;
  readonly isV2: boolean;
}

/** From /proc/self/mounts. */
export function parseCgroupMounts(mounts: string): CgroupTree {
  const found: string[] = [];
  let memory: string | undefined;
  let unified: string | undefined;
  let isV2 = true;
  for (const line of mounts.split("\n")) {
    const [, path, type, options] = line.split(" ");
    if (path === undefined || options === undefined) continue;
    if (type === "cgroup2") unified = path;
    else if (type !== "cgroup") continue;
    found.push(path);
    if (type !== "cgroup") continue;
    isV2 = false;
    if (options.split(",").includes("memory")) memory = path;
  }
  if (isV2) memory = unified;
  return { mounts: found, memory, unified, isV2 };
}

export function readCgroupTree(): CgroupTree {
  return parseCgroupMounts(readFileSync("/proc/self/mounts", "utf8"));
}

/** How many processes the kernel killed for want of memory in this group. */
export function oomKills(tree: CgroupTree, group: string): number {
  if (tree.memory === undefined) return 0;
  const file = tree.isV2 ? "memory.events" : "memory.oom_control";
  const text = readIfThere(`${tree.memory}${group}/${file}`) ?? "";
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
}

/** Whether swap is accounted: without it a limit on it is refused. */
export function hasSwapLimit(tree: CgroupTree): boolean {
  if (tree.memory === undefined) return false;
  if (!tree.isV2) return existsSync(`${tree.memory}/memory.memsw.limit_in_bytes`);
  // The root of version 2 has no limits; any group below it that has the memory controller shows whether there is one.
  const root = tree.memory;
  return readdirSync(root, { withFileTypes: true }).some(
    (entry) => entry.isDirectory() && existsSync(`${root}/${entry.name}/memory.swap.max`),
  );
}

export function cgroupProcesses(tree: CgroupTree, group: string): number[] {
  const pids = new Set<number>();
  for (const mount of tree.mounts)
    for (const line of (readIfThere(`${mount}${group}/cgroup.procs`) ?? "").split("\n"))
      if (line !== "") pids.add(Number(line));
  return [...pids].toSorted((a, b) => a - b);
}

/** SIGKILL to all in the group: in one stroke where the kernel can (5.14), else one by one. */
export function killCgroup(tree: CgroupTree, group: string): void {
  if (tree.unified !== undefined)
    try {
      writeFileSync(`${tree.unified}${group}/cgroup.kill`, "1");
    } catch (error) {
      if (!isErrno(error, "ENOENT", "ENODEV", "EOPNOTSUPP", "EACCES")) throw error;
    }
  for (const pid of cgroupProcesses(tree, group)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      if (!isErrno(error, "ESRCH")) throw error;
    }
  }
}

/** Removes the group and those inside it in every hierarchy; false when one of them is still in use. */
export function removeCgroup(tree: CgroupTree, group: string): boolean {
  return tree.mounts.map((mount) => removeGroup(`${mount}${group}`)).every(Boolean);
}

function removeGroup(path: string): boolean {
  try {
    for (const entry of readdirSync(path, { withFileTypes: true }))
      if (entry.isDirectory() && !removeGroup(`${path}/${entry.name}`)) return false;
    rmdirSync(path);
    return true;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return true;
    if (isErrno(error, "EBUSY", "ENOTEMPTY")) return false;
    throw error;
  }
}
