/** What the disk and /proc say about one container. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ContainerStatus } from "../../../ports/container-runtime.ts";
import { readIfThere, readMeta, readPid, type BundlePaths } from "./bundle.ts";
import { oomKills, type CgroupTree } from "./cgroups.ts";
import { isThere, livesInCgroup, livesWithArgument } from "./processes.ts";

const killedBySignal9 = 137;

/** `cgroup` is used when the container's own record of it is damaged. */
export function containerStatus(
  id: string,
  paths: BundlePaths,
  tree: CgroupTree,
  cgroup: string,
): ContainerStatus | undefined {
  if (!existsSync(paths.directory)) return undefined;
  const meta = readMeta(paths);
  const group = meta?.cgroup ?? cgroup;
  const named = { id, labels: meta?.labels ?? {} };
  const ended = () => {
    const exitCode = readExitCode(paths);
    if (exitCode === undefined) return undefined;
    const oomKilled =
      exitCode === killedBySignal9 && (oomKills(tree, group) > 0 || existsSync(join(paths.directory, "oom")));
    const message = readIfThere(paths.ended);
    return {
      ...named,
      phase: "exited" as const,
      exitCode,
      oomKilled,
      ...(message === undefined ? {} : { message }),
    };
  };
  const early = ended();
  if (early !== undefined) return early;

  const phase = existsSync(paths.started) ? "running" : "created";
  const pid = readPid(paths.pid);
  if (pid === undefined) return { ...named, phase: "unknown" };
  const conmonPid = readPid(paths.conmonPid);
  const isWatched = conmonPid !== undefined && livesWithArgument(conmonPid, id);
  if (livesInCgroup(pid, group)) return { ...named, phase: isWatched ? phase : "unknown", pid };
  // Between the end of the process and conmon's record of it the container still counts as running.
  if (isWatched) return { ...named, phase };
  return ended() ?? { ...named, phase: "unknown" };
}

function readExitCode(paths: BundlePaths): number | undefined {
  const text = readIfThere(paths.exit)?.trim();
  return text !== undefined && /^\d{1,3}$/.test(text) ? Number(text) : undefined;
}

/** A container that ran when all of it was looked at. */
interface Seen {
  readonly status: ContainerStatus;
  readonly pid: number;
  readonly conmonPid: number;
  readonly atMs: number;
}

/** How long a process counts as the one it was by its pid alone. Pids are used again after some ten thousand others. */
const trustMs = 60_000;

/**
 * Statuses of many containers at little cost: one that runs is looked at in full now and then, and in between only asked
 * whether its two processes are there and its end is not.
 */
export class StatusReader {
  readonly #now: () => number;
  readonly #running = new Map<string, Seen>();

  /** `now` in milliseconds, of a clock that does not jump. */
  constructor(now: () => number) {
    this.#now = now;
  }

  read(id: string, paths: BundlePaths, tree: CgroupTree, cgroup: string): ContainerStatus | undefined {
    const seen = this.#running.get(id);
    if (seen !== undefined && this.#isAsBefore(seen, paths)) return seen.status;
    const status = containerStatus(id, paths, tree, cgroup);
    const conmonPid = readPid(paths.conmonPid);
    if (status?.phase === "running" && status.pid !== undefined && conmonPid !== undefined)
      this.#running.set(id, { status, pid: status.pid, conmonPid, atMs: this.#now() });
    else this.#running.delete(id);
    return status;
  }

  #isAsBefore({ pid, conmonPid, atMs }: Seen, paths: BundlePaths): boolean {
    if (this.#now() - atMs > trustMs) return false;
    return isThere(pid) && isThere(conmonPid) && !existsSync(paths.exit);
  }
}
