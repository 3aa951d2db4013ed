/** What a control group has used, as the kernel counts it, and what went over the network of a process. */
import { readlinkSync } from "node:fs";
import { join } from "node:path";
import type { ContainerUsage } from "../../ports/container-runtime.ts";
import type { Controllers } from "./cgroup-controllers.ts";
import { readIfThere } from "./oci/bundle.ts";

export type GroupUsage = Omit<ContainerUsage, "id" | "labels" | "atMs">;

/** Version 1 says "no limit" with the largest multiple of a page. */
const noLimit = 2 ** 60;

export function readUsage(controllers: Controllers, group: string, pid: number | undefined): GroupUsage {
  const read = (controller: string, file: string): string => {
    const directory = controllers.directoryOf(controller, group);
    return directory === undefined ? "" : (readIfThere(join(directory, file)) ?? "");
  };
  const network = pid === undefined ? { receivedBytes: 0, sentBytes: 0 } : readNetwork(pid);
  return {
    ...(controllers.isV2 ? readUnified(read) : readSeparate(read)),
    pids: numberIn(read("pids", "pids.current")),
    ...network,
  };
}

type Read = (controller: string, file: string) => string;
type OfControllers = Omit<GroupUsage, "pids" | "receivedBytes" | "sentBytes">;

function readUnified(read: Read): OfControllers {
  const io = read("io", "io.stat");
  return {
    cpuMicros: fieldIn(read("cpu", "cpu.stat"), "usage_usec"),
    memoryBytes: memoryOf(
      read("memory", "memory.current"),
      fieldIn(read("memory", "memory.stat"), "inactive_file"),
    ),
    memoryLimitBytes: limitIn(read("memory", "memory.max")),
    readBytes: sumOf(io, /\brbytes=(\d+)/g),
    writtenBytes: sumOf(io, /\bwbytes=(\d+)/g),
  };
}

function readSeparate(read: Read): OfControllers {
  const io =
    read("blkio", "blkio.throttle.io_service_bytes_recursive") ||
    read("blkio", "blkio.throttle.io_service_bytes");
  return {
    cpuMicros: Math.floor(numberIn(read("cpuacct", "cpuacct.usage")) / 1_000),
    memoryBytes: memoryOf(
      read("memory", "memory.usage_in_bytes"),
      fieldIn(read("memory", "memory.stat"), "total_inactive_file"),
    ),
    memoryLimitBytes: limitIn(read("memory", "memory.limit_in_bytes")),
    readBytes: sumOf(io, /^\d+:\d+ Read (\d+)$/gm),
    writtenBytes: sumOf(io, /^\d+:\d+ Write (\d+)$/gm),
  };
}

function memoryOf(text: string, droppable: number): number {
  return Math.max(0, numberIn(text) - droppable);
}

/** `max` and the largest number of version 1 mean none. */
function limitIn(text: string): number {
  const limit = numberIn(text);
  return limit >= noLimit ? 0 : limit;
}

function numberIn(text: string): number {
  const match = /^\d+/.exec(text.trim());
  return match === null ? 0 : Number(match[0]);
}

/** Of a file of `name value` lines. */
function fieldIn(text: string, name: string): number {
  const line = text.split("\n").find((one) => one.startsWith(`${name} `));
  return line === undefined ? 0 : numberIn(line.slice(name.length + 1));
}

function sumOf(text: string, pattern: RegExp): number {
  let sum = 0;
  for (const match of text.matchAll(pattern)) sum += Number(match[1]);
  return sum;
}

function readNetwork(pid: number): Pick<GroupUsage, "receivedBytes" | "sentBytes"> {
  const none = { receivedBytes: 0, sentBytes: 0 };
  if (networkOf(pid) === networkOf("self")) return none;
  return parseNetwork(readIfThere(`/proc/${pid}/net/dev`) ?? "");
}

function networkOf(pid: number | "self"): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return "";
  }
}

/** The kernel's table of interfaces: two lines of headings, then `name: received ... sent ...`. */
export function parseNetwork(text: string): Pick<GroupUsage, "receivedBytes" | "sentBytes"> {
  let receivedBytes = 0;
  let sentBytes = 0;
  for (const line of text.split("\n").slice(2)) {
    const [name, counters] = line.split(":");
    if (counters === undefined || name?.trim() === "lo") continue;
    const fields = counters.trim().split(/\s+/);
    receivedBytes += numberIn(fields[0] ?? "");
    sentBytes += numberIn(fields[8] ?? "");
  }
  return { receivedBytes, sentBytes };
}
