/** What a user declares, after parsing, validation and defaults: no optional field has a hidden meaning left. */
import type { DeploymentName } from "./ids.ts";
import type { Probes, StopHook } from "./probe.ts";

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

/** What one container may use. The first two are reserved on the node and are its limits; all but `pids`: 0 means no limit. */
export interface ContainerResources extends Resources {
  /** Most processes and threads at a time; always set, so that no container can take the node's last one. */
  readonly pids: number;
  /** Most bytes in the container's writable layer and logs. */
  readonly ephemeralBytes: number;
}

/** When an instance that ended is started again: always, only after a failure, or not at all. */
export type RestartPolicy = "always" | "on-failure" | "never";

/** When the registry is asked for an image: when it is not on the node, at each start, or never. */
export type PullPolicy = "missing" | "always" | "never";

/** What is put into the container's file tree beside its image. Targets are absolute and normal paths, none inside another's source. */
export type Mount =
  /** A directory that the node keeps under this name for the deployment; outlives replicas, stays on its node. */
  | { readonly kind: "volume"; readonly volume: string; readonly target: string; readonly readOnly: boolean }
  /** A path of the machine itself. */
  | { readonly kind: "bind"; readonly source: string; readonly target: string; readonly readOnly: boolean }
  /** Memory that counts towards the container's; 0 bytes: half of the machine's memory at most, as the kernel has it. */
  | { readonly kind: "tmpfs"; readonly target: string; readonly sizeBytes: number };

/** A file with a literal content, written before the container starts; read-only inside. */
export interface FileSpec {
  readonly path: string;
  readonly content: string;
  /** Permission bits, such as 0o644. */
  readonly mode: number;
}

/** Names without CAP_, upper case; `ALL` is understood. The defaults are those that Docker gives. */
export interface Capabilities {
  readonly add: readonly string[];
  readonly drop: readonly string[];
}

/** How much of a container's output is kept: files of so many bytes, the oldest is dropped. */
export interface LogLimits {
  readonly fileBytes: number;
  readonly files: number;
}

export interface ContainerTemplate {
  /** Unique among the replica's containers. */
  readonly name: string;
  readonly image: string;
  readonly pull: PullPolicy;
  /** Replaces the image's entrypoint; undefined keeps it. */
  readonly entrypoint?: readonly string[];
  /** Replaces the image's command (its arguments); undefined keeps it. */
  readonly command?: readonly string[];
  /** Added to the image's environment, the same name replaced. */
  readonly env: Readonly<Record<string, string>>;
  /** Undefined: the image's. */
  readonly workingDirectory?: string;
  /** `user[:group]`, names or numbers; undefined: the image's. */
  readonly user?: string;
  readonly resources: ContainerResources;
  readonly ports: readonly PortSpec[];
  readonly probes: Probes;
  readonly preStop?: StopHook;
  /** A name such as SIGTERM; undefined: the image's. */
  readonly stopSignal?: string;
  readonly capabilities: Capabilities;
  readonly readOnlyRoot: boolean;
  /** Processes may gain privileges by set-user-id programs; off unless asked for. */
  readonly allowNewPrivileges: boolean;
  /** Root inside is an unprivileged user of the machine. */
  readonly userNamespace: boolean;
  /** Its standard input stays open for those who attach; undefined: it has none. */
  readonly stdin?: true;
  /** It has a terminal of its own; undefined: it has none. */
  readonly terminal?: true;
  readonly mounts: readonly Mount[];
  readonly files: readonly FileSpec[];
  readonly logs: LogLimits;
}

/** What every replica of a deployment runs. Its hash is the identity of what runs: equal hash, nothing is replaced. */
export interface ReplicaTemplate {
  readonly labels: Readonly<Record<string, string>>;
  /** Run one after another to a successful end, before any of `containers` starts. */
  readonly initContainers: readonly ContainerTemplate[];
  /** At least one; they share network, host name and IPC. Started in this order, stopped in the reverse. */
  readonly containers: readonly ContainerTemplate[];
  readonly restart: RestartPolicy;
  /** Milliseconds between the stop signal and SIGKILL. */
  readonly stopTimeoutMs: number;
  /** Name of a runtime of the node, such as `runc`; undefined: the node's default. */
  readonly runtime?: string;
  /** Undefined: the deployment's name and the replica's number. */
  readonly hostname?: string;
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
