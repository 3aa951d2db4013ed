/** What `doctor` looks at, as plain data: gathered on a machine by one file, judged by another. */

/** How a program answered when it was run. */
export interface Answer {
  readonly exitCode: number;
  readonly out: string;
  readonly said: string;
}

export interface PortUse {
  readonly protocol: "tcp" | "udp";
  /** Name and pid of each program that has it; empty when nobody could be named. */
  readonly holders: readonly { readonly name: string; readonly pid: number }[];
}

export interface DiskFacts {
  readonly path: string;
  /** The deepest directory on the way to `path` that there is. */
  readonly existing: string;
  /** Of statfs(2). */
  readonly type: number;
  readonly freeBytes: number;
  readonly totalBytes: number;
  readonly freeFiles: number;
  readonly totalFiles: number;
  /** What came of mounting an overlay there; undefined when that was not tried. */
  readonly overlay: Answer | undefined;
}

export interface MachineFacts {
  readonly userId: number;
  /** Bits of capabilities(7). */
  readonly capabilities: bigint;
  readonly kernelRelease: string;
  readonly osRelease: string;
  readonly namespaces: readonly string[];
  /** File systems that the kernel has, or has a module for. */
  readonly hasOverlay: boolean;
  readonly hasIpv6: boolean;
  readonly hasSeccomp: boolean;
  /** How many the machine allows; undefined where the kernel has none. */
  readonly userNamespacesMax: number | undefined;
  /** `memory`, `cpu`, ...; undefined when no control group is mounted. */
  readonly cgroups:
    { readonly version: "v1" | "v2" | "hybrid"; readonly controllers: readonly string[] } | undefined;
  /** Programs by name to the first line they say of their version; those that are not installed are absent. */
  readonly programs: ReadonlyMap<string, string>;
  /** Whether the kernel takes the rules we need, none of which is kept; undefined when that was not tried. */
  readonly packetFilter: Answer | undefined;
  /** Whether a pair of interfaces can be made, in a network of its own. */
  readonly linkPair: Answer | undefined;
  /** Chains of others that drop what is forwarded: `family table chain`. */
  readonly droppingChains: readonly string[];
  readonly forwarding: { readonly ipv4: boolean; readonly ipv6: boolean };
  readonly port: number;
  readonly portUses: readonly PortUse[];
  /** Pid of the agent that answers on the socket. */
  readonly agentPid: number | undefined;
  readonly disk: DiskFacts;
  /** `synchronized` as somebody says who knows; `kept` when a program for it runs; `alone` otherwise. */
  readonly time: "synchronized" | "kept" | "alone";
  readonly openFilesMax: number;
}
