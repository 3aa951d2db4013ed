/** What the facts of a machine mean for an agent on it. Pure. */
import { formatBytes } from "../manifest/quantity.ts";
import type { Answer, DiskFacts, MachineFacts } from "./machine-facts.ts";
import { distributionIds, installAdvice, type Need } from "./packages.ts";

/** `failed`: no replica runs here as it should. `warning`: it may bite later. */
export type FindingStatus = "ok" | "warning" | "failed";

export interface Finding {
  /** Stable, for programs. */
  readonly check: string;
  readonly status: FindingStatus;
  readonly detail: string;
  /** What to do; absent when all is well. */
  readonly advice?: string;
}

const kernelMin = [5, 7] as const;
const capSysAdmin = 21n;
const capNetAdmin = 12n;
const namespacesNeeded = ["net", "mnt", "pid", "ipc", "uts"] as const;
const controllersNeeded = ["cpu", "memory", "pids"] as const;
const freeFailedBytes = 512 * 1024 ** 2;
const freeWarningBytes = 5 * 1024 ** 3;
const freeFilesWarning = 20_000;
const openFilesMin = 65_536;

export function examine(facts: MachineFacts): readonly Finding[] {
  return [
    rights(facts),
    kernel(facts),
    namespaces(facts),
    userNamespaces(facts),
    seccomp(facts),
    overlay(facts),
    controlGroups(facts),
    runtime(facts),
    required(facts, "conmon", "conmon", "it watches each container"),
    required(facts, "ip", "ip", "it removes interfaces that linger"),
    packetFilter(facts),
    linkPair(facts),
    ipv6(facts),
    forwarding(facts),
    firewall(facts),
    port(facts),
    diskType(facts.disk),
    diskSpace(facts.disk),
    time(facts),
    openFiles(facts),
  ];
}

function ok(check: string, detail: string): Finding {
  return { check, status: "ok", detail };
}

function failed(check: string, detail: string, advice: string): Finding {
  return { check, status: "failed", detail, advice };
}

function warning(check: string, detail: string, advice: string): Finding {
  return { check, status: "warning", detail, advice };
}

function install(facts: MachineFacts, ...needs: readonly Need[]): string {
  return installAdvice(distributionIds(facts.osRelease), needs);
}

function rights({ userId, capabilities }: MachineFacts): Finding {
  if (userId !== 0)
    return failed("user", `user id ${userId}`, "run doctor and the agent as root, such as with sudo");
  const has = (bit: bigint): boolean => (capabilities & (1n << bit)) !== 0n;
  if (!has(capSysAdmin) || !has(capNetAdmin))
    return failed(
      "user",
      "root without CAP_SYS_ADMIN or CAP_NET_ADMIN",
      "run the agent on the machine itself or in a privileged container",
    );
  return ok("user", "root, with its privileges");
}

function kernel({ kernelRelease }: MachineFacts): Finding {
  const [major = 0, minor = 0] = kernelRelease.split(".").map((part) => Number.parseInt(part, 10));
  const [needMajor, needMinor] = kernelMin;
  if (major > needMajor || (major === needMajor && minor >= needMinor))
    return ok("kernel", `Linux ${kernelRelease}`);
  return failed(
    "kernel",
    `Linux ${kernelRelease}`,
    `${kernelMin.join(".")} or newer is needed: upgrade the system`,
  );
}

function namespaces(facts: MachineFacts): Finding {
  const missing = namespacesNeeded.filter((name) => !facts.namespaces.includes(name));
  if (missing.length === 0) return ok("namespaces", namespacesNeeded.join(", "));
  return failed(
    "namespaces",
    `the kernel lacks: ${missing.join(", ")}`,
    "use a kernel with CONFIG_NAMESPACES",
  );
}

function userNamespaces({ userNamespacesMax: max }: MachineFacts): Finding {
  if (max !== undefined && max > 0) return ok("user-namespaces", `at most ${max}`);
  return warning(
    "user-namespaces",
    max === undefined ? "the kernel has none" : "none is allowed",
    "deployments with userNamespace: true cannot run here; sysctl -w user.max_user_namespaces=15000",
  );
}

function seccomp({ hasSeccomp }: MachineFacts): Finding {
  if (hasSeccomp) return ok("seccomp", "in the kernel");
  return warning(
    "seccomp",
    "the kernel cannot filter system calls; containers are less confined",
    "use a kernel with CONFIG_SECCOMP_FILTER",
  );
}

