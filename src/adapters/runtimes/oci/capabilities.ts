/** Which privileges of root a container's processes may hold: Docker's defaults, with what the user adds and drops. */
import { readFileSync } from "node:fs";
import type { Capabilities } from "../../../model/spec.ts";

/** In the order of their bits (linux/capability.h). */
const names = [
  ...["CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"],
  ...["SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW"],
  ...["IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT"],
  ...["SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD"],
  ...["LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG"],
  ...["WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"],
] as const;

/** Docker's default set: enough for common images run as root, nothing that reaches the machine. */
export const defaultCapabilities: readonly string[] = [
  ...["AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"],
  ...["NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"],
];

const everything = "ALL";

export type CapabilitiesResult =
  { readonly ok: true; readonly names: readonly string[] } | { readonly ok: false; readonly detail: string };

/**
 * What a container gets, as `CAP_` names. As Docker has it: what is added wins over what is dropped, but a drop
 * wins over `ALL` added. `own` is what the agent holds and the runtime knows: more cannot be given away, and a name that was asked for is
 * never left out in silence.
 */
export function grantCapabilities(
  asked: Capabilities | undefined,
  own: ReadonlySet<string>,
): CapabilitiesResult {
  const added = new Set((asked?.add ?? []).map(plainName));
  const dropped = new Set((asked?.drop ?? []).map(plainName));
  const known = new Set<string>([...names, everything]);
  const unknown = [...added, ...dropped].find((name) => !known.has(name));
  if (unknown !== undefined) return { ok: false, detail: `there is no capability ${unknown}` };
  const lacking = [...added].find((name) => name !== everything && !own.has(name));
  if (lacking !== undefined)
    return { ok: false, detail: `neither the agent nor the runtime has the capability ${lacking} to give` };
  const isGranted = (name: string): boolean => {
    if (!own.has(name)) return false;
    if (added.has(everything)) return !dropped.has(name);
    if (added.has(name)) return true;
    return defaultCapabilities.includes(name) && !dropped.has(name) && !dropped.has(everything);
  };
  return { ok: true, names: names.filter(isGranted).map((name) => `CAP_${name}`) };
}

function plainName(name: string): string {
  return name.toUpperCase().replace(/^CAP_/, "");
}

/** What this process may do and hand on, without `CAP_`. */
export function ownCapabilities(): ReadonlySet<string> {
  return parseCapabilities(readFileSync("/proc/self/status", "utf8"));
}

/** From the text of a /proc status file; a set no line of which is there is empty. */
export function parseCapabilities(status: string): ReadonlySet<string> {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"}`);
  return new Set(names.filter((_name, bit) => (effective >> BigInt(bit)) & 1n));
}

export interface ProcessCapabilities {
  readonly bounding: readonly string[];
  readonly effective: readonly string[];
  readonly permitted: readonly string[];
}

/** Root holds all that was granted; anybody else could only gain from it what its files' capabilities allow. */
export function effectiveCapabilities(uid: number, granted: readonly string[]): ProcessCapabilities {
  const held = uid === 0 ? granted : [];
  return { bounding: granted, effective: held, permitted: held };
}
