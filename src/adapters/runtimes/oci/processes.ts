/** What /proc says about processes that are not children of this one. Pids are used again, so identity is always checked. */
import { readdirSync } from "node:fs";
import { isErrno, readIfThere } from "./bundle.ts";

/** Whether `pid` is alive and in the control group `group`; ids are never used again, so the group is the identity. */
export function livesInCgroup(pid: number, group: string): boolean {
  const stat = readIfThere(`/proc/${pid}/stat`);
  if (stat === undefined) return false;
  // The program's name is in parentheses and may hold anything; the state letter follows the last one.
  const state = stat.charAt(stat.lastIndexOf(")") + 2);
  if (state === "Z" || state === "X" || state === "") return false;
  const groups = readIfThere(`/proc/${pid}/cgroup`) ?? "";
  return groups.split("\n").some((line) => `${line}/`.includes(`${group}/`));
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

/** Harmless when the process is gone. */
export function sendSignal(pid: number, signal: number): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!isErrno(error, "ESRCH")) throw error;
  }
}
