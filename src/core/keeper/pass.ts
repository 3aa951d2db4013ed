/**
 * One pass over the book, oldest promise first: what follows for each from the picture as it is.
 * Promises that nothing has happened to, and for which nothing is due, are passed over.
 */
import type { Instant } from "../machine.ts";
import type { Book } from "./book.ts";
import type { Effects } from "./effects.ts";
import { beginEnding, giveUpOn, renewAttempt, settleEnd } from "./ends.ts";
import { entryOf, runIdOf, setMessage, type Instance } from "./instance.ts";
import type { ContainerRun, KeeperEffect } from "./messages.ts";
import { lacksNetwork, laneOf, networkMove, partMove, type Move } from "./moves.ts";
import type { KeeperOptions } from "./options.ts";
import type { Lane, Part, StepUnderWay } from "./part.ts";
import { activeProbes, probeBegun } from "./probing.ts";
import { networkStepBegun, partStepBegun } from "./progress.ts";
import { noteNews, takeDueReport } from "./report.ts";

export interface PassPorts {
  readonly book: Book;
  /** Counts steps begun and ended. */
  readonly nextSerial: () => number;
}

export class Pass {
  readonly #ports: PassPorts;
  readonly #options: KeeperOptions;
  /** Steps under way. */
  readonly #lanes: Record<Lane, number> = { image: 0, start: 0, stop: 0, hook: 0 };
  /** Probes under way, those of containers that are gone included. */
  #probes = 0;
  #now: Instant = 0;

