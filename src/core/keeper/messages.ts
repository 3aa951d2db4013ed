/** What goes into the keeper and what comes out. All of it is plain data. */
import type { GroupId, NodeId, PromiseId } from "../../model/ids.ts";
import type { ProbeAction } from "../../model/probe.ts";
import type {
  CohortRef,
  ContainerPhase,
  InstancePhase,
  InstanceReport,
  PromiseTerms,
} from "../../model/promise.ts";
import type { ContainerTemplate, PortSpec, Resources } from "../../model/spec.ts";

/** What the book keeps of one container of a promise. */
export interface ContainerEntry {
  /** The highest attempt that a container may have been created for; each run is another attempt. */
  readonly attempt: number;
  /** The last attempt that is known to have started; -1 before the first. */
  readonly startedAttempt: number;
  /** Successful starts; all but the first are restarts. */
  readonly starts: number;
  /** It ended and is not started again: an init container that succeeded, or by the restart policy. */
  readonly isDone: boolean;
  /** The startup probe of the newest run has succeeded, or there is none. */
  readonly hasStartedUp: boolean;
  readonly phase: ContainerPhase;
  readonly ready: boolean;
  readonly exitCode?: number;
  readonly oomKilled?: boolean;
  readonly message?: string;
  readonly imageDigest?: string;
}

/** A promise as the book keeps it on disk. */
export interface BookEntry {
  readonly kind: "promise";
  readonly terms: PromiseTerms;
  /** Whom to report to. */
  readonly cohort: CohortRef;
  /** Position in the order of admission; older promises are started first. */
  readonly order: number;
  readonly desired: "running" | "released";
  readonly releaseReason?: string;
  /** Init containers first, as in the template. */
  readonly containers: readonly ContainerEntry[];
  readonly phase: InstancePhase;
  readonly ready: boolean;
  /** Of the newest report. */
  readonly seq: number;
  /** Of the last container that ended; the success of an init container does not count. */
  readonly exitCode?: number;
  /** What the replica as a whole waits for or failed in. */
  readonly message?: string;
  /** Wall clock, milliseconds since 1970, when the phase began. */
  readonly sinceMs: number;
}

/** What is left of a released promise, so that a late duplicate of its award is refused. */
export interface Tombstone {
  readonly kind: "tombstone";
  readonly promise: PromiseId;
  /** Wall clock, milliseconds since 1970. */
  readonly atMs: number;
}

/** One record of the book; its key is the promise's id. */
export type BookRecord = BookEntry | Tombstone;

/** What of a container the keeper looks at; the runtime port's ContainerStatus is one. */
export interface ObservedContainer {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly phase: "created" | "running" | "exited" | "unknown";
  readonly exitCode?: number;
  readonly oomKilled?: boolean;
  /** Why the node ended it, for people. */
  readonly message?: string;
}

/** What of an endpoint the keeper looks at; the fabric port's Endpoint is one. */
export interface ObservedEndpoint {
  readonly id: string;
  readonly networkNamespace: string;
}

export type StepName =
  /** Have the container's image on the node, by its pull policy. Ended early by `abort`. */
  | "ensure-image"
  /** Make the replica's endpoint. */
  | "attach"
  /** Make the container, joined to the network namespace. */
  | "create"
  | "start"
  /** Run the container's hook; given up at the stop timeout. */
  | "pre-stop"
  /** The stop signal to the container's program. */
  | "stop"
  /** SIGKILL to the container's program. */
  | "kill"
  | "remove"
  | "detach";

export interface StepFailure {
  /** The port's error code; `no-such-container` and `not-running` are understood. */
  readonly code: string;
  /** For people. */
  readonly message: string;
  /** Trying again soon will not help: `bad-command`, a digest that does not match. */
  readonly permanent: boolean;
}

