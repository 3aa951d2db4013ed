import { describe, expect, test } from "bun:test";
import { defined } from "../../model/assert.ts";
import { examine, type Finding } from "./examine.ts";
import type { MachineFacts } from "./machine-facts.ts";

const fine = { exitCode: 0, out: "", said: "" };
const gib = 1024 ** 3;

const healthy: MachineFacts = {
  userId: 0,
  capabilities: (1n << 40n) - 1n,
  kernelRelease: "6.1.0-32-arm64",
  osRelease: "ID=debian\n",
  namespaces: ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"],
  hasOverlay: true,
  hasIpv6: true,
  hasSeccomp: true,
  userNamespacesMax: 15_000,
  cgroups: { version: "v2", controllers: ["cpu", "io", "memory", "pids"] },
  programs: new Map([
    ["runc", "runc version 1.1.5"],
    ["conmon", "conmon version 2.1.6"],
    ["nft", "nftables v1.0.6"],
    ["ip", "ip utility, iproute2-6.1.0"],
  ]),
  packetFilter: fine,
  linkPair: fine,
  droppingChains: [],
  forwarding: { ipv4: true, ipv6: true },
  port: 7440,
  portUses: [],
  agentPid: undefined,
  disk: {
    path: "/var/lib/muster",
    existing: "/var/lib",
    type: 0xef53,
    freeBytes: 40 * gib,
    totalBytes: 100 * gib,
    freeFiles: 1_000_000,
    totalFiles: 2_000_000,
    overlay: fine,
  },
  time: "synchronized",
  openFilesMax: 1_048_576,
};

function found(check: string, change: Partial<MachineFacts>): Finding {
  const findings = examine({ ...healthy, ...change });
  return defined(
    findings.find((finding) => finding.check === check),
    `a finding about ${check}`,
  );
}

test("of a healthy machine nothing is to be done", () => {
  const findings = examine(healthy);
  expect(findings.filter(({ status }) => status !== "ok")).toEqual([]);
  expect(findings.filter(({ advice }) => advice !== undefined)).toEqual([]);
  expect(new Set(findings.map(({ check }) => check)).size).toBe(findings.length);
});

describe("a machine that lacks something is told what to do", () => {
  const without = (...names: readonly string[]) =>
    new Map([...healthy.programs].filter(([name]) => !names.includes(name)));
  const { disk } = healthy;
  const refusal = { exitCode: 1, out: "", said: "first line\nmount: wrong fs type\n" };
  const cases: readonly [string, string, Partial<MachineFacts>, Finding["status"], string][] = [
    ["not root", "user", { userId: 1000 }, "failed", "sudo"],
    ["root of a container", "user", { capabilities: 0xa80425fbn }, "failed", "privileged"],
    ["an old kernel", "kernel", { kernelRelease: "4.18.0-553.el8" }, "failed", "5.7"],
    ["a kernel just too old", "kernel", { kernelRelease: "5.6.19" }, "failed", "5.7"],
    [
      "a Raspberry Pi",
      "cgroups",
      { cgroups: { version: "v2", controllers: ["cpu", "pids"] } },
      "failed",
      "cgroup_enable=memory",
    ],
    ["no control groups", "cgroups", { cgroups: undefined }, "failed", "mount"],
    ["no runtime", "runtime", { programs: without("runc") }, "failed", "apt-get install runc"],
    ["no monitor", "conmon", { programs: without("conmon") }, "failed", "apt-get install conmon"],
    ["no nft", "nftables", { programs: without("nft") }, "failed", "apt-get install nftables"],
    ["a kernel without nftables", "nftables", { packetFilter: refusal }, "failed", "modprobe"],
    ["a kernel without veth", "interfaces", { linkPair: refusal }, "failed", "modprobe veth"],
    ["no IPv6", "ipv6", { hasIpv6: false }, "failed", "ipv6.disable"],
    ["a firewall", "firewall", { droppingChains: ["ip filter FORWARD"] }, "warning", "mstr-+"],
    [
      "no overlay",
      "overlayfs",
      { hasOverlay: false, disk: { ...disk, overlay: refusal } },
      "failed",
      "modprobe overlay",
    ],
    ["a disk that takes none", "overlayfs", { disk: { ...disk, overlay: refusal } }, "failed", "ext4"],
    ["a share", "file-system", { disk: { ...disk, type: 0x6969, overlay: refusal } }, "failed", "ext4"],
    ["memory as a disk", "file-system", { disk: { ...disk, type: 0x0102_1994 } }, "warning", "ext4"],
    ["a full disk", "disk", { disk: { ...disk, freeBytes: 1024 ** 2 } }, "failed", "make room"],
    ["a narrow disk", "disk", { disk: { ...disk, freeBytes: 2 * gib } }, "warning", "make room"],
    ["a disk of few files", "disk", { disk: { ...disk, freeFiles: 10 } }, "warning", "make room"],
    ["a clock of its own", "time", { time: "alone" }, "warning", "systemd-timesyncd"],
    [
      "no user namespaces allowed",
      "user-namespaces",
      { userNamespacesMax: 0 },
      "warning",
      "max_user_namespaces",
    ],
    ["no user namespaces", "user-namespaces", { userNamespacesMax: undefined }, "warning", "userNamespace"],
    ["no filter of system calls", "seccomp", { hasSeccomp: false }, "warning", "CONFIG_SECCOMP"],
    ["few open files", "open-files", { openFilesMax: 1024 }, "warning", "LimitNOFILE"],
  ];
  for (const [name, check, change, status, advice] of cases)
    test(name, () => {
      const finding = found(check, change);
      expect(finding.status).toBe(status);
      expect(finding.advice).toContain(advice);
    });

  test("a refusal is told by its last line", () => {
    expect(found("overlayfs", { disk: { ...disk, overlay: refusal } }).detail).toEndWith(
      "mount: wrong fs type",
    );
  });
});

describe("the agent's port", () => {
  const use = { protocol: "tcp" as const, holders: [{ name: "nginx", pid: 71 }] };

  test("taken by another program, which is named", () => {
    const finding = found("port", { portUses: [use] });
    expect(finding.status).toBe("failed");
    expect(finding.detail).toBe("7440/tcp is taken by nginx (pid 71)");
  });

  test("taken by the agent that answers", () => {
    expect(found("port", { portUses: [use], agentPid: 71 })).toMatchObject({ status: "ok" });
  });
});

test("a runtime other than runc will do", () => {
  const programs = new Map([...healthy.programs, ["crun", "crun version 1.8.1"] as const]);
  programs.delete("runc");
  expect(found("runtime", { programs }).status).toBe("ok");
});

test("who is not root is told what was not tried, and that it was not", () => {
  const findings = examine({
    ...healthy,
    userId: 1000,
    packetFilter: undefined,
    linkPair: undefined,
    disk: { ...healthy.disk, overlay: undefined },
  });
  const status = Object.fromEntries(findings.map((finding) => [finding.check, finding.status]));
  expect(status).toMatchObject({ nftables: "warning", interfaces: "warning", overlayfs: "warning" });
});
