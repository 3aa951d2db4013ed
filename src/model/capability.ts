/** Linux capabilities by name (capabilities(7)), without `CAP_`. */

const names = [
  "AUDIT_CONTROL",
  "AUDIT_READ",
  "AUDIT_WRITE",
  "BLOCK_SUSPEND",
  "BPF",
  "CHECKPOINT_RESTORE",
  "CHOWN",
  "DAC_OVERRIDE",
  "DAC_READ_SEARCH",
  "FOWNER",
  "FSETID",
  "IPC_LOCK",
  "IPC_OWNER",
  "KILL",
  "LEASE",
  "LINUX_IMMUTABLE",
  "MAC_ADMIN",
  "MAC_OVERRIDE",
  "MKNOD",
  "NET_ADMIN",
  "NET_BIND_SERVICE",
  "NET_BROADCAST",
  "NET_RAW",
  "PERFMON",
  "SETFCAP",
  "SETGID",
  "SETPCAP",
  "SETUID",
  "SYS_ADMIN",
  "SYS_BOOT",
  "SYS_CHROOT",
  "SYS_MODULE",
  "SYS_NICE",
  "SYS_PACCT",
  "SYS_PTRACE",
  "SYS_RAWIO",
  "SYS_RESOURCE",
  "SYS_TIME",
  "SYS_TTY_CONFIG",
  "SYSLOG",
  "WAKE_ALARM",
] as const;

/** Stands for every capability in a list of those to add or to drop. */
export const allCapabilities = "ALL";

export const capabilityNames: readonly string[] = names;

/** `net_admin` and `CAP_NET_ADMIN` are `NET_ADMIN`; undefined for what is none, and `ALL` is one here. */
export function parseCapability(text: string): string | undefined {
  const name = text.toUpperCase().replace(/^CAP_/, "");
  return name === allCapabilities || capabilityNames.includes(name) ? name : undefined;
}
