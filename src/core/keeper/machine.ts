/**
 * The keeper: one node's promise book, and the single next step for each promise in it. It knows
 * nothing of cohorts but whom to report to, and needs nobody to keep what was promised. Level-based:
 * after every input the next steps follow from the whole picture, not from the input.
 * docs/protocols/keeper.md has the picture and the invariants K1 to K9.
 */
import { assert } from "../../model/assert.ts";
import type { PromiseId } from "../../model/ids.ts";
import type { Instant, Machine } from "../machine.ts";
import { adoptAll, straysOf } from "./adoption.ts";
import { Book, sortRecords } from "./book.ts";
import { ownerOf } from "./container-ids.ts";
import { Effects } from "./effects.ts";
import { containerEnded, renewRun } from "./ends.ts";
import { entryOf, phaseOf, runIdOf, type Instance } from "./instance.ts";
import type {
  BookView,
  HeldPromise,
  KeeperEffect,
  KeeperInput,
  ObservedContainer,
  SweepTarget,
} from "./messages.ts";
import type { KeeperOptions } from "./options.ts";
import type { Part } from "./part.ts";
import { Pass } from "./pass.ts";
import { probed } from "./probing.ts";
import { networkStepDone, networkStepFailed, partStepDone, partStepFailed } from "./progress.ts";
import { resend, viewOf } from "./report.ts";
import { Sweeps } from "./sweeps.ts";

type Input<Kind extends KeeperInput["kind"]> = Extract<KeeperInput, { readonly kind: Kind }>;