export type KeeperInput =
  /** First of all and once: the book as it was stored, and what the node runs. */
  | {
      readonly kind: "start";
      readonly records: readonly BookRecord[];
      readonly containers: readonly ObservedContainer[];
      readonly endpoints: readonly ObservedEndpoint[];
      readonly wallMs: number;
    }
  /** New promises that the placement core found room for. Answered by an `admission` effect. */
  | {
      readonly kind: "admit";
      readonly terms: readonly PromiseTerms[];
      readonly cohort: CohortRef;
      readonly wallMs: number;
    }
  /** Of a promise that is not in the book, a late award is refused from now on. */
  | {
      readonly kind: "release";
      readonly promises: readonly PromiseId[];
      readonly reason: string;
      /** Whom to tell of those that are not in the book; undefined: nobody. */
      readonly cohort?: CohortRef;
    }
  /** The cohort's members changed, or it was founded again: everything is reported to the new ones. */
  | { readonly kind: "cohort-changed"; readonly cohort: CohortRef }
  /** A steward asks for a report of everything held for its group. */
  | { readonly kind: "inquired"; readonly group: GroupId }
  /** The steward has these reports; a promise reported as stopped may leave the book. */
  | {
      readonly kind: "acked";
      readonly acks: readonly {
        readonly promise: PromiseId;
        readonly seq: number;
      }[];
    }
  /** A user wants new runs, of one container or of all but the init containers: what runs is ended, what waits is not kept waiting. */
  | {
      readonly kind: "restart";
      readonly promise: PromiseId;
      readonly container?: string;
      readonly cause: string;
    }
  | {
      readonly kind: "step-done";
      readonly promise: PromiseId;
      readonly step: StepName;
      /** Name of the container that the step was for; undefined for `attach` and `detach`. */
      readonly container?: string;
      /** Of `ensure-image`. */
      readonly imageDigest?: string;
      /** Of `attach`. */
      readonly networkNamespace?: string;
    }
  | {
      readonly kind: "step-failed";
      readonly promise: PromiseId;
      readonly step: StepName;
      readonly container?: string;
      readonly error: StepFailure;
    }
  | {
      readonly kind: "sweep-ended";
      readonly target: SweepTarget;
      /** Undefined: it is gone. */
      readonly error?: StepFailure;
    }
  /** How a `probe` went; one of a container that is not there any more is ignored. */
  | {
      readonly kind: "probed";
      readonly promise: PromiseId;
      readonly container: string;
      readonly containerId: string;
      readonly purpose: ProbePurpose;
      readonly isWell: boolean;
      /** What was found, in words for people. */
      readonly detail: string;
    }
  /** The runtime says so; repetitions and strangers are harmless, and it may come before `start`. */
  | { readonly kind: "container-ended"; readonly status: ObservedContainer }
  /** The answer to `observe`; when listing fails the driver tries until it has one. */
  | {
      readonly kind: "observed";
      readonly observation: number;
      readonly containers: readonly ObservedContainer[];
      /** Without them, endpoints left by an agent that died in mid-attach wait for the next start. */
      readonly endpoints?: readonly ObservedEndpoint[];
    }
  | { readonly kind: "timeout" }
  /** The node leaves: everything is released and nothing more admitted. */
  | { readonly kind: "stop-all"; readonly reason: string };

export interface SweepTarget {
  readonly what: "container" | "endpoint";
  readonly id: string;
}

/**
 * Effects are carried out in array order, those of an earlier step before those of a later one, and
 * nothing after a `persist` before it is durable. `step`, `sweep` and `observe` are only begun
 * in that order; their ends come back as inputs.
 */
export type KeeperEffect =
  /** All of it in one commit. A record replaces the one of the same promise. */
  | {
      readonly kind: "persist";
      readonly records: readonly BookRecord[];
      readonly removed: readonly PromiseId[];
    }
  /** Answer to `admit`, durable by the time it is carried out. Refused: released before, or the node leaves. */
  | {
      readonly kind: "admission";
      readonly admitted: readonly PromiseId[];
      readonly refused: readonly PromiseId[];
    }
  /** Begin this step; at most one is under way per container. Ends as `step-done` or `step-failed`. */
  | StepEffect
  /** Give up the `ensure-image` under way; it still ends as `step-done` or `step-failed`. */
  | { readonly kind: "abort"; readonly promise: PromiseId; readonly container: string }
  | ProbeEffect
  /** Remove what no promise wants. Ends as `sweep-ended`. */
  | { readonly kind: "sweep"; readonly target: SweepTarget }
  /** List the containers and endpoints and give them back as `observed`. */
  | { readonly kind: "observe"; readonly observation: number }
  /** Bring it to the cohort's steward; sent again until it is acked. */
  | {
      readonly kind: "report";
      readonly report: InstanceReport;
      readonly cohort: CohortRef;
    }
  | { readonly kind: "event"; readonly event: KeeperEvent };