function overlay({ hasOverlay, disk }: MachineFacts): Finding {
  if (disk.overlay?.exitCode === 0) return ok("overlayfs", `mounted below ${disk.existing} for a try`);
  if (!hasOverlay)
    return failed(
      "overlayfs",
      "the kernel has no overlay file system and no module for it",
      "modprobe overlay, or a kernel with CONFIG_OVERLAY_FS",
    );
  if (disk.overlay === undefined) return warning("overlayfs", "there, but not tried", "run doctor as root");
  return failed(
    "overlayfs",
    `cannot be mounted below ${disk.existing}: ${lastLine(disk.overlay)}`,
    "put the data directory (--data-dir) on ext4, xfs or btrfs",
  );
}

function controlGroups({ cgroups }: MachineFacts): Finding {
  if (cgroups === undefined)
    return failed(
      "cgroups",
      "none are mounted",
      "mount -t cgroup2 none /sys/fs/cgroup, or boot with systemd",
    );
  const missing = controllersNeeded.filter((name) => !cgroups.controllers.includes(name));
  if (missing.length === 0) return ok("cgroups", `${cgroups.version}: ${cgroups.controllers.join(", ")}`);
  return failed(
    "cgroups",
    `${cgroups.version}, without: ${missing.join(", ")}`,
    missing.includes("memory")
      ? "add cgroup_enable=memory to the kernel's command line (Raspberry Pi: /boot/firmware/cmdline.txt), and reboot"
      : "use a kernel with these controllers",
  );
}

function runtime(facts: MachineFacts): Finding {
  const { programs } = facts;
  const found = ["runc", "crun", "runsc"].filter((name) => programs.has(name));
  const versions = found.map((name) => programs.get(name)).join("; ");
  if (programs.has("runc")) return ok("runtime", versions);
  if (found.includes("crun")) return ok("runtime", `${versions}; used where runc is not there`);
  return failed("runtime", "neither runc nor crun is installed", install(facts, "runc"));
}

function required(facts: MachineFacts, program: string, need: Need, why: string): Finding {
  const said = facts.programs.get(program);
  if (said !== undefined) return ok(program, said);
  return failed(program, `not installed; ${why}`, install(facts, need));
}

function packetFilter(facts: MachineFacts): Finding {
  const said = facts.programs.get("nft");
  if (said === undefined)
    return failed("nftables", "the program nft is not installed", install(facts, "nft"));
  if (facts.packetFilter === undefined)
    return warning("nftables", `${said}; not tried`, "run doctor as root");
  if (facts.packetFilter.exitCode === 0) return ok("nftables", said);
  return failed(
    "nftables",
    `the kernel refuses rules for published ports: ${lastLine(facts.packetFilter)}`,
    "modprobe nf_tables nft_nat nft_masq nft_fib_inet, or a kernel with these",
  );
}

function linkPair(facts: MachineFacts): Finding {
  if (facts.linkPair === undefined)
    return facts.userId === 0
      ? failed("interfaces", "unshare or ip is not installed", install(facts, "unshare", "ip"))
      : warning("interfaces", "not tried", "run doctor as root");
  if (facts.linkPair.exitCode === 0)
    return ok("interfaces", "a pair was made for a try, in a network of its own");
  return failed(
    "interfaces",
    `no pair can be made: ${lastLine(facts.linkPair)}`,
    "modprobe veth, or a kernel with CONFIG_VETH",
  );
}

function ipv6({ hasIpv6 }: MachineFacts): Finding {
  if (hasIpv6) return ok("ipv6", "in the kernel; the machine itself needs no address of it");
  return failed("ipv6", "switched off in the kernel", "boot without ipv6.disable=1, or modprobe ipv6");
}

function forwarding({ forwarding: { ipv4, ipv6: v6 } }: MachineFacts): Finding {
  const off = [...(ipv4 ? [] : ["net.ipv4.ip_forward"]), ...(v6 ? [] : ["net.ipv6.conf.all.forwarding"])];
  if (off.length === 0) return ok("forwarding", "on");
  return ok("forwarding", `off; the agent sets ${off.join(" and ")} with its first replica`);
}

