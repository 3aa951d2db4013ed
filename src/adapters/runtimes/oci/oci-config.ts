/** The OCI runtime configuration (runtime-spec, config.md) of one container, with defaults as safe as Docker's. */
import type { ContainerMount, ContainerSpec } from "../../../ports/container-runtime.ts";
import { effectiveCapabilities, type ProcessCapabilities } from "./capabilities.ts";
import { ociMounts } from "./config-mounts.ts";
import type { ContainerFile } from "./container-files.ts";
import type { IdRange } from "./id-ranges.ts";
import type { ImageUser } from "./image-user.ts";
import type { Sandbox } from "./sandbox.ts";
import { seccompFilter } from "./seccomp.ts";

export interface ConfigInput {
  readonly spec: ContainerSpec;
  /** The specification's, with sources that the container's users can get at. */
  readonly mounts: readonly ContainerMount[];
  /** The mounted root directory. */
  readonly root: string;
  readonly user: ImageUser;
  readonly cgroup: string;
  /** `CAP_` names that the container's processes may come to hold. */
  readonly capabilities: readonly string[];
  /** Most processes and threads where the container does not say. */
  readonly pidsMax: number;
  /** Most open files; above the agent's own limit it would be refused. */
  readonly filesMax: number;
  readonly oomScoreAdj: number;
  readonly hasSwapLimit: boolean;
  readonly files: readonly ContainerFile[];
  readonly sandbox: Sandbox | undefined;
  /** Users of the machine that the container's are; undefined: the same. */
  readonly idRange: IdRange | undefined;
  readonly knowsRecursiveReadOnly: boolean;
}

/** What an OCI process is: part of the configuration, and what `exec` reads. */
export interface OciProcess {
  readonly terminal: boolean;
  readonly consoleSize?: { readonly width: number; readonly height: number };
  readonly user: {
    readonly uid: number;
    readonly gid: number;
    readonly additionalGids: readonly number[];
  };
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly capabilities: ProcessCapabilities;
  readonly rlimits: readonly {
    readonly type: string;
    readonly soft: number;
    readonly hard: number;
  }[];
  readonly noNewPrivileges: boolean;
  readonly oomScoreAdj: number;
}

const maskedPaths = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/sys/devices/virtual/powercap",
  "/sys/firmware",
] as const;

const readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"] as const;

export const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const cpuPeriodUs = 100_000;

/** Of another network namespace than the container's: it is the machine's /sys that a foreign namespace gets to see. */
const maskedForeignPaths = ["/sys/class/net", "/sys/devices/virtual/net"] as const;

/** Of the network namespace, as in Docker's containers: ports below 1024 and pings are for everybody who is inside. */
export function networkSettings(lastGroup: number): Readonly<Record<string, string>> {
  return {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": `0 ${lastGroup}`,
  };
}

/** The kernel takes no group above. */
export const lastGroup = 2_147_483_647;

/** What is written to config.json. */
export function ociConfig(input: ConfigInput): object {
  const { spec, idRange } = input;
  const seccomp = seccompFilter(process.arch, input.capabilities);
  const isNetworkForeign = idRange !== undefined && spec.networkNamespace !== undefined;
  const mappings = idRange && [{ containerID: 0, hostID: idRange.base, size: idRange.size }];
  return {
    ociVersion: "1.0.2",
    hostname: spec.hostname,
    root: { path: input.root, readonly: spec.readOnlyRoot ?? false },
    process: ociProcess(input),
    mounts: ociMounts({
      mounts: input.mounts,
      files: input.files,
      sharedMemory: input.sandbox?.sharedMemory,
      knowsRecursiveReadOnly: input.knowsRecursiveReadOnly,
      isNetworkForeign,
      isIpcForeign: idRange !== undefined && input.sandbox !== undefined,
    }),
    linux: {
      cgroupsPath: input.cgroup,
      namespaces: namespaces(input),
      ...(mappings === undefined ? {} : { uidMappings: mappings, gidMappings: mappings }),
      resources: resources(input),
      ...(isNetworkForeign ? {} : { sysctl: networkSettings(idRange ? idRange.size - 1 : lastGroup) }),
      maskedPaths: isNetworkForeign ? [...maskedPaths, ...maskedForeignPaths] : maskedPaths,
      readonlyPaths,
      ...(seccomp === undefined ? {} : { seccomp }),
    },
  };
}

function ociProcess(input: ConfigInput): OciProcess {
  const { spec, user } = input;
  const { uid, gid, additionalGids } = user;
  return {
    terminal: spec.terminal === true,
    user: { uid, gid, additionalGids },
    args: spec.args,
    env: withDefaults(spec.env, [defaultPath, `HOSTNAME=${spec.hostname}`]),
    cwd: spec.workingDirectory === "" ? "/" : spec.workingDirectory,
    capabilities: effectiveCapabilities(uid, input.capabilities),
    rlimits: [{ type: "RLIMIT_NOFILE", soft: input.filesMax, hard: input.filesMax }],
    noNewPrivileges: !(spec.allowNewPrivileges ?? false),
    // The agent may be guarded from the kernel's out-of-memory killer; what it starts is not.
    oomScoreAdj: input.oomScoreAdj,
  };
}

/** `env` and those of `defaults` whose name it does not set. */
export function withDefaults(env: readonly string[], defaults: readonly string[]): string[] {
  const names = new Set(env.map(nameOf));
  return [...env, ...defaults.filter((line) => !names.has(nameOf(line)))];
}

function nameOf(line: string): string {
  const end = line.indexOf("=");
  return end === -1 ? line : line.slice(0, end);
}

function namespaces({ spec, sandbox, idRange }: ConfigInput): object[] {
  const joined = (type: string, path: string | undefined) => (path === undefined ? { type } : { type, path });
  return [
    ...["pid", "uts", "mount", "cgroup"].map((type) => ({ type })),
    ...(idRange === undefined ? [] : [{ type: "user" }]),
    joined("ipc", sandbox?.ipcNamespace),
    joined("network", spec.networkNamespace),
  ];
}

function resources(input: ConfigInput): object {
  const { cpuMillis, memoryBytes, pids = 0 } = input.spec;
  const cpu = {
    // 1024 shares is one core's weight; the kernel refuses less than 2 and more than 262144.
    shares: Math.min(262_144, Math.max(2, Math.round(cpuMillis * 1.024))),
    // The kernel refuses quotas under one millisecond.
    quota: Math.max(1_000, (cpuMillis * cpuPeriodUs) / 1_000),
    period: cpuPeriodUs,
  };
  const memory = input.hasSwapLimit ? { limit: memoryBytes, swap: memoryBytes } : { limit: memoryBytes };
  return {
    // The runtime adds the devices every container has (null, zero, full, random, urandom, tty, pts).
    devices: [{ allow: false, access: "rwm" }],
    pids: { limit: pids > 0 ? pids : input.pidsMax },
    ...(cpuMillis > 0 ? { cpu } : {}),
    ...(memoryBytes > 0 ? { memory } : {}),
  };
}
