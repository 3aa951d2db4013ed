import { expect, test } from "bun:test";
import { parseCgroupMounts } from "./cgroups.ts";

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
