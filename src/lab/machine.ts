/**
 * One machine of a lab: its own network, process, mount, host-name and IPC namespaces, a private /run,
 * and a directory that is its disk. Its process 1 stands for its kernel: when that is killed, every
 * process of the machine dies in the same instant, containers included, and its mounts are gone. The
 * disk stays, as after a power cut.
 */
import { existsSync, readFileSync, readdirSync, rmSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { command, type CommandOptions } from "./command.ts";
import { LabError } from "./errors.ts";

export interface MachineOptions {
  readonly name: string;
  readonly networkNamespace: string;
  /** Path below every cgroup tree; the machine's containers go under it. */
  readonly cgroup: string;
}

const bootWaitMs = 5_000;

// Process 1 must adopt and reap what daemonises (conmon): a shell that waits for a child reaps all.
const bootScript = [
  "mount -t tmpfs -o mode=755 tmpfs /run",
  'hostname "$1"',
  "echo booted",
  "exec >/dev/null 2>&1",
  "while :; do sleep 86400; done",
].join("\n");

/** Boots the machine; resolves with the pid, as seen from outside, of its process 1. */
export async function boot(options: MachineOptions): Promise<number> {
  const outer = Bun.spawn(
    [
      "nsenter",
      `--net=/run/netns/${options.networkNamespace}`,
      "--",
      "unshare",
      "--mount",
      "--pid",
      "--uts",
      "--ipc",
      "--fork",
      "--kill-child=SIGKILL",
      "--mount-proc",
      "--",
      "sh",
      "-ec",
      bootScript,
      "sh",
      options.name,
    ],
    { stdin: "ignore", stdout: "pipe", stderr: "pipe", detached: true },
  );
  const first = await Promise.race([
    outer.stdout
      .getReader()
      .read()
      .then((chunk) => new TextDecoder().decode(chunk.value)),
    Bun.sleep(bootWaitMs).then(() => ""),
  ]);
  const pid = childrenOf(outer.pid)[0];
  if (!first.startsWith("booted") || pid === undefined) {
    outer.kill("SIGKILL");
    throw new LabError(`machine ${options.name} did not boot: ${await new Response(outer.stderr).text()}`, {
      code: "command-failed",
      command: "unshare",
      exitCode: outer.exitCode ?? -1,
      output: "",
    });
  }
  outer.unref();
  return pid;
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
    .trim()
    .split(" ")
    .filter((word) => word !== "")
    .map(Number);
}

/** True while process 1 of the machine is the one that `boot` returned. */
export function isOn(pid: number | undefined): boolean {
  if (pid === undefined) return false;
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("sleep 86400");
  } catch {
    return false;
  }
}

/** The power goes: everything on the machine dies at once. Resolves when the last process is gone. */
export async function powerOff(pid: number): Promise<void> {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    return;
  }
  // A namespace's process 1 is a zombie until all others of the namespace are gone.
  while (existsSync(`/proc/${pid}/ns/pid`) && isAlive(pid)) await Bun.sleep(2);
}

function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !["Z", "X"].includes(stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3));
  } catch {
    return false;
  }
}

/** The words that run a command inside the machine. */
export function inMachine(pid: number, args: readonly string[]): string[] {
  return ["nsenter", "-t", String(pid), "-m", "-p", "-u", "-i", "-n", "--", ...args];
}

export async function commandIn(
  pid: number,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  return command(inMachine(pid, args), options);
}

/** Removes what the machine left in the cgroup trees; its processes are gone. */
export function removeCgroups(cgroup: string): void {
  for (const tree of ["", ...subdirectories("/sys/fs/cgroup")])
    removeTree(join("/sys/fs/cgroup", tree, cgroup));
}

function subdirectories(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}

function removeTree(path: string): void {
  if (!existsSync(path)) return;
  for (const name of subdirectories(path)) removeTree(join(path, name));
  try {
    rmdirSync(path);
  } catch {
    // A process on its way out still holds it; the next removal finds it empty.
  }
}

export function wipeDisk(path: string): void {
  rmSync(path, { recursive: true, force: true });
}
