/**
 * Drives the keeper: the durable promise book, and the steps that make it true through the runtime,
 * the image store and the fabric. It knows nothing of cohorts but whom to report to.
 */
import type {
  BookRecord,
  HeldPromise,
  KeeperEffect,
  KeeperEvent,
  KeeperInput,
  ProbeEffect,
  StepEffect,
  SweepTarget,
} from "../core/keeper/messages.ts";
import { KeeperMachine } from "../core/keeper/machine.ts";
import type { KeeperOptions } from "../core/keeper/options.ts";
import { admit } from "../core/placement/quote.ts";
import type { BookLine, BookSummary, TakenPort } from "../core/placement/book.ts";
import { quote } from "../core/placement/quote.ts";
import type { GroupId, NodeId, PromiseId } from "../model/ids.ts";
import type { CallAnswer, PlacementRequest, Refusal } from "../model/placement.ts";
import type { CohortRef, InstanceReport, PromiseTerms } from "../model/promise.ts";
import type { PortSpec, Resources } from "../model/spec.ts";
import type { Clock } from "../ports/clock.ts";
import type { ContainerRuntime, ContainerStatus } from "../ports/container-runtime.ts";
import type { Fabric } from "../ports/fabric.ts";
import type { ImageStore } from "../ports/image-store.ts";
import type { Logger } from "../ports/logger.ts";
import type { Prober } from "../ports/prober.ts";
import type { Store, StoreWrite } from "../ports/store.ts";
import type { VolumeStore } from "../ports/volume-store.ts";
import { decodeAs, encode } from "../wire/codec.ts";
import { bookRecordSchema } from "../wire/book.ts";
import { InstanceProbes } from "./instance-probes.ts";
import { failureOf, InstanceSteps } from "./instance-steps.ts";
import { MachineLane } from "./machine-lane.ts";
import type { Turn, Work } from "./turn.ts";
import { needsOf, portsOf } from "../model/template.ts";

export interface BookPorts {
  readonly turn: Turn;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly store: Store;
  readonly runtime: ContainerRuntime;
  readonly images: ImageStore;
  readonly fabric: Fabric;
  readonly volumes: VolumeStore;
  readonly prober: Prober;
  /** Takes a report on its way to the cohort's steward. */
  readonly report: (report: InstanceReport, cohort: CohortRef) => void;
  /** Something about what is promised or free changed. */
  readonly changed: () => void;
}

export interface BookOptions {
  readonly node: NodeId;
  readonly fleetPrefix: string;
  readonly capacity: Resources;
  readonly keeper: KeeperOptions;
}

/** One result of an award, in the order of its promises. */
export interface Admission {
  readonly promise: PromiseId;
  readonly refusal?: Refusal;
}

const listRetryMs = 1_000;

export class Book {
  readonly #ports: BookPorts;
  readonly #options: BookOptions;
  readonly #machine: KeeperMachine;
  readonly #lane: MachineLane<KeeperInput, KeeperEffect>;
  readonly #steps: InstanceSteps;
  readonly #probes: InstanceProbes;
  /** Awards whose `admission` has not come yet, oldest first. */
  readonly #admissions: ((admitted: ReadonlySet<PromiseId>) => void)[] = [];
  #unwatch: (() => void) | undefined;
  #isStopping = false;
  #changeWaiters: (() => void)[] = [];
  #emptyWaiters: (() => void)[] = [];

