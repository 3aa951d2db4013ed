/** Takes a container away, whatever state a crash left it in. Every step may find its work already done. */
import { rm } from "node:fs/promises";
import type { Clock } from "../../../ports/clock.ts";
import { readPid, type BundlePaths } from "./bundle.ts";
import { cgroupProcesses, killCgroup, removeCgroup, type CgroupTree } from "./cgroups.ts";
import type { KernelMounts } from "./kernel-mounts.ts";
import {
  hasThreads,
  livesInCgroup,
  livesWithArgument,
  processesWithArgument,
  sendSignal,
} from "./processes.ts";
import { removeShifted, shiftedDirectory } from "./shifted-mounts.ts";

const SIGKILL = 9;
/** A killed process that is still there after this hangs in the kernel; its monitor gets as long to write its record. */
const endTimeoutMs = 5_000;
const pollMinMs = 2;
const pollMaxMs = 40;

export interface TeardownPorts {
  readonly clock: Clock;
  readonly overlays: Pick<KernelMounts, "unmount">;
  readonly tree: CgroupTree;
  /** The OCI runtime's own `delete`. */
  readonly deleteState: () => Promise<void>;
}

/** Resolves when nothing is left; rejects when a process does not die or a directory cannot be removed. */
export async function tearDown(
  id: string,
  paths: BundlePaths,
  cgroup: string,
  ports: TeardownPorts,
): Promise<void> {
  const { clock, tree } = ports;
  const pid = readPid(paths.pid);
  if (pid === undefined) await endInterruptedCreate(paths, clock);
  else if (livesInCgroup(pid, cgroup)) sendSignal(pid, SIGKILL);
  if (cgroupProcesses(tree, cgroup).length > 0) killCgroup(tree, cgroup);
  const isEmpty = () => cgroupProcesses(tree, cgroup).length === 0;
  if (!(await waitUntil(clock, isEmpty))) throw new Error(`processes of ${id} do not end`);
  // conmon writes its record into the directories that go next.
  await endMonitor(id, paths, clock);
  await ports.deleteState();
  if (!(await waitUntil(clock, () => removeCgroup(tree, cgroup))))
    throw new Error(`the control group of ${id} stays in use`);
  removeShifted(ports.overlays, shiftedDirectory(paths.directory));
  ports.overlays.unmount(paths.merged);
  await rm(paths.exit, { force: true });
  await rm(paths.directory, { recursive: true, force: true });
}

async function endMonitor(id: string, paths: BundlePaths, clock: Clock): Promise<void> {
  const pid = readPid(paths.conmonPid);
  if (pid === undefined) return;
  const isGone = () => !livesWithArgument(pid, id);
  if (await waitUntil(clock, isGone)) return;
  sendSignal(pid, SIGKILL);
  await waitUntil(clock, isGone);
}

/** An agent that died in mid-create leaves conmon and the OCI runtime at work: both name the bundle. */
async function endInterruptedCreate(paths: BundlePaths, clock: Clock): Promise<void> {
  const working = processesWithArgument(paths.directory);
  for (const pid of working) sendSignal(pid, SIGKILL);
  // Their arguments are gone before their last thread is, which may yet finish making a control group.
  await waitUntil(clock, () => working.every((pid) => !hasThreads(pid)));
  if (processesWithArgument(paths.directory).length > 0) await endInterruptedCreate(paths, clock);
}

/** Whether `condition` came true in time. */
async function waitUntil(clock: Clock, condition: () => boolean): Promise<boolean> {
  const end = clock.now() + endTimeoutMs;
  for (let pauseMs = pollMinMs; !condition(); pauseMs *= 2) {
    if (clock.now() >= end) return false;
    await new Promise<void>((resolve) => {
      clock.at(clock.now() + Math.min(pauseMs, pollMaxMs), resolve);
    });
  }
  return true;
}
