import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cgroupProcesses, hasSwapLimit, oomKills, parseCgroupMounts } from "./cgroups.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "muster-cgroups-"));
});
afterEach(() => rmSync(root, { recursive: true }));

function file(path: string, text: string): void {
  mkdirSync(join(root, path, ".."), { recursive: true });
  writeFileSync(join(root, path), text);
}

test("version 2 alone: kills, swap and processes are read from its own files", () => {
  const tree = parseCgroupMounts(`cgroup2 ${root} cgroup2 rw 0 0\n`);
  expect(hasSwapLimit(tree)).toBe(false);
  file("system.slice/memory.swap.max", "max\n");
  expect(hasSwapLimit(tree)).toBe(true);
  file("m/a/memory.events", "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n");
  expect(oomKills(tree, "/m/a")).toBe(2);
  expect(oomKills(tree, "/m/gone")).toBe(0);
  file("m/a/cgroup.procs", "12\n7\n");
  expect(cgroupProcesses(tree, "/m/a")).toEqual([7, 12]);
});

test("version 1: the same from the memory controller, processes from every hierarchy", () => {
  const tree = parseCgroupMounts(
    `cgroup ${root}/memory cgroup rw,memory 0 0\ncgroup ${root}/pids cgroup rw,pids 0 0\n`,
  );
  expect(hasSwapLimit(tree)).toBe(false);
  file("memory/memory.memsw.limit_in_bytes", "1\n");
  expect(hasSwapLimit(tree)).toBe(true);
  file("memory/m/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
  expect(oomKills(tree, "/m/a")).toBe(1);
  file("memory/m/a/cgroup.procs", "5\n");
  file("pids/m/a/cgroup.procs", "5\n6\n");
  expect(cgroupProcesses(tree, "/m/a")).toEqual([5, 6]);
});

test("version 2 alone", () => {
  expect(parseCgroupMounts("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\nproc /proc proc rw 0 0\n")).toEqual(
    {
      mounts: ["/sys/fs/cgroup"],
      memory: "/sys/fs/cgroup",
      unified: "/sys/fs/cgroup",
      isV2: true,
    },
  );
});

test("version 1 with version 2 beside it", () => {
  const mounts = [
    "tmpfs /sys/fs/cgroup tmpfs rw 0 0",
    "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0",
    "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0",
    "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0",
  ].join("\n");
  expect(parseCgroupMounts(mounts)).toEqual({
    mounts: ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"],
    memory: "/sys/fs/cgroup/memory",
    unified: "/sys/fs/cgroup/unified",
    isV2: false,
  });
});