export interface StepEffect {
  readonly kind: "step";
  readonly step: StepName;
  readonly promise: PromiseId;
  readonly terms: PromiseTerms;
  readonly endpointId: string;
  /** What the step is for; undefined for `attach` and `detach`. */
  readonly container?: ContainerRun;
  /** What the container joins; set for `create`. */
  readonly networkNamespace?: string;
}

/** One run of one container of a replica. */
export interface ContainerRun {
  readonly id: string;
  readonly attempt: number;
  /** Its name is unique in the replica. */
  readonly template: ContainerTemplate;
}

export type ProbePurpose = "startup" | "readiness" | "liveness";

/** Ask a running container whether it is well. Ends as `probed`, after `timeoutMs` at the latest. */
export interface ProbeEffect {
  readonly kind: "probe";
  readonly promise: PromiseId;
  readonly container: string;
  readonly containerId: string;
  readonly endpointId: string;
  readonly purpose: ProbePurpose;
  readonly action: ProbeAction;
  readonly timeoutMs: number;
}

/** For logs and streams. */
export type KeeperEvent =
  | { readonly name: "admitted"; readonly promise: PromiseId }
  | {
      readonly name: "adopted";
      readonly promise: PromiseId;
      readonly phase: InstancePhase;
    }
  | { readonly name: "phase"; readonly report: InstanceReport }
  | {
      readonly name: "releasing";
      readonly promise: PromiseId;
      readonly reason: string;
    }
  /** Out of the book. */
  | {
      readonly name: "forgotten";
      readonly promise: PromiseId;
      readonly isAcked: boolean;
    }
  | {
      readonly name: "step-failed";
      readonly promise: PromiseId;
      readonly step: StepName;
      readonly container?: string;
      readonly code: string;
      readonly message: string;
    }
  | {
      readonly name: "container-ended";
      readonly promise: PromiseId;
      readonly container: string;
      readonly cause: string;
    }
  /** A container became ready, or is not any more. */
  | {
      readonly name: "readiness";
      readonly promise: PromiseId;
      readonly container: string;
      readonly ready: boolean;
      readonly cause: string;
    }
  /** A running container is to be ended, and its restart policy decides what follows. */
  | {
      readonly name: "ending";
      readonly promise: PromiseId;
      readonly container: string;
      readonly cause: string;
    }
  | { readonly name: "sweeping"; readonly target: SweepTarget }
  | {
      readonly name: "sweep-failed";
      readonly target: SweepTarget;
      readonly message: string;
    }
  /** The runtime's list contradicts what it had said. */
  | {
      readonly name: "vanished";
      readonly promise: PromiseId;
      readonly containerId: string;
    };

/** A promise in the book, as the node shows it. */
export interface BookView {
  readonly terms: PromiseTerms;
  readonly cohort: CohortRef;
  readonly desired: "running" | "released";
  /** As the template has them, init containers first. */
  readonly containers: readonly ContainerView[];
  readonly releaseReason?: string;
  /** The newest state, which may not have been reported yet. */
  readonly report: InstanceReport;
}

/** A container of a promise, also while it is being stopped. */
export interface ContainerView {
  readonly name: string;
  readonly isInit: boolean;
  /** Of the newest run. */
  readonly id: string;
  /** Of the image that was fetched for it. */
  readonly imageDigest?: string;
}

/** What the placement core needs to know of one promise that is not stopped. */
export interface HeldPromise {
  readonly promise: PromiseId;
  readonly group: GroupId;
  readonly deployment: string;
  readonly epoch: number;
  readonly replica: number;
  /** `namespace/name`. */
  readonly holder: string;
  readonly resources: Resources;
  readonly ports: readonly PortSpec[];
}

/** The voters of a cohort in a fixed order compare equal. */
export function sameCohort(a: CohortRef, b: CohortRef): boolean {
  const voters = (ref: CohortRef): readonly NodeId[] => ref.voters.toSorted();
  const theirs = voters(b);
  return (
    a.group === b.group &&
    a.epoch === b.epoch &&
    a.voters.length === b.voters.length &&
    voters(a).every((voter, i) => voter === theirs[i])
  );
}
