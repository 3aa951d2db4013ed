/** One container of a replica while the agent runs: which run of it there is, and what is under way for it. */
import type { Probe } from "../../model/probe.ts";
import type { ContainerPhase, InstancePhase } from "../../model/promise.ts";
import type { ContainerTemplate, ReplicaTemplate } from "../../model/spec.ts";
import type { Instant } from "../machine.ts";
import type { ContainerEntry, ProbePurpose, StepName } from "./messages.ts";

/** The run that exists, or may exist; there is one at most. */
export type RunState =
  | { readonly kind: "none" }
  /** Being made, or a step failed: it may be there in any state. */
  | { readonly kind: "unsure"; readonly attempt: number }
  | { readonly kind: "created"; readonly attempt: number }
  | {
      readonly kind: "running";
      readonly attempt: number;
      readonly since: Instant;
    }
  | {
      readonly kind: "ended";
      readonly attempt: number;
      /** Undefined: nobody saw how it ended. */
      readonly exitCode: number | undefined;
      /** How long it ran; 0 when unknown. */
      readonly ranMs: number;
      /** The restart policy has been applied to this end. */
      readonly isSettled: boolean;
      /**
       * What is there of it. `doubtful`: it was given up, or runs on without a monitor, so only its removal
       * ends it for certain, and no policy is applied before.
       */
      readonly remains: "logs" | "doubtful" | "nothing";
    };

/** On the way to an end that the node wants. */
export interface Ending {
  /** What was done towards it so far. */
  readonly sent: "nothing" | "hook" | "stop" | "kill";
  /** What comes next waits until then. */
  readonly until: Instant;
  /** SIGKILL is due; undefined before anything was sent. */
  readonly killAt: Instant | undefined;
  /** Why it is ended although it is promised; undefined for a release. */
  readonly cause: string | undefined;
}

/** Steps of one lane share a bound, so that slow pulls hold up no starts, starts no stops, and hooks none of them. */
export type Lane = "image" | "start" | "stop" | "hook";

export interface StepUnderWay {
  readonly step: StepName;
  readonly lane: Lane;
}

/** One probe of the run that there is. */
export interface ProbeRun {
  readonly purpose: ProbePurpose;
  readonly probe: Probe;
  nextAt: Instant;
  isInFlight: boolean;
  /** In a row. */
  successes: number;
  failures: number;
}

export interface Part {
  readonly name: string;
  /** Among the init containers and then the others. */
  readonly index: number;
  readonly isInit: boolean;
  readonly template: ContainerTemplate;
  state: RunState;
  hasImage: boolean;
  /** No container was ever created under the entry's attempt. */
  isAttemptFresh: boolean;
  /** It has been started since the replica's network was made, so those behind it may start. */
  hasStarted: boolean;
  /** Some step towards running was begun since the agent started. */
  isBegun: boolean;
  inFlight: StepUnderWay | undefined;
  isAborting: boolean;
  /** Nothing is begun before. */
  retryAt: Instant | undefined;
  /** Steps that failed since one led to a running container. */
  stepFailures: number;
  /** Ends in a row without a long run in between. */
  crashes: number;
  ending: Ending | undefined;
  /** Of the run that there is; empty unless it runs. */
  probes: ProbeRun[];
  /** Serial of the last step begun or ended; an observation begun before says nothing of this part. */
  touched: number;
}

export const noRun: RunState = { kind: "none" };

export function partsOf({ initContainers, containers }: ReplicaTemplate): Part[] {
  return [...initContainers, ...containers].map((template, index) => ({
    name: template.name,
    index,
    isInit: index < initContainers.length,
    template,
    state: noRun,
    hasImage: false,
    isAttemptFresh: false,
    hasStarted: false,
    isBegun: false,
    inFlight: undefined,
    isAborting: false,
    retryAt: undefined,
    stepFailures: 0,
    crashes: 0,
    ending: undefined,
    probes: [],
    touched: 0,
  }));
}

/** Of every container of a template, before anything was begun. */
export function freshEntries({ initContainers, containers }: ReplicaTemplate): readonly ContainerEntry[] {
  return [...initContainers, ...containers].map(() => ({
    attempt: 0,
    startedAttempt: -1,
    starts: 0,
    isDone: false,
    hasStartedUp: false,
    phase: "waiting",
    ready: false,
  }));
}

export function partPhaseOf(part: Part, entry: ContainerEntry, replica: InstancePhase): ContainerPhase {
  if (replica === "stopping" || replica === "stopped") return "stopping";
  if (part.state.kind === "running") return part.ending === undefined ? "running" : "stopping";
  if (entry.isDone) return "completed";
  if (part.retryAt !== undefined) return "backoff";
  return part.inFlight !== undefined || part.state.kind !== "none" ? "starting" : "waiting";
}