  constructor(ports: BookPorts, options: BookOptions) {
    this.#ports = ports;
    this.#options = options;
    this.#machine = new KeeperMachine(options.keeper);
    this.#probes = new InstanceProbes(ports);
    this.#steps = new InstanceSteps({ ...ports, probes: this.#probes }, options);
    this.#lane = new MachineLane(ports, {
      machine: this.#machine,
      timeout: { kind: "timeout" },
      work: (effect) => this.#work(effect),
    });
  }

  /** Reads the book, looks at what runs, and takes it from there. */
  async start(): Promise<void> {
    const { store, runtime, fabric, clock } = this.#ports;
    const stored = await store.scan("promises");
    const records: BookRecord[] = stored.map(({ value }) => decodeAs(bookRecordSchema, value));
    this.#unwatch = runtime.watch((status) => this.#lane.feed({ kind: "container-ended", status }));
    const [listed, endpoints] = await Promise.all([runtime.list(), fabric.list()]);
    const containers = await this.#withoutNameless(listed);
    this.#lane.feed({ kind: "start", records, containers, endpoints, wallMs: clock.wallMs() });
  }

  /**
   * An agent that was killed before a new container had its labels on disk leaves something that no promise can be told to
   * own: it is taken away here, while nothing else is being made.
   */
  async #withoutNameless(listed: readonly ContainerStatus[]): Promise<readonly ContainerStatus[]> {
    const isNameless = ({ phase, labels }: ContainerStatus): boolean =>
      phase === "unknown" && Object.keys(labels).length === 0;
    const { logger, runtime } = this.#ports;
    for (const { id } of listed.filter(isNameless)) {
      logger.info("removing a container that lost its record", { id });
      await runtime.remove(id).catch((error: unknown) => {
        logger.warn("sweep failed", { what: "container", id, message: String(error) });
      });
    }
    return listed.filter((one) => !isNameless(one));
  }

  close(): void {
    this.#lane.close();
    this.#unwatch?.();
    this.#steps.close();
  }

  /** All promises that are not stopped. */
  held(): readonly HeldPromise[] {
    return this.#machine.summary();
  }

  /** Every promise in the book with its newest report. */
  entries(): ReturnType<KeeperMachine["entries"]> {
    return this.#machine.entries();
  }

  summary(takenPorts: readonly TakenPort[] = []): BookSummary {
    return {
      node: this.#options.node,
      capacity: this.#options.capacity,
      lines: this.#machine.summary().map((held): BookLine => ({
        promise: held.promise,
        deployment: held.deployment,
        holder: held.holder,
        epoch: held.epoch,
        resources: held.resources,
        ports: held.ports,
      })),
      takenPorts,
      isStopping: this.#isStopping,
      released: this.#machine.released(),
    };
  }

  /** Resolves at the next change of the book, or when the signal aborts. */
  async nextChange(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#changeWaiters.push(resolve);
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  /** Answers a call for volunteers from the book; reserves nothing. */
  async quote(request: PlacementRequest): Promise<CallAnswer> {
    const taken = await this.#takenPorts(request.ports);
    const found = await Promise.all(request.images.map((image) => this.#ports.images.find(image)));
    const hasImages = found.every((image) => image !== undefined);
    return quote(this.summary(taken), request, hasImages);
  }

  /** The one atomic step: each promise is in the book and durable, or refused with a reason. */
  async award(promises: readonly PromiseTerms[], cohort: CohortRef): Promise<readonly Admission[]> {
    const taken = await this.#takenPorts(promises.flatMap(({ template }) => portsOf(template)));
    const refusals = new Map<PromiseId, Refusal>();
    const admitted = await new Promise<ReadonlySet<PromiseId>>((resolve) => {
      this.#lane.feedWith(() => {
        const terms = this.#admissible(promises, taken, refusals);
        this.#admissions.push(resolve);
        return { kind: "admit", terms, cohort, wallMs: this.#ports.clock.wallMs() };
      });
    });
    return promises.map(({ id }): Admission => {
      if (admitted.has(id)) return { promise: id };
      return { promise: id, refusal: refusals.get(id) ?? this.#lateRefusal(id) };
    });
  }

  /** `unknown` are not in the book; a late copy of their award is refused from here on all the same. */
  release(
    promises: readonly PromiseId[],
    reason: string,
    cohort?: CohortRef,
  ): { accepted: PromiseId[]; unknown: PromiseId[] } {
    const known = new Set(this.#machine.entries().map(({ terms }) => terms.id));
    this.#lane.feed({ kind: "release", promises, reason, ...(cohort === undefined ? {} : { cohort }) });
    return {
      accepted: promises.filter((id) => known.has(id)),
      unknown: promises.filter((id) => !known.has(id)),
    };
  }

  /** Lets go of everything promised to a group that is no more. */
  releaseGroup(group: GroupId, reason: string): void {
    const entries = this.#machine.entries().filter(({ terms }) => terms.group === group);
    const promises = entries.filter(({ report }) => report.phase !== "stopped").map(({ terms }) => terms.id);
    if (promises.length > 0) this.#lane.feed({ kind: "release", promises, reason });
    // Nobody is left to acknowledge what has stopped.
    const acks = entries
      .filter(({ report }) => report.phase === "stopped")
      .map(({ report }) => ({ promise: report.promise, seq: report.seq }));
    if (acks.length > 0) this.#lane.feed({ kind: "acked", acks });
  }

  /** New runs of what a promise keeps running; false when the promise is not here. */
  restart(promise: PromiseId, container: string | undefined, cause: string): boolean {
    if (this.#machine.get(promise) === undefined) return false;
    this.#lane.feed({ kind: "restart", promise, cause, ...(container === undefined ? {} : { container }) });
    return true;
  }

  cohortChanged(cohort: CohortRef): void {
    this.#lane.feed({ kind: "cohort-changed", cohort });
  }

  /** The newest word on every promise of a group, for a steward that asks; the keeper repeats what it owes. */
  reportsOf(group: GroupId): readonly InstanceReport[] {
    this.#lane.feed({ kind: "inquired", group });
    return this.#machine
      .entries()
      .filter(({ terms }) => terms.group === group)
      .map(({ report }) => report);
  }

  acknowledged(acks: readonly { readonly promise: PromiseId; readonly seq: number }[]): void {
    this.#lane.feed({ kind: "acked", acks });
  }

  /** Releases everything and admits nothing more; resolves when nothing runs. */
  async stopAll(reason: string): Promise<void> {
    this.#isStopping = true;
    this.#lane.feed({ kind: "stop-all", reason });
    await new Promise<void>((resolve) => {
      this.#emptyWaiters.push(resolve);
      this.#lane.feedWith(() => {
        this.#checkEmpty();
        return undefined;
      });
    });
  }

  #admissible(
    promises: readonly PromiseTerms[],
    taken: readonly TakenPort[],
    refusals: Map<PromiseId, Refusal>,
  ): readonly PromiseTerms[] {
    const summary = this.summary(taken);
    const lines = [...summary.lines];
    return promises.filter((terms) => {
      const refusal = admit({ ...summary, lines }, terms);
      if (refusal !== undefined) {
        refusals.set(terms.id, refusal);
        return false;
      }
      if (!lines.some((line) => line.promise === terms.id)) {
        const { resources, ports } = needsOf(terms.template);
        const holder = `${terms.namespace}/${terms.name}`;
        lines.push({
          promise: terms.id,
          deployment: terms.deployment,
          holder,
          epoch: terms.epoch,
          resources,
          ports,
        });
      }
      return true;
    });
  }

  #lateRefusal(id: PromiseId): Refusal {
    return {
      node: this.#options.node,
      reason: "stopping",
      detail: `promise ${id} was released here, or the node leaves`,
    };
  }

  /** Published ports that something outside the book has. */
  async #takenPorts(ports: readonly PortSpec[]): Promise<readonly TakenPort[]> {
    const own = new Set(
      this.#machine
        .summary()
        .flatMap((held) => held.ports.map((port) => `${port.published}/${port.protocol}`)),
    );
    const taken = new Map<string, TakenPort>();
    for (const { published, protocol } of ports) {
      const key = `${published}/${protocol}`;
      if (published === undefined || own.has(key) || taken.has(key)) continue;
      const holder = await this.#ports.fabric.portHolder(published, protocol);
      if (holder !== undefined) taken.set(key, { port: published, protocol, holder });
    }
    return [...taken.values()];
  }

  #work(effect: KeeperEffect): Work {
    if (effect.kind === "persist") {
      const writes: StoreWrite[] = [
        ...effect.records.map((record): StoreWrite => ({
          kind: "put",
          table: "promises",
          key: record.kind === "promise" ? record.terms.id : record.promise,
          value: encode(record),
        })),
        ...effect.removed.map((key): StoreWrite => ({ kind: "delete", table: "promises", key })),
      ];
      return { kind: "write", writes, done: () => this.#settled() };
    }
    return { kind: "do", run: () => this.#carryOut(effect) };
  }

  #carryOut(effect: Exclude<KeeperEffect, { kind: "persist" }>): void {
    switch (effect.kind) {
      case "admission":
        this.#admissions.shift()?.(new Set(effect.admitted));
        return;
      case "step":
        void this.#step(effect);
        return;
      case "abort":
        this.#steps.abort(effect.promise, effect.container);
        return;
      case "probe":
        void this.#probe(effect);
        return;
      case "sweep":
        void this.#sweep(effect.target);
        return;
      case "observe":
        void this.#observe(effect.observation);
        return;
      case "report":
        this.#ports.report(effect.report, effect.cohort);
        this.#settled();
        return;
      case "event":
        this.#log(effect.event);
        return;
    }
  }

  #settled(): void {
    this.#ports.changed();
    const waiters = this.#changeWaiters;
    this.#changeWaiters = [];
    for (const resolve of waiters) resolve();
    this.#checkEmpty();
  }

  #checkEmpty(): void {
    if (this.#emptyWaiters.length === 0 || this.#machine.summary().length > 0) return;
    for (const resolve of this.#emptyWaiters) resolve();
    this.#emptyWaiters = [];
  }

  async #step(effect: StepEffect): Promise<void> {
    const { promise, step, container } = effect;
    const of =
      container === undefined ? { promise, step } : { promise, step, container: container.template.name };
    try {
      const result = await this.#steps.perform(effect);
      this.#lane.feed({ kind: "step-done", ...of, ...result });
    } catch (error) {
      this.#lane.feed({ kind: "step-failed", ...of, error: failureOf(error) });
    }
  }

  async #probe(effect: ProbeEffect): Promise<void> {
    const { promise, container, containerId, purpose } = effect;
    const answer = await this.#probes.probe(effect.action, effect);
    this.#lane.feed({ kind: "probed", promise, container, containerId, purpose, ...answer });
  }

  async #sweep(target: SweepTarget): Promise<void> {
    try {
      await (target.what === "container"
        ? this.#ports.runtime.remove(target.id)
        : this.#ports.fabric.detach(target.id));
      this.#lane.feed({ kind: "sweep-ended", target });
    } catch (error) {
      this.#lane.feed({ kind: "sweep-ended", target, error: failureOf(error) });
    }
  }

  async #observe(observation: number): Promise<void> {
    try {
      const { runtime, fabric } = this.#ports;
      const [containers, endpoints] = await Promise.all([runtime.list(), fabric.list()]);
      this.#lane.feed({ kind: "observed", observation, containers, endpoints });
    } catch (error) {
      this.#ports.logger.warn("the runtime does not list its containers", { error: String(error) });
      this.#ports.clock.at(this.#ports.clock.now() + listRetryMs, () => void this.#observe(observation));
    }
  }

  #log(event: KeeperEvent): void {
    const { logger } = this.#ports;
    switch (event.name) {
      case "step-failed": {
        const { name: _, ...fields } = event;
        logger.warn("step failed", fields);
        return;
      }
      case "container-ended": {
        const { name: _, ...fields } = event;
        logger.info("container ended", fields);
        return;
      }
      case "readiness": {
        const { name: _, ...fields } = event;
        logger.info("readiness changed", fields);
        return;
      }
      case "ending": {
        const { name: _, ...fields } = event;
        logger.warn("ending a container", fields);
        return;
      }
      case "sweep-failed":
        logger.warn("sweep failed", { what: event.target.what, id: event.target.id, message: event.message });
        return;
      case "phase":
        logger.info("instance changed", {
          promise: event.report.promise,
          phase: event.report.phase,
          restarts: event.report.restarts,
        });
        return;
      case "sweeping":
        logger.info("removing what nobody promised", { what: event.target.what, id: event.target.id });
        return;
      default:
        logger.info(event.name, { promise: event.promise });
    }
  }
}
