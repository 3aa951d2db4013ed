/** What one node tells the fleet about itself, and what the fleet thinks of it. */

/**
 * `suspect`: a probe failed and the member has not refuted yet. `dead`: the suspicion ran out.
 * `left`: the member said goodbye. A dead or left member may come back under the same id.
 */
export type MemberStatus = "alive" | "suspect" | "dead" | "left";

/** Coarse hints that placement filters on before it asks. Small on purpose: it travels in gossip. */
export interface MemberMeta {
  readonly zone?: string;
  /** As in OCI platform names: `amd64`, `arm64`. */
  readonly architecture?: string;
  /** Digest over the node's labels and taints; equal digests mean equal labels. */
  readonly labelsDigest?: string;
  /** The agent's version, for people. */
  readonly version?: string;
  readonly capacityCpuMillis?: number;
  readonly capacityMemoryBytes?: number;
  readonly freeCpuMillis: number;
  readonly freeMemoryBytes: number;
  /** Lowest and highest wire protocol version the node speaks. */
  readonly protocolVersions: readonly [min: number, max: number];
}

/** One member as gossiped. */
export interface MemberRecord {
  /** 32 lower-case hex digits. */
  readonly id: string;
  readonly name: string;
  /** `host:port`, the preferred one first; never empty. */
  readonly addresses: readonly string[];
  /** Only the member itself raises it; of two records the one with the greater incarnation is newer. */
  readonly incarnation: number;
  readonly status: MemberStatus;
  readonly meta: MemberMeta;
}
