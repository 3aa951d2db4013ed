/** The promises of one node: how they come in, whom they are reported to, and how they leave. */
import type { GroupId, PromiseId } from "../../model/ids.ts";
import type { CohortRef } from "../../model/promise.ts";
import type { Instant } from "../machine.ts";
import type { Effects } from "./effects.ts";
import { amend, createInstance, setMessage, type Instance } from "./instance.ts";
import {
  sameCohort,
  type BookEntry,
  type BookRecord,
  type HeldPromise,
  type KeeperInput,
  type Tombstone,
} from "./messages.ts";
import type { KeeperOptions } from "./options.ts";
import { resend, stoppedReport } from "./report.ts";
import { Tombstones } from "./tombstones.ts";
import { portsOf, requestOf } from "../../model/template.ts";

export class Book {
  readonly #options: KeeperOptions;
  /** In order of admission. */
  readonly #instances = new Map<PromiseId, Instance>();
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
      this.#instances.set(entry.terms.id, instance);
      if (entry.desired === "released") this.#released.add(entry.terms.id);
      this.#nextOrder = Math.max(this.#nextOrder, entry.order + 1);
      // What was stored may be more than what was reported under its number.
      instance.reported = "";
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
        continue;
      }
      const instance = createInstance({
        kind: "promise",
        terms,
        cohort: input.cohort,
        order: this.#nextOrder++,
        desired: "running",
        attempt: 0,
        startedAttempt: -1,
        starts: 0,
        phase: "admitted",
        seq: 1,
        sinceMs: this.wallMs(now),
      });
      instance.isAttemptFresh = true;
      instance.isDirty = true;
      // The answer to the award is as good as a first report.
      instance.ackedSeq = 1;
      this.#instances.set(terms.id, instance);
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
      return;
    }
    amend(instance, { desired: "released", releaseReason: reason });
    setMessage(instance, undefined);
    instance.isDirty = true;
    instance.retryAt = undefined;
    instance.stepFailures = 0;
    instance.ending = undefined;
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

  changeCohort(cohort: CohortRef, now: Instant): void {
    for (const instance of this.ofGroup(cohort.group)) {
      const { cohort: known } = instance.entry;
      if (cohort.epoch < known.epoch || sameCohort(cohort, known)) continue;
      amend(instance, { cohort });
      instance.isDirty = true;
      resend(instance, now);
    }
  }

  ofGroup(group: GroupId): readonly Instance[] {
    return [...this.#instances.values()].filter(({ entry }) => entry.terms.group === group);
  }

  ack(promise: PromiseId, seq: number): void {
    const instance = this.#instances.get(promise);
    if (instance !== undefined && seq <= instance.entry.seq)
      instance.ackedSeq = Math.max(instance.ackedSeq, seq);
  }

  /** Takes a stopped promise out of the book once it is acked or too old; the answer says when to look again. */
  forgetStopped(instance: Instance, effects: Effects, now: Instant): Instant | undefined {
    instance.forgetAt ??= now + this.#options.forgetAfterMs;
    const isAcked = instance.ackedSeq >= instance.entry.seq;
    if (!isAcked && now < instance.forgetAt) return instance.forgetAt;
    const promise = instance.entry.terms.id;
    this.#instances.delete(promise);
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