  constructor(ports: PassPorts, options: KeeperOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  stepEnded(lane: Lane): void {
    this.#lanes[lane]--;
  }

  probeEnded(): void {
    this.#probes--;
  }

  /** When the next one is due, whatever happens. */
  run(effects: Effects, now: Instant): Instant | undefined {
    this.#now = now;
    let next: Instant | undefined;
    for (const instance of this.#ports.book.instances.values()) {
      const isDue = instance.wakeAt !== undefined && instance.wakeAt <= now;
      if (isDue || instance.isStirred || this.#canGoOn(instance)) this.#visit(instance, effects);
      if (instance.wakeAt !== undefined && (next === undefined || instance.wakeAt < next))
        next = instance.wakeAt;
    }
    return next;
  }

  /** It waits in a queue whose head may have moved. While a hundred wait for one full lane, no input looks at them all. */
  #canGoOn({ isQueued, queuedFor }: Instance): boolean {
    if (!isQueued) return false;
    return queuedFor === undefined || this.#lanes[queuedFor] < this.#options.stepsMax;
  }

  #visit(instance: Instance, effects: Effects): void {
    const { book } = this.#ports;
    instance.isStirred = false;
    instance.isQueued = false;
    instance.queuedFor = undefined;
    instance.wakeAt = undefined;
    this.#settle(instance, effects);
    const blocker = book.blockerOf(instance);
    for (const part of instance.parts) {
      const move = partMove(instance, part, this.#now, blocker !== undefined);
      this.#follow(instance, part, move, effects);
      this.#probe(instance, part, effects);
      if (move.kind === "blocked") setMessage(instance, `waits until ${blocker} is gone from this node`);
    }
    this.#follow(instance, undefined, networkMove(instance, this.#now, blocker !== undefined), effects);
    this.#report(instance, effects);
    if (instance.entry.phase === "stopped")
      wakeAt(instance, book.forgetStopped(instance, effects, this.#now));
  }

  /** Applies what time and earlier inputs have decided. */
  #settle(instance: Instance, effects: Effects): void {
    const now = this.#now;
    const promise = instance.entry.terms.id;
    if (instance.retryAt !== undefined && now >= instance.retryAt) instance.retryAt = undefined;
    for (const part of instance.parts) {
      if (part.retryAt !== undefined && now >= part.retryAt) part.retryAt = undefined;
      giveUpOn(instance, part, now);
      const cause = settleEnd(instance, part, now, this.#options);
      if (cause !== undefined)
        effects.event({ name: "container-ended", promise, container: part.name, cause });
      renewAttempt(instance, part);
    }
    if (instance.entry.desired === "released" || !lacksNetwork(instance)) return;
    for (const part of instance.parts) {
      if (part.state.kind !== "running" || part.ending !== undefined) continue;
      const cause = "the replica's network is gone";
      beginEnding(part, cause, now);
      effects.event({ name: "ending", promise, container: part.name, cause });
    }
  }

  /** Without a part the move is the network's. */
  #follow(instance: Instance, part: Part | undefined, move: Move, effects: Effects): void {
    switch (move.kind) {
      case "rest":
        return;
      case "wait":
        wakeAt(instance, move.until);
        return;
      case "blocked":
        enqueue(instance, undefined);
        return;
      case "abort":
        if (part === undefined) return;
        part.isAborting = true;
        effects.atOnce({ kind: "abort", promise: instance.entry.terms.id, container: part.name });
        return;
      case "step": {
        const lane = laneOf(instance, move.step);
        if (this.#lanes[lane] >= this.#options.stepsMax) {
          enqueue(instance, lane);
          return;
        }
        this.#lanes[lane]++;
        this.#begin(instance, part, { step: move.step, lane }, effects);
      }
    }
  }

  #begin(instance: Instance, part: Part | undefined, underWay: StepUnderWay, effects: Effects): void {
    if (part === undefined) networkStepBegun(instance, underWay);
    else partStepBegun(instance, part, underWay, this.#now);
    const serial = this.#ports.nextSerial();
    if (part !== undefined) part.touched = serial;
    const { entry, networkNamespace } = instance;
    const effect: KeeperEffect = {
      kind: "step",
      step: underWay.step,
      promise: entry.terms.id,
      terms: entry.terms,
      endpointId: instance.endpointId,
      ...(part === undefined ? {} : { container: runOf(instance, part) }),
      ...(underWay.step === "create" && networkNamespace !== undefined ? { networkNamespace } : {}),
    };
    // A clean entry is on disk, or will be before this is carried out.
    if (instance.isDirty) effects.afterPersist(effect);
    else effects.atOnce(effect);
  }

  #probe(instance: Instance, part: Part, effects: Effects): void {
    for (const run of activeProbes(instance, part)) {
      if (run.isInFlight) continue;
      if (this.#now < run.nextAt) {
        wakeAt(instance, run.nextAt);
        continue;
      }
      if (this.#probes >= this.#options.probesMax) {
        enqueue(instance, undefined);
        return;
      }
      this.#probes++;
      probeBegun(run, this.#now);
      effects.atOnce({
        kind: "probe",
        promise: instance.entry.terms.id,
        container: part.name,
        containerId: runIdOf(instance, part),
        endpointId: instance.endpointId,
        purpose: run.purpose,
        action: run.probe.action,
        timeoutMs: run.probe.timeoutMs,
      });
    }
  }

  #report(instance: Instance, effects: Effects): void {
    const now = this.#now;
    noteNews(instance, now, this.#ports.book.wallMs(now), this.#options);
    wakeAt(instance, instance.startingReportAt);
    const report = takeDueReport(instance, now, this.#options);
    wakeAt(instance, instance.resendAt);
    if (report === undefined) return;
    effects.afterPersist({ kind: "report", report, cohort: instance.entry.cohort });
    if (instance.isDirty) effects.event({ name: "phase", report });
  }
}

function runOf(instance: Instance, part: Part): ContainerRun {
  const { state, template } = part;
  const attempt = state.kind === "none" ? entryOf(instance, part).attempt : state.attempt;
  return { id: runIdOf(instance, part), attempt, template };
}

/** What waits for several things is looked at whenever one of them may have come. */
function enqueue(instance: Instance, lane: Lane | undefined): void {
  instance.queuedFor = instance.isQueued && instance.queuedFor !== lane ? undefined : lane;
  instance.isQueued = true;
}

function wakeAt(instance: Instance, when: Instant | undefined): void {
  if (when === undefined) return;
  if (instance.wakeAt === undefined || when < instance.wakeAt) instance.wakeAt = when;
}
