/** A simulated machine for the keeper's tests: containers and endpoints with a will of their own, and steps that are slow, fail or lie. */
import { assert, defined } from "../../model/assert.ts";
import type { Rng } from "../rng.ts";
import type { PromiseId } from "../../model/ids.ts";
import { containerLabel, containerLabels, promiseLabel, replicaLabel } from "./container-ids.ts";
import type {
  ObservedContainer,
  ObservedEndpoint,
  ProbeEffect,
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
  /** A probe finds that its container is not well. */
  readonly sickens: number;
}

export const noFaults: Faults = { fails: 0, lies: 0, dies: 0, sickens: 0 };

const done: StepEnd = { kind: "done" };

export class SimulatedMachine {
  readonly containers = new Map<string, ObservedContainer>();
  readonly endpoints = new Map<string, ObservedEndpoint>();
  faults: Faults = noFaults;
  /** Promises that the steward has released. */
  readonly released = new Set<string>();
  /** Containers that a step of a dead agent started. */
  readonly lateStarts = new Set<string>();
  /** Ids of all containers that ever ran. */
  readonly #started = new Set<string>();
  readonly #everStarted = new Set<string>();
  /** Ids of those that some probe found not to be well, or that a user wants to be run anew. */
  readonly #sick = new Set<string>();
  /** By endpoint: names of containers started, and of init containers that succeeded, since it was made. */
  readonly #history = new Map<string, { started: Set<string>; succeeded: Set<string> }>();
  readonly #endpointOf = new Map<string, string>();
  readonly #rng: Rng;

  constructor(rng: Rng) {
    this.#rng = rng;
  }

  /** Carries a step out, at the moment it takes effect. */
  perform(step: StepEffect, isByTheLiving = true): StepEnd {
    if (isByTheLiving) this.#checkEnd(step);
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
    const history = this.#history.get(this.#endpointOf.get(id) ?? "");
    if (exitCode === 0) history?.succeeded.add(labels[containerLabel] ?? "");
    return ended;
  }

  /** True: the container is well. */
  probe({ containerId }: ProbeEffect): boolean {
    assert(this.#started.has(containerId), `K10: ${containerId} is probed and never ran`);
    const isWell = !this.#chance(this.faults.sickens);
    if (!isWell) this.#sick.add(containerId);
    return isWell;
  }

  /** From here on what runs for the promise, or this container of it, may be ended. */
  unwanted(promise: PromiseId, container: string | undefined): void {
    for (const { id, labels } of this.running())
      if (
        labels[promiseLabel] === promise &&
        (container ?? labels[containerLabel]) === labels[containerLabel]
      )
        this.#sick.add(id);
  }

  losePower(): void {
    this.endpoints.clear();
    this.#history.clear();
    for (const { id, labels, phase } of this.containers.values())
      if (phase === "running") this.containers.set(id, { id, labels, phase: "unknown" });
  }

  #carryOut(step: StepEffect): StepEnd {
    if (step.step === "attach") return this.#attach(step.endpointId);
    if (step.step === "detach") {
      this.endpoints.delete(step.endpointId);
      return done;
    }
    const { id, attempt, template } = defined(step.container, "the container of a step");
    const container = this.containers.get(id);
    switch (step.step) {
      case "ensure-image":
        return { kind: "done", imageDigest: "sha256:1" };
      case "create":
        assert(step.networkNamespace !== undefined, "a container is created with a network");
        if (this.#chance(this.faults.lies)) return done;
        if (container === undefined) {
          const labels = containerLabels(step.terms, template.name, attempt);
          this.containers.set(id, { id, labels, phase: "created" });
          this.#endpointOf.set(id, step.endpointId);
        }
        return done;
      case "start":
        if (container === undefined) return failed("no-such-container", false);
        if (container.phase === "created") this.#start(container, step);
        if (this.#chance(this.faults.lies)) this.containers.delete(id);
        return done;
      case "pre-stop":
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
    }
  }

  #attach(id: string): StepEnd {
    const networkNamespace = `/netns/${id}`;
    if (!this.endpoints.has(id)) this.#history.set(id, { started: new Set(), succeeded: new Set() });
    this.endpoints.set(id, { id, networkNamespace });
    return { kind: "done", networkNamespace };
  }

  #start(container: ObservedContainer, { terms, endpointId }: StepEffect): void {
    const name = container.labels[containerLabel] ?? "";
    for (const other of this.running()) {
      const what = `${container.id} starts while ${other.id} runs`;
      if (other.labels[promiseLabel] !== container.labels[promiseLabel])
        assert(
          other.labels[replicaLabel] !== container.labels[replicaLabel],
          `K4: ${what}, of the same slot`,
        );
      else assert(other.labels[containerLabel] !== name, `K4: ${what}, of the same promise`);
    }
    const history = defined(this.#history.get(endpointId), "the network of a container that starts");
    const { initContainers, containers } = terms.template;
    for (const earlier of initContainers) {
      if (earlier.name === name) break;
      assert(
        history.succeeded.has(earlier.name),
        `K11: ${container.id} starts before ${earlier.name} is done`,
      );
    }
    for (const earlier of initContainers.some((one) => one.name === name) ? [] : containers) {
      if (earlier.name === name) break;
      // One that is done by its policy is not started again with a new network.
      const isDone =
        terms.template.restart !== "always" && this.#everStarted.has(`${terms.id} ${earlier.name}`);
      assert(
        isDone || history.started.has(earlier.name),
        `K11: ${container.id} starts before ${earlier.name}`,
      );
    }
    history.started.add(name);
    this.#everStarted.add(`${terms.id} ${name}`);
    this.#started.add(container.id);
    this.containers.set(container.id, { ...container, phase: "running" });
  }

  /** What runs and is wanted is left alone, and what is not wanted ends in the reverse order. */
  #checkEnd({ container, step, terms, endpointId }: StepEffect): void {
    if (step !== "stop" && step !== "kill" && step !== "pre-stop") return;
    const { id, template } = defined(container, "the container of a step");
    const isRunning = this.containers.get(id)?.phase === "running";
    if (!isRunning) return;
    if (!this.released.has(terms.id)) {
      const isSick = this.#sick.has(id) || !this.endpoints.has(endpointId);
      assert(isSick, `K6: ${step} for ${id}, which runs, is promised and is well`);
      return;
    }
    const names = terms.template.containers.map(({ name }) => name);
    const later = new Set(names.slice(names.indexOf(template.name) + 1));
    for (const other of this.running()) {
      if (other.labels[promiseLabel] !== terms.id || this.lateStarts.has(other.id)) continue;
      const name = other.labels[containerLabel] ?? "";
      if (names.includes(template.name) && !this.#sick.has(id))
        assert(!later.has(name), `K11: ${step} for ${id} while ${name}, which came after it, runs`);
    }
  }

  #chance(probability: number): boolean {
    return probability > 0 && this.#rng.next() < probability;
  }
}

function failed(code: string, permanent: boolean): StepEnd {
  return { kind: "failed", error: { code, message: "injected", permanent } };
}
