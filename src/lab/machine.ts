/**
 * One machine of a lab: its own network, process, mount, host-name and IPC namespaces, a private /run,
 * and a directory that is its disk. Its process 1 stands for its kernel: when that is killed, every
 * process of the machine dies in the same instant, containers included, and its mounts are gone. The
 * disk stays, as after a power cut.
 */
import { readFileSync } from "node:fs";
import { LabError } from "./errors.ts";
import { allPids, argumentsOf, isAlive, killProcess, parentOf } from "./processes.ts";

export interface MachineOptions {
  readonly name: string;
  /** One of the arguments of process 1, by which it is found again; `LAB/NAME`. */
  readonly mark: string;
  readonly networkNamespace: string;
}

const bootWaitMs = 10_000;
const pollMs = 2;

// Process 1 must adopt and reap what daemonises (conmon): a shell that waits for a child reaps all.
const bootScript = [
  "mount -t tmpfs -o mode=755 tmpfs /run",
  'hostname "$1"',
  "echo booted",
  "exec >/dev/null 2>&1",
  "while :; do sleep 86400; done",
].join("\n");

/** The argument that no process has but those of this machine's start. */
export function machineMark(lab: string, name: string): string {
  return `muster-machine=${lab}/${name}`;
}

/** Boots the machine; resolves with the pid, as seen from outside, of its process 1. Nothing is left of one that fails. */
export async function boot(options: MachineOptions): Promise<number> {
  const outer = Bun.spawn(
    [
      ...["nsenter", `--net=/run/netns/${options.networkNamespace}`, "--"],
      ...["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=SIGKILL", "--mount-proc"],
      ...["--", "sh", "-ec", bootScript, options.mark, options.name],
    ],
    // A session of its own: the terminal's signals are not for machines.
    { cwd: "/", stdin: "ignore", stdout: "pipe", stderr: "pipe", detached: true },
  );
  const reader = outer.stdout.getReader();
  const timer = setTimeout(() => outer.kill("SIGKILL"), bootWaitMs);
  const first = new TextDecoder().decode((await reader.read()).value);
  clearTimeout(timer);
  const pid = childOf(outer.pid);
  if (!first.startsWith("booted") || pid === undefined) {
    outer.kill("SIGKILL");
    const complaint = (await outer.stderr.text()).trim();
    throw new LabError(`machine ${options.name} did not boot: ${complaint}`, {
      code: "command-failed",
      command: "unshare",
      output: complaint,
    });
  }
  await reader.cancel();
  await outer.stderr.cancel();
  outer.unref();
  return pid;
}

function childOf(pid: number): number | undefined {
  try {
    const [first = ""] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ");
    return first === "" ? undefined : Number(first);
  } catch {
    return undefined;
  }
}

/** True while process 1 of the machine is the one that `boot` returned. */
export function isMachine(pid: number, mark: string): boolean {
  return isAlive(pid) && argumentsOf(pid)?.includes(mark) === true;
}

/**
 * The power goes: everything on the machine dies at once. Resolves when the last process is gone, and
 * with it whatever held its namespaces.
 */
export async function powerOff(pid: number): Promise<void> {
  const outer = parentOf(pid);
  killProcess(pid);
  // A namespace's process 1 is not waited for before all others of the namespace are gone.
  while (isAlive(pid)) await Bun.sleep(pollMs);
  if (outer !== undefined && outer > 1)
    while (argumentsOf(outer)?.[0] === "unshare" && isAlive(outer)) await Bun.sleep(pollMs);
}

/** Processes, other than this one, that have such an argument. */
export function findMarked(isMark: (argument: string) => boolean): readonly number[] {
  return allPids().filter((pid) => pid !== process.pid && argumentsOf(pid)?.some(isMark) === true);
}

/** Ends all that carries the mark, half-booted machines included. Resolves with how many it found. */
export async function powerOffMarked(isMark: (argument: string) => boolean): Promise<number> {
  const found = findMarked(isMark);
  for (const pid of found) killProcess(pid);
  for (const pid of found) while (isAlive(pid)) await Bun.sleep(pollMs);
  return found.length;
}

/** The words that run a command inside the machine. */
export function inMachine(pid: number, args: readonly string[]): string[] {
  return ["nsenter", "-t", String(pid), "-m", "-p", "-u", "-i", "-n", "--", ...args];
}
