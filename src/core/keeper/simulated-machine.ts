/** A simulated machine for the keeper's tests: containers and endpoints with a will of their own, and steps that are slow, fail or lie. */
import { assert } from "../../model/assert.ts";
import type { Rng } from "../rng.ts";
import { containerLabels, promiseLabel, replicaLabel } from "./container-ids.ts";
import type {
  ObservedContainer,
  ObservedEndpoint,
  StepEffect,
  StepFailure,
  SweepTarget,
} from "./messages.ts";

/** How a step ends: what the agent is told. */
export type StepEnd =
  | { readonly kind: "done"; readonly imageDigest?: string; readonly networkNamespace?: string }
  | { readonly kind: "failed"; readonly error: StepFailure };

/** Chances, each in [0, 1]; all 0 once the faults end. */
export interface Faults {
  /** A step fails. Half of those that fail have done their work all the same. */
  readonly fails: number;
  /** A create or start says done, and the container is gone. */
  readonly lies: number;
  /** A container ends by itself, asked each time it is looked at. */
  readonly dies: number;
}

export const noFaults: Faults = { fails: 0, lies: 0, dies: 0 };

const done: StepEnd = { kind: "done" };

export class SimulatedMachine {
  readonly containers = new Map<string, ObservedContainer>();
  readonly endpoints = new Map<string, ObservedEndpoint>();
  faults: Faults = noFaults;
  readonly #rng: Rng;

  constructor(rng: Rng) {
    this.#rng = rng;
  }

  /** Carries a step out, at the moment it takes effect. */
  perform(step: StepEffect): StepEnd {
    const isFailing = this.#chance(this.faults.fails);
    if (isFailing && this.#chance(0.5)) return failed("failed", this.#chance(0.2));
    const end = this.#carryOut(step);
    return isFailing ? failed("unavailable", false) : end;
  }

  sweep(target: SweepTarget): StepFailure | undefined {
    if (this.#chance(this.faults.fails)) return { code: "failed", message: "injected", permanent: false };
    if (target.what === "container") this.containers.delete(target.id);
    else this.endpoints.delete(target.id);
    return undefined;
  }

  running(): readonly ObservedContainer[] {
    return [...this.containers.values()].filter((one) => one.phase === "running");
  }

  /** A container's program ends; the answer is what the runtime tells its watchers. */
  end(id: string, exitCode: number): ObservedContainer | undefined {
    const container = this.containers.get(id);
    if (container?.phase !== "running") return undefined;
    const { labels } = container;
    const ended = { id, labels, phase: "exited", exitCode } as const;
    this.containers.set(id, ended);
    return ended;
  }

  losePower(): void {
    this.endpoints.clear();
    for (const { id, labels, phase } of this.containers.values())
      if (phase === "running") this.containers.set(id, { id, labels, phase: "unknown" });
  }

  #carryOut(step: StepEffect): StepEnd {
    const { containerId: id } = step;
    const container = this.containers.get(id);
    switch (step.step) {
      case "ensure-image":
        return { kind: "done", imageDigest: "sha256:1" };
      case "attach":
        return this.#attach(step.endpointId);
      case "create":
        assert(step.networkNamespace !== undefined, "a container is created with a network");
        if (this.#chance(this.faults.lies)) return done;
        if (container === undefined)
          this.containers.set(id, {
            id,
            labels: containerLabels(step.terms, step.attempt),
            phase: "created",
          });
        return done;
      case "start":
        if (container === undefined) return failed("no-such-container", false);
        if (container.phase === "created") this.#start(container);
        if (this.#chance(this.faults.lies)) this.containers.delete(id);
        return done;
      case "stop":
      case "kill":
        if (container === undefined) return failed("no-such-container", false);
        // A program may ignore SIGTERM.
        if (step.step === "kill" || this.#chance(0.7)) this.end(id, step.step === "kill" ? 137 : 143);
        return done;
      case "remove":
        this.containers.delete(id);
        return done;
      case "detach":
        this.endpoints.delete(step.endpointId);
        return done;
    }
  }

  #attach(id: string): StepEnd {
    const networkNamespace = `/netns/${id}`;
    this.endpoints.set(id, { id, networkNamespace });
    return { kind: "done", networkNamespace };
  }

  #start(container: ObservedContainer): void {
    for (const other of this.running()) {
      const what = `${container.id} starts while ${other.id} runs`;
      assert(
        other.labels[promiseLabel] !== container.labels[promiseLabel],
        `K4: ${what}, of the same promise`,
      );
      assert(other.labels[replicaLabel] !== container.labels[replicaLabel], `K4: ${what}, of the same slot`);
    }
    this.containers.set(container.id, { ...container, phase: "running" });
  }

  #chance(probability: number): boolean {
    return probability > 0 && this.#rng.next() < probability;
  }
}

function failed(code: string, permanent: boolean): StepEnd {
  return { kind: "failed", error: { code, message: "injected", permanent } };
}
