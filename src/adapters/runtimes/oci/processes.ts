/** What /proc says about processes that are not children of this one. Pids are used again, so identity is always checked. */
import { readdirSync } from "node:fs";
import { isErrno, readIfThere } from "./bundle.ts";

/** Whether `pid` is alive and in the control group `group`; ids are never used again, so the group is the identity. */
export function livesInCgroup(pid: number, group: string): boolean {
  if (isDead(readIfThere(`/proc/${pid}/stat`))) return false;
  const groups = readIfThere(`/proc/${pid}/cgroup`) ?? "";
  return groups.split("\n").some((line) => `${line}/`.includes(`${group}/`));
}

/** Whether there is a process of this number, dead but unreaped ones included; says nothing about who it is. */
export function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    if (isErrno(error, "ESRCH")) return false;
    throw error;
  }
}

/** Whether `pid` is alive and `argument` is one of its arguments. */
export function livesWithArgument(pid: number, argument: string): boolean {
  const commandLine = readIfThere(`/proc/${pid}/cmdline`);
  return commandLine?.split("\0").includes(argument) ?? false;
}

/** All processes with `argument` among their arguments. Reads the whole table: for cleaning up after a crash only. */
export function processesWithArgument(argument: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && livesWithArgument(pid, argument));
}

/** Whether any thread of the process still runs; a dead process that nobody has reaped has none. */
export function hasThreads(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).some(
      (thread) => !isDead(readIfThere(`/proc/${pid}/task/${thread}/stat`)),
    );
  } catch (error) {
    if (isErrno(error, "ENOENT", "ESRCH")) return false;
    throw error;
  }
}

/** By the text of its /proc stat file. */
function isDead(stat: string | undefined): boolean {
  // The program's name is in parentheses and may hold anything; the state letter follows the last one.
  const state = stat?.charAt(stat.lastIndexOf(")") + 2);
  return state === undefined || state === "" || state === "Z" || state === "X";
}

/** Harmless when the process is gone. */
export function sendSignal(pid: number, signal: number): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!isErrno(error, "ESRCH")) throw error;
  }
}
