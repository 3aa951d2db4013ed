/** Settings of a node, resolved once at the edge. */
import type { LogOptions } from "./group.ts";
import type { Address, PeerAddress } from "../ports/transport.ts";

/** As the user gave them: what `muster up` says. */
export interface NodeOptions {
  readonly dataDirectory: string;
  /** `host:port` to bind; `[::]:7440` binds every address of both families. */
  readonly listen: Address;
  /** What others dial, when it is not what is bound. */
  readonly advertise?: Address;
  readonly join: readonly Address[];
  readonly invite?: string;
  readonly name: string;
  readonly zone?: string;
  readonly labels: Readonly<Record<string, string>>;
  /** What the node offers instead of what the machine has. */
  readonly cpuMillis?: number;
  readonly memoryBytes?: number;
  readonly plainHttpRegistries: readonly string[];
  /** `host:port` of mirrors by the registry's name in references. */
  readonly registryMirrors: Readonly<Record<string, readonly string[]>>;
  /** How full images may make the disk, and down to where unused ones make room. */
  readonly imageDiskHighPercent?: number;
  readonly imageDiskLowPercent?: number;
  /** Control group above those of all containers; by default `/muster/` and the start of the node's id. */
  readonly cgroupParent?: string;
  /** The words that run this program again, for its child processes. */
  readonly selfCommand: readonly string[];
  readonly version: string;
  readonly commit: string;
  /** Diagnostics, on standard error. */
  readonly logLevel: "error" | "warn" | "info" | "debug";
  readonly logFormat: "json" | "text";
}

/** What the agent itself needs to know; everything else is in its ports. */
export interface AgentOptions {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly commit: string;
  readonly architecture: string;
  readonly zone?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly Address[];
  readonly capacity: { readonly cpuMillis: number; readonly memoryBytes: number };
  /** The fleet's /32, eight hex digits (model/address.ts). */
  readonly fleetPrefix: string;
  readonly seeds: readonly PeerAddress[];
  readonly log: LogOptions;
  readonly pid: number;
}
