/** What /proc says about the processes of a lab, as seen from outside its machines. */
import { readFileSync, readdirSync, readlinkSync } from "node:fs";

export function allPids(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Undefined when the process is gone; empty for one that has ended and is not yet waited for. */
export function argumentsOf(pid: number): readonly string[] | undefined {
  const text = read(`/proc/${pid}/cmdline`);
  return text?.split("\0").slice(0, -1);
}

/**
 * Neither gone nor a zombie, with any of its threads: the first one of a killed process is a zombie before the last has let go of
 * its files, and a socket that it listened on takes connections until then.
 */
export function isAlive(pid: number): boolean {
  let threads: readonly string[];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return false;
  }
  return threads.some((thread) => {
    const stat = read(`/proc/${pid}/task/${thread}/stat`);
    // The program's name is in parentheses and may hold anything; the state letter follows the last one.
    return stat !== undefined && !["Z", "X"].includes(stat.charAt(stat.lastIndexOf(")") + 2));
  });
}

export function parentOf(pid: number): number | undefined {
  const match = /^PPid:\s+(\d+)$/m.exec(read(`/proc/${pid}/status`) ?? "");
  return match === null ? undefined : Number(match[1]);
}

/** The pid in the innermost process namespace: 1 for a container's or a machine's first process. */
export function innerPid(pid: number): number | undefined {
  const match = /^NSpid:.*\s(\d+)$/m.exec(read(`/proc/${pid}/status`) ?? "");
  return match === null ? undefined : Number(match[1]);
}

/** Identity of the process namespace. */
export function pidNamespace(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined;
  }
}

/** Harmless when the process is gone. */
export function killProcess(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It was faster.
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
