/** The OCI runtime configuration (runtime-spec, config.md) of one container, with defaults as safe as Docker's. */
import type { ContainerSpec } from "../../../ports/container-runtime.ts";
import type { ImageUser } from "./image-user.ts";
import { seccompFilter } from "./seccomp.ts";

export interface ConfigInput {
  readonly spec: ContainerSpec;
  readonly user: ImageUser;
  readonly cgroup: string;
  /** Most processes and threads. */
  readonly pidsMax: number;
  /** Most open files; above the agent's own limit it would be refused. */
  readonly filesMax: number;
  readonly hasSwapLimit: boolean;
  /** Files that take the place of the image's: name in the container to path on the node. */
  readonly files: ReadonlyMap<string, string>;
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
  readonly capabilities: {
    readonly bounding: readonly string[];
    readonly effective: readonly string[];
    readonly permitted: readonly string[];
  };
  readonly rlimits: readonly {
    readonly type: string;
    readonly soft: number;
    readonly hard: number;
  }[];
  readonly noNewPrivileges: boolean;
}

/** Docker's default set: enough for common images run as root, nothing that reaches the machine. */
const capabilities = [
  "CAP_AUDIT_WRITE",
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_MKNOD",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_RAW",
  "CAP_SETFCAP",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
] as const;

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

/** What is written to config.json. */
export function ociConfig(input: ConfigInput): object {
  const { spec } = input;
  const seccomp = seccompFilter(process.arch);
  return {
    ociVersion: "1.0.2",
    hostname: spec.hostname,
    root: { path: "merged", readonly: false },
    process: ociProcess(input),
    mounts: mounts(input),
    linux: {
      cgroupsPath: input.cgroup,
      namespaces: namespaces(spec),
      resources: resources(input),
      maskedPaths,
      readonlyPaths,
      ...(seccomp === undefined ? {} : { seccomp }),
    },
  };
}

function ociProcess(input: ConfigInput): OciProcess {
  const { spec, user } = input;
  const { uid, gid, additionalGids } = user;
  return {
    terminal: false,
    user: { uid, gid, additionalGids },
    args: spec.args,
    env: withDefaults(spec.env, [defaultPath, `HOSTNAME=${spec.hostname}`]),
    cwd: spec.workingDirectory === "" ? "/" : spec.workingDirectory,
    capabilities: effectiveCapabilities(uid),
    rlimits: [{ type: "RLIMIT_NOFILE", soft: input.filesMax, hard: input.filesMax }],
    noNewPrivileges: true,
  };
}

/** Root holds the default set; anybody else could only gain from it what its files' capabilities allow. */
export function effectiveCapabilities(uid: number): OciProcess["capabilities"] {
  return uid === 0
    ? {
        bounding: capabilities,
        effective: capabilities,
        permitted: capabilities,
      }
    : { bounding: capabilities, effective: [], permitted: [] };
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

function namespaces(spec: ContainerSpec): object[] {
  const network =
    spec.networkNamespace === undefined
      ? { type: "network" }
      : { type: "network", path: spec.networkNamespace };
  const own = ["pid", "ipc", "uts", "mount", "cgroup"];
  return [...own.map((type) => ({ type })), network];
}

function resources(input: ConfigInput): object {
  const { cpuMillis, memoryBytes } = input.spec;
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
    pids: { limit: input.pidsMax },
    ...(cpuMillis > 0 ? { cpu } : {}),
    ...(memoryBytes > 0 ? { memory } : {}),
  };
}

function mounts(input: ConfigInput): object[] {
  const sealed = ["nosuid", "noexec", "nodev"];
  const files = [...input.files].map(([destination, source]) => ({
    destination,
    source,
    type: "bind",
    options: ["bind", "rprivate"],
  }));
  return [
    { destination: "/proc", type: "proc", source: "proc", options: sealed },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {
      destination: "/dev/shm",
      type: "tmpfs",
      source: "shm",
      options: [...sealed, "mode=1777", "size=65536k"],
    },
    {
      destination: "/dev/mqueue",
      type: "mqueue",
      source: "mqueue",
      options: sealed,
    },
    {
      destination: "/sys",
      type: "sysfs",
      source: "sysfs",
      options: [...sealed, "ro"],
    },
    {
      destination: "/sys/fs/cgroup",
      type: "cgroup",
      source: "cgroup",
      options: [...sealed, "relatime", "ro"],
    },
    ...files,
  ];
}
