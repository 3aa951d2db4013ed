/** Looks at this machine. Changes nothing on it: what is tried, is tried in namespaces or directories that go again. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { release } from "node:os";
import { lookAtDisk } from "./disk.ts";
import type { MachineFacts, PortUse } from "./machine-facts.ts";
import { findProgram, tryProgram } from "./try-program.ts";

export interface GatherOptions {
  readonly dataDirectory: string;
  readonly port: number;
  /** Undefined when none answers. */
  readonly agentPid: number | undefined;
}

const versioned = ["runc", "crun", "runsc", "conmon", "nft", "ip"] as const;
/** Rules as the agent writes them, to be judged by the kernel and not kept. */
const rulesToCheck = `table inet muster-doctor {
map publish { type inet_proto . inet_service : ipv4_addr . inet_service; }
chain guard { type filter hook prerouting priority raw; policy accept;
iifgroup 7 fib saddr . iif oif missing drop
}
chain inbound { type nat hook prerouting priority dstnat; policy accept;
fib daddr type local meta nfproto ipv4 dnat ip to meta l4proto . th dport map @publish
}
chain outbound { type nat hook postrouting priority srcnat; policy accept;
iifgroup 7 oifgroup != 7 masquerade
}
}
`;

export async function gatherFacts(options: GatherOptions): Promise<MachineFacts> {
  const isRoot = process.getuid?.() === 0;
  const [programs, packetFilter, linkPair, droppingChains, portUses, disk, time] = await Promise.all([
    programVersions(),
    isRoot ? tryProgram(["nft", "--check", "--file", "-"], rulesToCheck) : undefined,
    isRoot ? tryLinkPair() : undefined,
    isRoot ? findDroppingChains() : [],
    findPortUses(options.port),
    lookAtDisk(options.dataDirectory, isRoot),
    clockKeeping(),
  ]);
  return {
    userId: process.getuid?.() ?? -1,
    capabilities: BigInt(`0x${fieldOf(text("/proc/self/status"), "CapEff") || "0"}`),
    kernelRelease: release(),
    osRelease: text("/etc/os-release"),
    namespaces: readdirSync("/proc/self/ns"),
    hasOverlay: hasFileSystem("overlay"),
    hasIpv6: existsSync("/proc/sys/net/ipv6/conf/all/forwarding"),
    hasSeccomp: fieldOf(text("/proc/self/status"), "Seccomp") !== "",
    userNamespacesMax: existsSync("/proc/self/ns/user")
      ? Number(text("/proc/sys/user/max_user_namespaces").trim() || "0")
      : undefined,
    cgroups: controlGroups(text("/proc/self/mounts"), text("/sys/fs/cgroup/cgroup.controllers")),
    programs,
    packetFilter,
    linkPair,
    droppingChains,
    forwarding: {
      ipv4: text("/proc/sys/net/ipv4/ip_forward").trim() === "1",
      ipv6: text("/proc/sys/net/ipv6/conf/all/forwarding").trim() === "1",
    },
    port: options.port,
    portUses,
    agentPid: options.agentPid,
    disk,
    time,
    openFilesMax: Number(/^Max open files\s+\S+\s+(\d+)/m.exec(text("/proc/self/limits"))?.[1] ?? 0),
  };
}

/** Of /proc/self/mounts, and of the file that says what version 2 has at its root. */
export function controlGroups(mounts: string, rootControllers: string): MachineFacts["cgroups"] {
  const fields = mounts.split("\n").map((line) => line.split(" "));
  const v1 = fields.flatMap(([, , type, options = ""]) => (type === "cgroup" ? options.split(",") : []));
  const hasV2 = fields.some(([, , type]) => type === "cgroup2");
  if (v1.length > 0) return { version: hasV2 ? "hybrid" : "v1", controllers: v1.filter(isController) };
  if (!hasV2) return undefined;
  return { version: "v2", controllers: rootControllers.trim().split(/\s+/).filter(isController) };
}

