/**
 * `muster internal-launch FILE`: makes of itself the program that the file describes. It waits at the gate
 * until the container is started, joins the control groups and the network, gives up what the program is not
 * to have, and replaces itself: the program has the pid that its monitor knows, and nothing of the launcher
 * stays in memory.
 */
import { dlopen, ptr, read, type Pointer } from "bun:ffi";
import { closeSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from "node:fs";
import { constants } from "node:os";
import * as v from "valibot";
import { launchRequestSchema, type LaunchRequest } from "./launch-request.ts";

/** As shells say it: the program is there and cannot be run. */
const cannotRun = 126;
const notFound = 127;

/** From the kernel's headers, the same on x86-64 and arm64. */
const newNetwork = 0x40000000;
const closeRangeNumber = 436;
const closeRangeOnExec = 4;
const capabilityBoundDrop = 24;
const setNoNewPrivileges = 38;
const capabilityAmbient = 47;
const capabilityAmbientClearAll = 4;
const signalsMax = 64;
const capabilitiesMax = 64;
const setMask = 2;
const outputMask = 0o022;

/** Returns only when it fails: the exit status. */
export function launchMain(args: readonly string[]): number {
  try {
    const text = readFileSync(args[0] ?? "", "utf8");
    launch(v.parse(launchRequestSchema, JSON.parse(text)));
  } catch (error) {
    writeSync(2, `muster: ${error instanceof Error ? error.message : String(error)}\n`);
    return error instanceof ExecError && error.errno === constants.errno.ENOENT ? notFound : cannotRun;
  }
}

class ExecError extends Error {
  readonly errno: number;
  constructor(message: string, errno: number) {
    super(message);
    this.errno = errno;
  }
}

function launch(request: LaunchRequest): never {
  const libc = open();
  const check = (what: string, result: number): void => {
    if (result !== -1) return;
    const location = libc.__errno_location();
    const errno = location === null ? 0 : read.i32(location, 0);
    throw new ExecError(`${what}: ${errnoName(errno)}`, errno);
  };
  if (request.gate !== undefined) {
    // A pipe that is there already is one of an agent that died: the one that waits now is this one.
    libc.mkfifo(ptr(cString(request.gate)), 0o600);
    waitAt(request.gate);
  }
  if (request.hasOwnSession) libc.setsid();
  if (request.networkNamespace !== undefined) {
    const fd = openSync(request.networkNamespace, "r");
    check(`join the network ${request.networkNamespace}`, libc.setns(fd, newNetwork));
    closeSync(fd);
  }
  process.chdir(request.workingDirectory);
  process.umask(outputMask);
  writeFileSync("/proc/self/oom_score_adj", "0");
  const kept = new Set(request.capabilities);
  for (let capability = 0; capability < capabilitiesMax; capability += 1)
    if (!kept.has(capability)) libc.prctl(capabilityBoundDrop, capability, 0, 0, 0);
  libc.prctl(capabilityAmbient, capabilityAmbientClearAll, 0, 0, 0);
  const words = [cString(request.path), ...request.args.map(cString)];
  const lines = request.env.map(cString);
  // Last of what root can do, so that as little as can be of this process counts towards the group's limits.
  for (const file of request.groupFiles) writeFileSync(file, String(process.pid));
  const gids = Uint32Array.from([request.gid, ...request.additionalGids]);
  check("set the groups", libc.setgroups(BigInt(gids.length), ptr(gids)));
  check("set the group", libc.setgid(request.gid));
  check("set the user", libc.setuid(request.uid));
  if (request.noNewPrivileges) check("give up privileges", libc.prctl(setNoNewPrivileges, 1, 0, 0, 0));
  // What this process ignores or blocks would stay so for the program.
  for (let signal = 1; signal <= signalsMax; signal += 1) libc.signal(signal, null);
  libc.pthread_sigmask(setMask, ptr(new Uint8Array(128)), null);
  libc.syscall(closeRangeNumber, 3, 0xffff_ffff, closeRangeOnExec);
  const [path = cString(""), ...argumentWords] = words;
  check(
    `exec: "${request.args[0] ?? request.path}"`,
    libc.execve(ptr(path), ptr(pointers(argumentWords)), ptr(pointers(lines))),
  );
  throw new Error("execve returned without a word");
}

/** Opening a pipe to read waits for somebody who writes; the end without a byte is a start that was given up. */
function waitAt(gate: string): void {
  const fd = openSync(gate, "r");
  const begun = readSync(fd, Buffer.alloc(1), 0, 1, null);
  closeSync(fd);
  if (begun === 0) throw new Error("the start was given up");
}

function open() {
  const musl = process.arch === "arm64" ? "aarch64" : "x86_64";
  const signatures = {
    __errno_location: { args: [], returns: "ptr" },
    syscall: { args: ["i64", "u32", "u32", "u32"], returns: "i64" },
    mkfifo: { args: ["ptr", "u32"], returns: "i32" },
    setsid: { args: [], returns: "i32" },
    setns: { args: ["i32", "i32"], returns: "i32" },
    setgroups: { args: ["u64", "ptr"], returns: "i32" },
    setgid: { args: ["u32"], returns: "i32" },
    setuid: { args: ["u32"], returns: "i32" },
    prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
    signal: { args: ["i32", "ptr"], returns: "ptr" },
    pthread_sigmask: { args: ["i32", "ptr", "ptr"], returns: "i32" },
    execve: { args: ["ptr", "ptr", "ptr"], returns: "i32" },
  } as const;
  try {
    return dlopen("libc.so.6", signatures).symbols;
  } catch {
    return dlopen(`libc.musl-${musl}.so.1`, signatures).symbols;
  }
}

function errnoName(errno: number): string {
  for (const [name, value] of Object.entries(constants.errno)) if (value === errno) return name;
  return `errno ${errno}`;
}

function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

/** A null-terminated array of pointers; `buffers` must outlive it. */
function pointers(buffers: readonly Buffer[]): BigUint64Array {
  const addresses = buffers.map((buffer): Pointer => ptr(buffer));
  return BigUint64Array.from([...addresses.map(BigInt), 0n]);
}
