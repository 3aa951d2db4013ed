/** What the whole machine has used, as /proc tells it. */
import { readFileSync } from "node:fs";
import type { MachineUsage } from "../../model/usage.ts";

/** Of the kernel's clock ticks, as every Linux for user space has them. */
const microsPerTick = 10_000;

export function readMachineUsage(): MachineUsage {
  return parseMachineUsage(readFileSync("/proc/stat", "utf8"), readFileSync("/proc/meminfo", "utf8"));
}

export function parseMachineUsage(stat: string, meminfo: string): MachineUsage {
  const [, ...ticks] = (stat.split("\n")[0] ?? "").split(/\s+/);
  // user nice system idle iowait irq softirq steal; guests are counted in user already.
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = ticks.map(Number);
  const kib = (name: string): number =>
    Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, "m").exec(meminfo)?.[1] ?? 0);
  const totalBytes = kib("MemTotal") * 1024;
  return {
    cpuMicros: (user + nice + system + irq + softirq) * microsPerTick,
    cpuCount: [...stat.matchAll(/^cpu\d+ /gm)].length,
    memoryBytes: totalBytes - kib("MemAvailable") * 1024,
    memoryTotalBytes: totalBytes,
  };
}