const controllerNames: ReadonlySet<string> = new Set([
  "cpu",
  "cpuset",
  "memory",
  "pids",
  "io",
  "blkio",
  "devices",
  "freezer",
]);

function isController(name: string): boolean {
  return controllerNames.has(name);
}

async function programVersions(): Promise<ReadonlyMap<string, string>> {
  const versions = new Map<string, string>();
  for (const name of versioned) {
    const answer = await tryProgram([name, name === "ip" ? "-V" : "--version"]);
    if (answer !== undefined)
      versions.set(name, answer.out.split("\n")[0]?.trim() || `${name}, of a version it does not tell`);
  }
  return versions;
}

async function tryLinkPair(): Promise<MachineFacts["linkPair"]> {
  const ip = findProgram("ip");
  if (ip === undefined) return undefined;
  return tryProgram(["unshare", "--net", ip, "link", "add", "name", "doctor0", "type", "veth"]);
}

/** Base chains of others that drop by policy what is forwarded. */
async function findDroppingChains(): Promise<readonly string[]> {
  const listed = await tryProgram(["nft", "--json", "list", "chains"]);
  return listed === undefined || listed.exitCode !== 0 ? [] : droppingChains(listed.out);
}

/** Of `nft --json list chains`. */
export function droppingChains(json: string): readonly string[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    return [];
  }
  const list: unknown = field(parsed, "nftables");
  if (!Array.isArray(list)) return [];
  return list.flatMap((entry: unknown) => {
    const chain = field(entry, "chain");
    if (field(chain, "hook") !== "forward" || field(chain, "policy") !== "drop") return [];
    return [
      `${String(field(chain, "family"))} ${String(field(chain, "table"))} ${String(field(chain, "name"))}`,
    ];
  });
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

async function findPortUses(port: number): Promise<readonly PortUse[]> {
  const listed = await tryProgram(["ss", "-Hltunp", "sport", "=", `:${port}`]);
  return listed === undefined ? [] : parsePortUses(listed.out);
}

/** Of `ss -Hltunp`. */
export function parsePortUses(table: string): readonly PortUse[] {
  const uses: PortUse[] = [];
  for (const line of table.split("\n")) {
    const protocol = line.split(/\s+/)[0];
    if (protocol !== "tcp" && protocol !== "udp") continue;
    const holders = [...line.matchAll(/\("([^"]*)",pid=(\d+)/g)].map(([, name = "", pid]) => ({
      name,
      pid: Number(pid),
    }));
    uses.push({ protocol, holders });
  }
  return uses;
}

/** Whether it is there, or comes with a module when it is first asked for. */
function hasFileSystem(name: string): boolean {
  if (new RegExp(`\\b${name}$`, "m").test(text("/proc/filesystems"))) return true;
  const modules = `/lib/modules/${release()}`;
  return ["modules.dep", "modules.builtin"].some((file) =>
    text(`${modules}/${file}`).includes(`/${name}.ko`),
  );
}

const clockPrograms = ["chronyd", "ntpd", "ntpsec", "systemd-timesyn", "openntpd"];

async function clockKeeping(): Promise<MachineFacts["time"]> {
  const asked = await tryProgram(["timedatectl", "show", "--property", "NTPSynchronized", "--value"]);
  if (asked?.out.trim() === "yes") return "synchronized";
  if (existsSync("/run/systemd/timesync/synchronized")) return "synchronized";
  const names = readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid))
    .map((pid) => text(`/proc/${pid}/comm`).trim());
  return names.some((name) => clockPrograms.includes(name)) ? "kept" : "alone";
}

function fieldOf(status: string, name: string): string {
  return new RegExp(`^${name}:\\s*(\\S+)`, "m").exec(status)?.[1] ?? "";
}

/** Empty when there is no such file, or it is not ours to read. */
function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
