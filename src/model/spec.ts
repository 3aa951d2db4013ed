/** What a user declares, after parsing, validation and defaults: no optional field has a hidden meaning left. */
import type { DeploymentName } from "./ids.ts";

export type Protocol = "tcp" | "udp";

/** A port the program listens on, and where the node that runs it publishes it. */
export interface PortSpec {
  readonly container: number;
  /** The node's own port; undefined when the port is not published. */
  readonly published?: number;
  readonly protocol: Protocol;
}

/** What one replica reserves on its node; 0 means nothing is reserved and no limit is set. */
export interface Resources {
  /** Thousandths of a core. */
  readonly cpuMillis: number;
  readonly memoryBytes: number;
}

/** When an instance that ended is started again: always, only after a failure, or not at all. */
export type RestartPolicy = "always" | "on-failure" | "never";

/** What every replica of a deployment runs. Its hash is the identity of what runs: equal hash, nothing is replaced. */
export interface ReplicaTemplate {
  readonly image: string;
  /** Replaces the image's entrypoint; undefined keeps it. */
  readonly entrypoint?: readonly string[];
  /** Replaces the image's command (its arguments); undefined keeps it. */
  readonly command?: readonly string[];
  /** Added to the image's environment, the same name replaced. */
  readonly env: Readonly<Record<string, string>>;
  readonly resources: Resources;
  readonly ports: readonly PortSpec[];
  readonly restart: RestartPolicy;
  /** Milliseconds between the stop signal and SIGKILL. */
  readonly stopTimeoutMs: number;
}

export interface DeploymentSpec {
  readonly namespace: string;
  readonly name: string;
  readonly replicas: number;
  readonly template: ReplicaTemplate;
}

/** Most replicas one deployment may ask for. */
export const replicasMax = 10_000;

export function deploymentName(spec: { readonly namespace: string; readonly name: string }): DeploymentName {
  return `${spec.namespace}/${spec.name}`;
}
