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
import { containerIdOf, endpointIdOf, ownerOf } from "./container-ids.ts";
import { Effects } from "./effects.ts";
import { laneOf, nextMove, phaseOf, setMessage, type Instance, type Lane } from "./instance.ts";
import type {
  BookView,
  HeldPromise,
  KeeperEffect,
  KeeperInput,
  ObservedContainer,
  StepName,
  SweepTarget,
} from "./messages.ts";
import type { KeeperOptions } from "./options.ts";
import { containerEnded, renewAttempt, settleEnd, stepBegun, stepDone, stepFailed } from "./progress.ts";
import { noteNews, resend, takeDueReport, viewOf } from "./report.ts";
import { Sweeps } from "./sweeps.ts";

type Input<Kind extends KeeperInput["kind"]> = Extract<KeeperInput, { readonly kind: Kind }>;

export class KeeperMachine implements Machine<KeeperInput, KeeperEffect> {
  readonly #options: KeeperOptions;
  readonly #book: Book;
  readonly #sweeps = new Sweeps();
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
    return [...this.#book.instances.values()].map(({ entry }) => viewOf(entry));
  }

  get(promise: PromiseId): BookView | undefined {
    const entry = this.#book.instances.get(promise)?.entry;
    return entry === undefined ? undefined : viewOf(entry);
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
        for (const instance of this.#book.ofGroup(input.group)) resend(instance, now);
        return;
      case "acked":
        for (const { promise, seq } of input.acks) this.#book.ack(promise, seq);
        return;
      case "step-done": {
        const instance = this.#takeInFlight(input.promise, input.step);
        if (instance !== undefined) stepDone(instance, input, now, this.#options);
        return;
      }
      case "step-failed":
        this.#stepFailed(input, now);
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

  /** The instance that this step is under way for; undefined for an answer nobody waits for. */
  #takeInFlight(promise: PromiseId, step: StepName): Instance | undefined {
    const instance = this.#book.instances.get(promise);
    if (instance?.inFlight !== step) return undefined;
    instance.touched = ++this.#serial;
    return instance;
  }

  #stepFailed(input: Input<"step-failed">, now: Instant): void {
    const { promise, step, error } = input;
    const instance = this.#takeInFlight(promise, step);
    if (instance === undefined) return;
    stepFailed(instance, step, error, now, this.#options);
    const { code, message } = error;
    this.#effects.event({ name: "step-failed", promise, step, code, message });
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
    if (owner === undefined) return;
    const instance = this.#book.instances.get(owner.promise);
    if (instance === undefined || instance.container.kind === "none") return;
    if (instance.container.attempt !== owner.attempt) return;
    instance.touched = ++this.#serial;
    containerEnded(instance, status, now);
  }

  /** Compares the picture with the list. What changed since the list was asked for is left to the next one. */
  #observed(input: Input<"observed">, now: Instant): void {
    if (input.observation !== this.#observation) return;
    this.#observation = undefined;
    this.#lastObservation = input.observation;
    this.#observeAt = now + this.#options.observeIntervalMs;
    const { instances } = this.#book;
    const skips = (instance: Instance): boolean =>
      instance.inFlight !== undefined || instance.touched > input.observation;
    for (const target of straysOf(instances, input.containers, skips)) this.#sweep(target, now);
    const wanted = new Set<string>();
    for (const { entry } of instances.values()) wanted.add(endpointIdOf(entry.terms));
    for (const { id } of input.endpoints ?? [])
      if (!wanted.has(id)) this.#sweep({ what: "endpoint", id }, now);
    const statusById = new Map(input.containers.map((one) => [one.id, one]));
    for (const instance of instances.values()) {
      const { container, entry } = instance;
      if (skips(instance) || container.kind !== "running") continue;
      const containerId = containerIdOf(entry.terms, container.attempt);
      const status = statusById.get(containerId);
      if (status?.phase === "running") continue;
      containerEnded(instance, status, now);
      const promise = entry.terms.id;
      this.#effects.event({ name: "vanished", promise, containerId });
    }
  }

  /** One pass over the whole book, oldest promise first: what follows from the picture as it is. */
  #advance(now: Instant): void {
    this.#deadline = undefined;
    const lanes = this.#lanesInUse();
    /** Slot to the oldest promise that is not gone from it. */
    const occupied = new Map<string, PromiseId>();
    for (const instance of this.#book.instances.values()) {
      if (instance.retryAt !== undefined && now >= instance.retryAt) instance.retryAt = undefined;
      settleEnd(instance, now, this.#options);
      renewAttempt(instance);
      this.#move(instance, now, occupied.get(instance.slot), lanes);
      this.#report(instance, now);
      const { phase, terms } = instance.entry;
      if (phase === "stopped") this.#wakeAt(this.#book.forgetStopped(instance, this.#effects, now));
      else if (!occupied.has(instance.slot)) occupied.set(instance.slot, terms.id);
    }
    this.#book.collectChanges(this.#effects, now);
    for (const target of this.#sweeps.begin(now)) this.#effects.atOnce({ kind: "sweep", target });
    this.#wakeAt(this.#sweeps.deadline());
    this.#observe(now);
  }

  #lanesInUse(): Record<Lane, number> {
    const lanes = { image: 0, start: 0, stop: 0 };
    for (const instance of this.#book.instances.values())
      if (instance.inFlight !== undefined) lanes[laneOf(instance, instance.inFlight)]++;
    return lanes;
  }

  #move(instance: Instance, now: Instant, blocker: PromiseId | undefined, lanes: Record<Lane, number>): void {
    const move = nextMove(instance, now, blocker !== undefined);
    switch (move.kind) {
      case "rest":
        return;
      case "wait":
        this.#wakeAt(move.until);
        return;
      case "blocked":
        setMessage(instance, `waits until ${blocker} is gone from this node`);
        return;
      case "abort":
        instance.isAborting = true;
        this.#effects.atOnce({
          kind: "abort",
          promise: instance.entry.terms.id,
        });
        return;
      case "step": {
        const lane = laneOf(instance, move.step);
        // The end of one of those under way brings the next pass.
        if (lanes[lane] >= this.#options.stepsMax) return;
        lanes[lane]++;
        this.#begin(instance, move.step);
      }
    }
  }

  #begin(instance: Instance, step: StepName): void {
    stepBegun(instance, step);
    instance.touched = ++this.#serial;
    const { container, entry, networkNamespace } = instance;
    const attempt = container.kind === "none" ? entry.attempt : container.attempt;
    const effect: KeeperEffect = {
      kind: "step",
      step,
      promise: entry.terms.id,
      terms: entry.terms,
      attempt,
      containerId: containerIdOf(entry.terms, attempt),
      endpointId: endpointIdOf(entry.terms),
      ...(step === "create" && networkNamespace !== undefined ? { networkNamespace } : {}),
    };
    // A clean entry is on disk, or will be before this is carried out.
    if (instance.isDirty) this.#effects.afterPersist(effect);
    else this.#effects.atOnce(effect);
  }

  #report(instance: Instance, now: Instant): void {
    noteNews(instance, now, this.#book.wallMs(now), this.#options);
    this.#wakeAt(instance.startingReportAt);
    const report = takeDueReport(instance, now, this.#options);
    this.#wakeAt(instance.resendAt);
    if (report === undefined) return;
    const { cohort } = instance.entry;
    this.#effects.afterPersist({ kind: "report", report, cohort });
    if (instance.isDirty) this.#effects.event({ name: "phase", report });
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
