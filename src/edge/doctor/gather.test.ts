import { expect, test } from "bun:test";
import { controlGroups, droppingChains, parsePortUses } from "./gather.ts";

test("control groups of either version, and of both", () => {
  const v2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
  const v1 =
    "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n";
  expect(controlGroups(v2, "cpuset cpu io memory hugetlb pids\n")).toEqual({
    version: "v2",
    controllers: ["cpuset", "cpu", "io", "memory", "pids"],
  });
  expect(controlGroups(v1, "")).toEqual({ version: "v1", controllers: ["cpu", "pids"] });
  expect(controlGroups(v1 + v2, "")).toEqual({ version: "hybrid", controllers: ["cpu", "pids"] });
  expect(controlGroups("proc /proc proc rw 0 0\n", "")).toBeUndefined();
});

test("who has a port, by protocol, with all programs that share it", () => {
  const table = [
    'udp UNCONN 0 0 0.0.0.0:7440 0.0.0.0:* users:(("muster",pid=7,fd=21))',
    'tcp LISTEN 0 511 *:7440 *:* users:(("nginx",pid=9,fd=3),("nginx",pid=8,fd=3))',
    "tcp LISTEN 0 511 [::]:7440 [::]:*",
    "",
  ].join("\n");
  expect(parsePortUses(table)).toEqual([
    { protocol: "udp", holders: [{ name: "muster", pid: 7 }] },
    {
      protocol: "tcp",
      holders: [
        { name: "nginx", pid: 9 },
        { name: "nginx", pid: 8 },
      ],
    },
    { protocol: "tcp", holders: [] },
  ]);
});

test("chains that drop what is forwarded, and no others", () => {
  const chain = (name: string, hook: string, policy: string) => ({
    chain: { family: "ip", table: "filter", name, handle: 1, type: "filter", hook, prio: 0, policy },
  });
  const list = [
    { metainfo: { version: "1.0.6" } },
    chain("FORWARD", "forward", "drop"),
    chain("INPUT", "input", "drop"),
    chain("other", "forward", "accept"),
  ];
  expect(droppingChains(JSON.stringify({ nftables: list }))).toEqual(["ip filter FORWARD"]);
  expect(droppingChains("not JSON")).toEqual([]);
  expect(droppingChains("[]")).toEqual([]);
});