export class KeeperMachine implements Machine<KeeperInput, KeeperEffect> {
  readonly #options: KeeperOptions;
  readonly #book: Book;
  readonly #sweeps = new Sweeps();
  readonly #pass: Pass;
  #effects = new Effects();
  #isStarted = false;
  /** Ends told before the start. */
  #early: ObservedContainer[] = [];
  /** Counts steps begun and ended, so that an observation knows what it is too old for. */
  #serial = 0;
  /** The observation under way. */
  #observation: number | undefined;
  /** The last one that was answered. */
  #lastObservation: number | undefined;
  #observeAt: Instant | undefined;
  #deadline: Instant | undefined;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#book = new Book(options);
    this.#pass = new Pass({ book: this.#book, nextSerial: () => ++this.#serial }, options);
  }

  step(input: KeeperInput, now: Instant): readonly KeeperEffect[] {
    this.#effects = new Effects();
    if (!this.#isStarted && input.kind === "timeout") return [];
    if (!this.#isStarted && input.kind === "container-ended") {
      // The watch begins before the list that `start` brings, which may be older than this end.
      this.#early.push(input.status);
      return [];
    }
    assert(this.#isStarted !== (input.kind === "start"), "the keeper is started first, and once");
    this.#apply(input, now);
    this.#advance(now);
    return this.#effects.inOrder();
  }

  deadline(): Instant | undefined {
    return this.#deadline;
  }

  /** What the node has promised and not stopped yet: the placement core counts with it. */
  summary(): readonly HeldPromise[] {
    return this.#book.summary();
  }

  /** The book's promises in order of admission, stopped ones that nobody acked included. */
  entries(): readonly BookView[] {
    return [...this.#book.instances.values()].map(viewOf);
  }

  get(promise: PromiseId): BookView | undefined {
    const instance = this.#book.instances.get(promise);
    return instance === undefined ? undefined : viewOf(instance);
  }

  /** Promises that were released here and are remembered: an award of one is a late duplicate. Changes with the book. */
  released(): ReadonlySet<PromiseId> {
    return this.#book.released;
  }

  #apply(input: KeeperInput, now: Instant): void {
    const effects = this.#effects;
    switch (input.kind) {
      case "start":
        this.#start(input, now);
        return;
      case "admit":
        this.#book.setWallClock(input.wallMs, now);
        this.#book.admit(input, effects, now);
        return;
      case "release":
        for (const promise of input.promises) this.#book.release(promise, input, effects, now);
        return;
      case "cohort-changed":
        this.#book.changeCohort(input.cohort, now);
        return;
      case "inquired":
        for (const instance of this.#book.ofGroup(input.group)) {
          resend(instance, now);
          instance.isStirred = true;
        }
        return;
      case "acked":
        for (const { promise, seq } of input.acks) this.#book.ack(promise, seq);
        return;
      case "restart":
        this.#restart(input, now);
        return;
      case "step-done":
        this.#stepDone(input, now);
        return;
      case "step-failed":
        this.#stepFailed(input, now);
        return;
      case "probed":
        this.#probed(input, now);
        return;
      case "sweep-ended":
        this.#sweepEnded(input, now);
        return;
      case "container-ended":
        this.#containerEnded(input.status, now);
        return;
      case "observed":
        this.#observed(input, now);
        return;
      case "timeout":
        return;
      case "stop-all":
        this.#book.releaseAll(input.reason, effects, now);
    }
  }

  #start(input: Input<"start">, now: Instant): void {
    this.#isStarted = true;
    this.#book.setWallClock(input.wallMs, now);
    const { entries, tombstones } = sortRecords(input.records);
    const { containers, endpoints } = input;
    const adoption = adoptAll(entries, containers, endpoints, now);
    this.#book.load(adoption.instances, tombstones, now);
    for (const instance of adoption.instances) {
      const promise = instance.entry.terms.id;
      const phase = phaseOf(instance);
      this.#effects.event({ name: "adopted", promise, phase });
    }
    for (const target of adoption.strays) this.#sweep(target, now);
    for (const status of this.#early) this.#containerEnded(status, now);
    this.#early = [];
  }

  /** What this step is under way for; undefined for an answer nobody waits for. */
  #takeUnderWay({
    promise,
    step,
    container,
  }: Input<"step-done" | "step-failed">): { instance: Instance; part: Part | undefined } | undefined {
    const instance = this.#book.instances.get(promise);
    const part = instance?.parts.find(({ name }) => name === container);
    if (instance === undefined || (container !== undefined && part === undefined)) return undefined;
    const underWay = part === undefined ? instance.inFlight : part.inFlight;
    if (underWay?.step !== step) return undefined;
    instance.isStirred = true;
    if (part !== undefined) part.touched = ++this.#serial;
    this.#pass.stepEnded(underWay.lane);
    return { instance, part };
  }

  #stepDone(input: Input<"step-done">, now: Instant): void {
    const found = this.#takeUnderWay(input);
    if (found === undefined) return;
    const { instance, part } = found;
    if (part === undefined) networkStepDone(instance, input);
    else partStepDone(instance, part, input, now, this.#options);
  }

  #stepFailed(input: Input<"step-failed">, now: Instant): void {
    const found = this.#takeUnderWay(input);
    if (found === undefined) return;
    const { instance, part } = found;
    const { promise, step, container, error } = input;
    if (part === undefined) networkStepFailed(instance, step, error, now, this.#options);
    else partStepFailed(instance, part, { step, error }, now, this.#options);
    const { code, message } = error;
    const where = container === undefined ? { promise, step } : { promise, step, container };
    this.#effects.event({ name: "step-failed", ...where, code, message });
  }

  #restart({ promise, container, cause }: Input<"restart">, now: Instant): void {
    const instance = this.#book.instances.get(promise);
    if (instance === undefined || instance.entry.desired === "released") return;
    instance.isStirred = true;
    for (const part of instance.parts) {
      if (part.isInit || (container !== undefined && part.name !== container)) continue;
      renewRun(part, cause, now);
      if (part.ending?.cause === cause)
        this.#effects.event({ name: "ending", promise, container: part.name, cause });
    }
  }

  #probed(input: Input<"probed">, now: Instant): void {
    this.#pass.probeEnded();
    const instance = this.#book.instances.get(input.promise);
    const part = instance?.parts.find(({ name }) => name === input.container);
    if (instance === undefined || part === undefined) return;
    instance.isStirred = true;
    if (part.state.kind === "none" || runIdOf(instance, part) !== input.containerId) return;
    const before = entryOf(instance, part).ready;
    const wasEnding = part.ending !== undefined;
    probed(instance, part, input, now);
    const { promise, container } = input;
    const cause = `${input.purpose} probe: ${input.detail}`;
    const { ready } = entryOf(instance, part);
    if (ready !== before) this.#effects.event({ name: "readiness", promise, container, ready, cause });
    if (part.ending !== undefined && !wasEnding)
      this.#effects.event({ name: "ending", promise, container, cause });
  }

  #sweep(target: SweepTarget, now: Instant): void {
    if (this.#sweeps.add(target, now)) this.#effects.event({ name: "sweeping", target });
  }

  #sweepEnded({ target, error }: Input<"sweep-ended">, now: Instant): void {
    this.#sweeps.ended(target, error === undefined, now);
    if (error === undefined) return;
    const { message } = error;
    this.#effects.event({ name: "sweep-failed", target, message });
  }

  #containerEnded(status: ObservedContainer, now: Instant): void {
    const owner = ownerOf(status.labels);
    const instance = owner === undefined ? undefined : this.#book.instances.get(owner.promise);
    const part = instance?.parts.find(({ name }) => name === owner?.container);
    if (instance === undefined || part === undefined || part.state.kind === "none") return;
    if (part.state.attempt !== owner?.attempt) return;
    part.touched = ++this.#serial;
    instance.isStirred = true;
    containerEnded(instance, part, status, now);
  }

  /** Compares the picture with the list. What changed since the list was asked for is left to the next one. */
  #observed(input: Input<"observed">, now: Instant): void {
    if (input.observation !== this.#observation) return;
    this.#observation = undefined;
    this.#lastObservation = input.observation;
    this.#observeAt = now + this.#options.observeIntervalMs;
    const { instances } = this.#book;
    const skips = (part: Part): boolean => part.inFlight !== undefined || part.touched > input.observation;
    for (const target of straysOf(instances, input.containers, skips)) this.#sweep(target, now);
    const wanted = new Set<string>();
    for (const { endpointId } of instances.values()) wanted.add(endpointId);
    for (const { id } of input.endpoints ?? [])
      if (!wanted.has(id)) this.#sweep({ what: "endpoint", id }, now);
    const statusById = new Map(input.containers.map((one) => [one.id, one]));
    for (const instance of instances.values()) {
      const { entry, parts } = instance;
      for (const part of parts) {
        if (skips(part) || part.state.kind !== "running") continue;
        const containerId = runIdOf(instance, part);
        const status = statusById.get(containerId);
        if (status?.phase === "running") continue;
        instance.isStirred = true;
        containerEnded(instance, part, status, now);
        this.#effects.event({ name: "vanished", promise: entry.terms.id, containerId });
      }
    }
  }

  /** What follows from the picture as it is. */
  #advance(now: Instant): void {
    this.#deadline = this.#pass.run(this.#effects, now);
    this.#book.collectChanges(this.#effects, now);
    for (const target of this.#sweeps.begin(now)) this.#effects.atOnce({ kind: "sweep", target });
    this.#wakeAt(this.#sweeps.deadline());
    this.#observe(now);
  }

  #observe(now: Instant): void {
    if (this.#observation !== undefined) return;
    // An empty book is looked at once more: a step of an agent that died may take effect late.
    if (this.#book.instances.size === 0 && this.#lastObservation === this.#serial) {
      this.#observeAt = undefined;
      return;
    }
    this.#observeAt ??= now + this.#options.observeIntervalMs;
    if (now < this.#observeAt) {
      this.#wakeAt(this.#observeAt);
      return;
    }
    this.#observation = ++this.#serial;
    const observation = this.#observation;
    this.#effects.atOnce({ kind: "observe", observation });
  }

  #wakeAt(when: Instant | undefined): void {
    if (when === undefined) return;
    if (this.#deadline === undefined || when < this.#deadline) this.#deadline = when;
  }
}
