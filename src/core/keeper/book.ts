/** The promises of one node: how they come in, whom they are reported to, and how they leave. */
import type { GroupId, PromiseId } from "../../model/ids.ts";
import type { CohortRef } from "../../model/promise.ts";
import type { Instant } from "../machine.ts";
import type { Effects } from "./effects.ts";
import { amend, createInstance, setMessage, setPartMessage, type Instance } from "./instance.ts";
import {
  sameCohort,
  type BookEntry,
  type BookRecord,
  type HeldPromise,
  type KeeperInput,
  type Tombstone,
} from "./messages.ts";
import type { KeeperOptions } from "./options.ts";
import { freshEntries } from "./part.ts";
import { noteReported, resend, stoppedReport } from "./report.ts";
import { Tombstones } from "./tombstones.ts";
import { portsOf, requestOf } from "../../model/template.ts";

export class Book {
  readonly #options: KeeperOptions;
  /** In order of admission. */
  readonly #instances = new Map<PromiseId, Instance>();
  /** Promises of each slot, in order of admission. */
  readonly #slots = new Map<string, Set<PromiseId>>();
  readonly #tombstones: Tombstones;
  /** Ids of all promises that were released and are remembered, in the book or as tombstones. */
  readonly #released = new Set<PromiseId>();
  /** Wall clock minus `now`, as last told. */
  #wallOffsetMs = 0;
  #nextOrder = 0;
  #isLeaving = false;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#tombstones = new Tombstones(options);
  }

  get instances(): ReadonlyMap<PromiseId, Instance> {
    return this.#instances;
  }

  setWallClock(wallMs: number, now: Instant): void {
    this.#wallOffsetMs = wallMs - now;
  }

  wallMs(now: Instant): number {
    return Math.round(this.#wallOffsetMs + now);
  }

  load(instances: readonly Instance[], tombstones: readonly Tombstone[], now: Instant): void {
    this.#tombstones.load(tombstones);
    for (const { promise } of tombstones) this.#released.add(promise);
    for (const instance of instances) {
      const { entry } = instance;
      this.#add(instance);
      if (entry.desired === "released") this.#released.add(entry.terms.id);
      this.#nextOrder = Math.max(this.#nextOrder, entry.order + 1);
      resend(instance, now);
    }
  }

  admit(input: Extract<KeeperInput, { readonly kind: "admit" }>, effects: Effects, now: Instant): void {
    const admitted: PromiseId[] = [];
    const refused: PromiseId[] = [];
    for (const terms of input.terms) {
      if (this.#isLeaving || this.#released.has(terms.id)) {
        refused.push(terms.id);
        continue;
      }
      admitted.push(terms.id);
      const known = this.#instances.get(terms.id);
      if (known !== undefined) {
        // Written once more, so that this answer too comes after a commit that holds the promise.
        known.isDirty = true;
        known.isStirred = true;
        continue;
      }
      const instance = createInstance({
        kind: "promise",
        terms,
        cohort: input.cohort,
        order: this.#nextOrder++,
        desired: "running",
        containers: freshEntries(terms.template),
        phase: "admitted",
        ready: false,
        seq: 1,
        sinceMs: this.wallMs(now),
      });
      for (const part of instance.parts) part.isAttemptFresh = true;
      noteReported(instance);
      instance.isDirty = true;
      // The answer to the award is as good as a first report.
      instance.ackedSeq = 1;
      this.#add(instance);
      effects.event({ name: "admitted", promise: terms.id });
    }
    effects.afterPersist({ kind: "admission", admitted, refused });
  }

  release(
    promise: PromiseId,
    { reason, cohort }: { readonly reason: string; readonly cohort?: CohortRef },
    effects: Effects,
    now: Instant,
  ): void {
    const instance = this.#instances.get(promise);
    this.#released.add(promise);
    if (instance === undefined) {
      if (!this.#tombstones.has(promise)) effects.record(this.#tombstones.add(promise, this.wallMs(now)));
      if (cohort === undefined) return;
      const report = stoppedReport(promise, this.wallMs(now));
      effects.afterPersist({ kind: "report", report, cohort });
      return;
    }
    if (instance.entry.desired === "released") {
      // Asked again: the steward may not have heard the report that it is stopped.
      if (instance.entry.phase === "stopped") resend(instance, now);
      instance.isStirred = true;
      return;
    }
    amend(instance, { desired: "released", releaseReason: reason });
    setMessage(instance, undefined);
    instance.isDirty = true;
    instance.isStirred = true;
    instance.retryAt = undefined;
    instance.networkFailures = 0;
    for (const part of instance.parts) {
      part.retryAt = undefined;
      part.stepFailures = 0;
      setPartMessage(instance, part, undefined);
    }
    effects.event({ name: "releasing", promise, reason });
  }

  /** The node leaves: everything is released, and nothing more admitted. */
  releaseAll(reason: string, effects: Effects, now: Instant): void {
    this.#isLeaving = true;
    for (const { entry } of this.#instances.values()) {
      const { terms, cohort, desired } = entry;
      if (desired === "running") this.release(terms.id, { reason, cohort }, effects, now);
    }
  }

  /** The oldest promise of the slot that is not gone from it, when that is another one. */
  blockerOf({ entry, slot }: Instance): PromiseId | undefined {
    for (const promise of this.#slots.get(slot) ?? []) {
      if (promise === entry.terms.id) return undefined;
      if (this.#instances.get(promise)?.entry.phase !== "stopped") return promise;
    }
    return undefined;
  }

  changeCohort(cohort: CohortRef, now: Instant): void {
    for (const instance of this.ofGroup(cohort.group)) {
      const { cohort: known } = instance.entry;
      if (cohort.epoch < known.epoch || sameCohort(cohort, known)) continue;
      amend(instance, { cohort });
      instance.isDirty = true;
      instance.isStirred = true;
      resend(instance, now);
    }
  }

  ofGroup(group: GroupId): readonly Instance[] {
    return [...this.#instances.values()].filter(({ entry }) => entry.terms.group === group);
  }

  ack(promise: PromiseId, seq: number): void {
    const instance = this.#instances.get(promise);
    if (instance === undefined || seq > instance.entry.seq) return;
    instance.ackedSeq = Math.max(instance.ackedSeq, seq);
    instance.isStirred = true;
  }

  /** Takes a stopped promise out of the book once it is acked or too old; the answer says when to look again. */
  forgetStopped(instance: Instance, effects: Effects, now: Instant): Instant | undefined {
    instance.forgetAt ??= now + this.#options.forgetAfterMs;
    const isAcked = instance.ackedSeq >= instance.entry.seq;
    if (!isAcked && now < instance.forgetAt) return instance.forgetAt;
    const promise = instance.entry.terms.id;
    this.#instances.delete(promise);
    this.#slots.get(instance.slot)?.delete(promise);
    if (this.#slots.get(instance.slot)?.size === 0) this.#slots.delete(instance.slot);
    instance.isDirty = false;
    effects.record(this.#tombstones.add(promise, this.wallMs(now)));
    effects.event({ name: "forgotten", promise, isAcked });
    return undefined;
  }

  /** Hands everything that changed to the effects. */
  collectChanges(effects: Effects, now: Instant): void {
    for (const instance of this.#instances.values()) {
      if (!instance.isDirty) continue;
      instance.isDirty = false;
      effects.record(instance.entry);
    }
    const removed = this.#tombstones.prune(this.wallMs(now));
    for (const promise of removed) this.#released.delete(promise);
    effects.remove(removed);
  }

  #add(instance: Instance): void {
    const { id } = instance.entry.terms;
    this.#instances.set(id, instance);
    const slot = this.#slots.get(instance.slot);
    if (slot === undefined) this.#slots.set(instance.slot, new Set([id]));
    else slot.add(id);
  }

  summary(): readonly HeldPromise[] {
    const held: HeldPromise[] = [];
    for (const { entry } of this.#instances.values())
      if (entry.phase !== "stopped") held.push(heldPromise(entry));
    return held;
  }

  /** Grows and shrinks with the book. */
  get released(): ReadonlySet<PromiseId> {
    return this.#released;
  }
}

/** Splits what was stored. */
export function sortRecords(records: readonly BookRecord[]): {
  readonly entries: readonly BookEntry[];
  readonly tombstones: readonly Tombstone[];
} {
  const entries: BookEntry[] = [];
  const tombstones: Tombstone[] = [];
  for (const record of records)
    if (record.kind === "promise") entries.push(record);
    else tombstones.push(record);
  return { entries, tombstones };
}

function heldPromise({ terms, cohort }: BookEntry): HeldPromise {
  return {
    promise: terms.id,
    group: terms.group,
    deployment: terms.deployment,
    epoch: Math.max(terms.epoch, cohort.epoch),
    replica: terms.replica,
    holder: `${terms.namespace}/${terms.name}`,
    resources: requestOf(terms.template),
    ports: portsOf(terms.template),
  };
}