function firewall({ droppingChains }: MachineFacts): Finding {
  if (droppingChains.length === 0) return ok("firewall", "none drops what is forwarded");
  return warning(
    "firewall",
    `drops what is forwarded, unless a rule allows it: ${droppingChains.join(", ")}`,
    "allow interfaces mstr-*, such as: iptables -I FORWARD -i mstr-+ -j ACCEPT; iptables -I FORWARD -o mstr-+ -j ACCEPT",
  );
}

function port({ port: number, portUses, agentPid }: MachineFacts): Finding {
  const taken = portUses.find(({ holders }) => !holders.some(({ pid }) => pid === agentPid));
  if (portUses.length === 0) return ok("port", `${number} is free, TCP and UDP`);
  if (taken === undefined) return ok("port", `${number} is the agent's (pid ${agentPid})`);
  const who = taken.holders.map(({ name, pid }) => `${name} (pid ${pid})`).join(", ");
  return failed(
    "port",
    `${number}/${taken.protocol} is taken by ${who === "" ? "another program" : who}`,
    "end it, or give the agent another port with --listen",
  );
}

interface FileSystem {
  readonly name: string;
  readonly trouble?: string;
}

/** By the numbers of statfs(2). */
const fileSystems: ReadonlyMap<number, FileSystem> = new Map([
  [0xef53, { name: "ext4" }],
  [0x5846_5342, { name: "xfs" }],
  [0x9123_683e, { name: "btrfs" }],
  [0xf2f5_2010, { name: "f2fs" }],
  [0x2fc1_2fc1, { name: "zfs" }],
  [0x0102_1994, { name: "tmpfs", trouble: "it is memory: promises and images are gone after a reboot" }],
  [0x794c_7630, { name: "overlay", trouble: "an overlay cannot lie on another one" }],
  [0x6969, { name: "nfs", trouble: "locks and overlays do not work on it" }],
  [0xff53_4d42, { name: "cifs", trouble: "it keeps neither owners nor modes" }],
  [0x4d44, { name: "vfat", trouble: "it keeps neither owners nor modes" }],
  [0x6573_5546, { name: "fuse", trouble: "whether overlays work on it depends on the program behind it" }],
]);

function diskType({ path, existing, type, overlay: tried }: DiskFacts): Finding {
  const system = fileSystems.get(type);
  const name = system?.name ?? `a file system of type 0x${type.toString(16)}`;
  const where = path === existing ? path : `${path} (to be made in ${existing})`;
  if (system?.trouble === undefined) return ok("file-system", `${name} at ${where}`);
  const judge = type === 0x0102_1994 || tried?.exitCode === 0 ? warning : failed;
  return judge(
    "file-system",
    `${name} at ${where}: ${system.trouble}`,
    "choose a --data-dir on ext4, xfs or btrfs",
  );
}

function diskSpace({ existing, freeBytes, totalBytes, freeFiles, totalFiles }: DiskFacts): Finding {
  const space = `${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} free at ${existing}`;
  const advice = "make room, or choose a --data-dir on another disk";
  if (freeBytes < freeFailedBytes) return failed("disk", space, advice);
  if (freeBytes < freeWarningBytes) return warning("disk", `${space}: few images fit`, advice);
  // File systems such as btrfs count no files.
  if (totalFiles > 0 && freeFiles < freeFilesWarning)
    return warning("disk", `${space}, but only ${freeFiles} more files`, advice);
  return ok("disk", space);
}

function time(facts: MachineFacts): Finding {
  if (facts.time === "synchronized") return ok("time", "synchronized");
  if (facts.time === "kept")
    return ok("time", "a program keeps the clock; whether it is right it did not say");
  return warning(
    "time",
    "nothing keeps this machine's clock right; certificates and invites depend on it",
    install(facts, "time"),
  );
}

function openFiles({ openFilesMax }: MachineFacts): Finding {
  if (openFilesMax >= openFilesMin) return ok("open-files", `at most ${openFilesMax}`);
  return warning(
    "open-files",
    `at most ${openFilesMax} for a program started here`,
    `ulimit -n ${openFilesMin}, or LimitNOFILE= in the agent's service`,
  );
}

function lastLine({ said, exitCode }: Answer): string {
  return (
    said
      .split("\n")
      .map((line) => line.trim())
      .findLast((line) => line !== "" && !/^\^+$/.test(line)) ?? `exit code ${exitCode}`
  );
}
