/**
 * What a running node offers its edges (HTTP API, and through it CLI and everything else). Any node
 * answers any call: what concerns another node or another node's cohort is passed on in here, so
 * edges never route.
 */
import type { DeploymentId } from "../model/ids.ts";
import type { HistoryEvent } from "../model/event.ts";
import type { MetricFamily } from "../model/metric.ts";
import type { Outcome } from "../model/outcome.ts";
import type { Problem } from "../model/problem.ts";
import type { DeploymentSpec } from "../model/spec.ts";
import type { CohortView, DeploymentView, NodeView, PromiseView, StatusView } from "../model/views.ts";
import type { UsageView } from "../model/usage.ts";
import type { ExecRequest, ExecSession, LogLine, TerminalSize } from "../ports/container-runtime.ts";
import type { ImagesApi } from "./node-images.ts";

/** Which deployment, as users name it. */
export interface DeploymentKey {
  readonly namespace: string;
  readonly name: string;
}

/** The answer to a write that is durable on a majority of its cohort. */
export interface WriteAnswer {
  readonly deployment: DeploymentId;
  readonly templateHash: string;
  readonly desired: number;
  /** False when the deployment already was exactly so. */
  readonly changed: boolean;
  /** The epoch and log index at which it is durable. */
  readonly epoch: number;
  readonly index: number;
  /** What the user should know, such as "two nodes: no loss is tolerated". */
  readonly notes: readonly string[];
}

export interface DeclareOptions {
  /** Repeating a request with the same id changes nothing twice; 1 to 64 characters. */
  readonly requestId: string;
  /** Refuse with `already-exists` when the deployment exists (`run`); otherwise update it (`apply`). */
  readonly createOnly: boolean;
}

export interface LogQuery {
  /** Undefined: all replicas, lines marked with theirs. */
  readonly replica?: number;
  /** By name; undefined: the first of the spec. */
  readonly container?: string;
  readonly follow: boolean;
  readonly tail?: number;
  /** Only lines of then or later; wall clock, milliseconds since 1970. */
  readonly sinceMs?: number;
  readonly signal: AbortSignal;
}

export interface ReplicaLogLine extends LogLine {
  readonly replica: number;
}

/** Of a deployment; without a replica one that runs, without a container the first of the spec. */
export interface ContainerChoice {
  readonly replica?: number;
  readonly container?: string;
}

/** What concerns single containers, wherever they run. */
export interface ContainerApi {
  /** Joins the program of a container, see `ContainerRuntime.attach`. */
  attach(
    key: DeploymentKey,
    choice: ContainerChoice,
    terminal: TerminalSize | undefined,
  ): Promise<Outcome<ExecSession, Problem>>;
  /** A file or directory of a container as a tar archive. */
  copyOut(
    key: DeploymentKey,
    choice: ContainerChoice,
    path: string,
  ): Promise<Outcome<AsyncIterable<Uint8Array>, Problem>>;
  /** Unpacks a tar archive in a container. */
  copyIn(
    key: DeploymentKey,
    choice: ContainerChoice,
    copy: { readonly path: string; readonly archive: AsyncIterable<Uint8Array> },
  ): Promise<Outcome<undefined, Problem>>;
  /** New runs of one replica's containers, or of one of them, on the node that holds it. */
  restart(key: DeploymentKey, replica: number, container?: string): Promise<Outcome<undefined, Problem>>;
  /** What runs uses, on every reachable node or only on this one. */
  usage(scope: "fleet" | "node"): Promise<UsageView>;
}

export interface NodeApi {
  /** Of the node that answers. */
  readonly images: ImagesApi;
  status(): StatusView;
  /** What is counted and measured of this node. */
  metrics(): readonly MetricFamily[];
  nodes(): readonly NodeView[];
  /** A signed, expiring token that lets machines join; `ttlMs` at most 30 days. */
  invite(options: {
    readonly ttlMs: number;
  }): Promise<{ readonly token: string; readonly expiresAtMs: number; readonly join: readonly string[] }>;
  declare(spec: DeploymentSpec, options: DeclareOptions): Promise<Outcome<WriteAnswer, Problem>>;
  scale(
    key: DeploymentKey,
    replicas: number,
    options: { readonly requestId: string },
  ): Promise<Outcome<WriteAnswer, Problem>>;
  delete(key: DeploymentKey, options: { readonly requestId: string }): Promise<Outcome<WriteAnswer, Problem>>;
  /** All deployments of a namespace, or of all namespaces. */
  deployments(namespace: string | undefined): Promise<readonly DeploymentView[]>;
  inspect(key: DeploymentKey): Promise<Outcome<DeploymentView, Problem>>;
  cohort(key: DeploymentKey): Promise<Outcome<CohortView, Problem>>;
  /** Promises in every reachable node's book, or only in this node's. Unreachable nodes are named. */
  promises(
    scope: "fleet" | "node",
  ): Promise<{ readonly promises: readonly PromiseView[]; readonly unreachable: readonly string[] }>;
  /** History of one deployment, oldest first; with `follow` it goes on until the signal aborts. */
  events(
    key: DeploymentKey,
    options: { readonly follow: boolean; readonly sinceIndex: number; readonly signal: AbortSignal },
  ): Promise<Outcome<AsyncIterable<HistoryEvent>, Problem>>;
  logs(key: DeploymentKey, query: LogQuery): Promise<Outcome<AsyncIterable<ReplicaLogLine>, Problem>>;
  exec(
    key: DeploymentKey,
    choice: ContainerChoice,
    request: ExecRequest,
  ): Promise<Outcome<ExecSession, Problem>>;
  readonly containers: ContainerApi;
  /** Leaves the fleet: tells the others, stops what runs here, and ends the agent. With `keep`, only the agent ends and containers go on. */
  down(options: { readonly keep: boolean }): Promise<void>;
}
