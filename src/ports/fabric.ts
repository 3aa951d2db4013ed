/**
 * The network of replicas on this node: a namespace for each, its addresses, its published ports.
 *
 * `attach` and `detach` are idempotent by endpoint id and may run at the same time for different ones.
 * What a crash left behind is found by `list` and removed by `detach`. Nothing else on the machine is touched,
 * and after the last `detach` nothing of ours is left on it but settings.
 */
import type { PortSpec } from "../model/spec.ts";

/**
 * The node, as each of its replicas sees it. A resolver that only listens on the node's loopback is asked
 * at port 53 of the IPv4 address.
 */
export const replicaGateway = { ipv4: "169.254.1.1", ipv6: "fe80::1" } as const;

export interface EndpointSpec {
  /** `[a-z0-9][a-z0-9.-]{0,126}`; unique on the node. */
  readonly id: string;
  /** Words for people: what a refusal calls this endpoint, such as `shop/web, replica 0`. */
  readonly owner: string;
  /** The replica's computed address. */
  readonly ipv6: string;
  /** Only those with `published` set are reachable from outside. */
  readonly ports: readonly PortSpec[];
}

export interface Endpoint {
  readonly id: string;
  /** Path of the network namespace that the container joins. */
  readonly networkNamespace: string;
  readonly ipv6: string;
  /** Node-local, for programs that only speak IPv4. */
  readonly ipv4: string;
}

export interface Fabric {
  /** Rejects with FabricError; then nothing of the endpoint is left. */
  attach(spec: EndpointSpec): Promise<Endpoint>;
  detach(id: string): Promise<void>;
  list(): Promise<readonly Endpoint[]>;
  /** Who has a port of this machine that nobody may publish again; undefined when it is free. Words for people. */
  portHolder(port: number, protocol: "tcp" | "udp"): Promise<string | undefined>;
  close(): Promise<void>;
}

export type FabricErrorInfo =
  | {
      readonly code: "port-taken";
      readonly port: number;
      readonly protocol: "tcp" | "udp";
      readonly holder: string;
    }
  | {
      readonly code: "address-taken";
      readonly address: string;
      readonly holder: string;
    }
  | { readonly code: "unavailable"; readonly detail: string }
  | { readonly code: "failed"; readonly detail: string };

export class FabricError extends Error {
  override readonly name = "FabricError";
  readonly info: FabricErrorInfo;
  constructor(message: string, info: FabricErrorInfo, options?: { cause?: unknown }) {
    super(message, options);
    this.info = info;
  }
}
