/**
 * A simulated node around the keeper: a disk that is slow, a steward that awards, releases and
 * acknowledges over a bad network, an agent that dies between any two effects. Checks K1 to K9 as it goes.
 */
import { assert, defined } from "../../model/assert.ts";
import type { CohortRef, InstanceReport, PromiseTerms } from "../../model/promise.ts";
import { createRng, type Rng } from "../rng.ts";
import { containerLabel, promiseLabel } from "./container-ids.ts";
import { KeeperMachine } from "./machine.ts";
import type { BookRecord, KeeperEffect, KeeperInput, ProbeEffect, StepEffect } from "./messages.ts";
import { keeperDefaults } from "./options.ts";
import { noFaults, SimulatedMachine } from "./simulated-machine.ts";
import { randomTemplate, simulatedTerms } from "./simulated-terms.ts";

const options = { ...keeperDefaults, stepsMax: 3, observeIntervalMs: 5_000, tombstonesMax: 64 };

/** What the steward thinks of a promise. */
interface Award {
  readonly terms: PromiseTerms;
  /** The node said so, and its word counts. */
  isAdmitted: boolean;
  isReleased: boolean;
  report: InstanceReport | undefined;
}

interface Due {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** One life of the agent. What a dead one still does reaches nobody. */
interface Agent {
  readonly machine: KeeperMachine;
  readonly queue: KeeperEffect[];
  isDraining: boolean;
  isDead: boolean;
  timerAt: number | undefined;
  /** Containers and networks with a step under way. */
  readonly busy: Set<string>;
}

export class SimulatedNode {
  readonly machine: SimulatedMachine;
  readonly awards = new Map<string, Award>();
  readonly disk = new Map<string, BookRecord>();
  readonly #trace: { readonly at: number; readonly what: KeeperEffect | string }[] = [];
  readonly #rng: Rng;
  #now = 0;
  #order = 0;
  #due: Due[] = [];
  #agent: Agent | undefined;
  #isFaulty = true;
  #effects = 0;
  #powerLosses = 0;

  constructor(seed: number) {
    this.#rng = createRng(seed);
    this.machine = new SimulatedMachine(this.#rng);
  }

  /** Everything carried out, a line each. */
  trace(): readonly string[] {
    return this.#trace.map(({ at, what }) => `${at} ${typeof what === "string" ? what : describe(what)}`);
  }

  /** Effects carried out so far: a node at rest has none to speak of. */
  get effects(): number {
    return this.#effects;
  }

  get agent(): KeeperMachine | undefined {
    return this.#agent?.machine;
  }

  /** Faults for so long, then peace for so long. */
  run(faultyMs: number, peacefulMs: number): void {
    this.machine.faults = { fails: 0.1, lies: 0.03, dies: 0.3, sickens: 0.15 };
    this.#boot();
    this.#every(400, () => this.#meddle());
    this.#advanceTo(faultyMs);
    this.#isFaulty = false;
    this.machine.faults = noFaults;
    if (this.#agent === undefined) this.#boot();
    this.#advanceTo(faultyMs + peacefulMs);
  }

  /** So much more peace. */
  idle(forMs: number): void {
    this.#advanceTo(this.#now + forMs);
  }

  #advanceTo(end: number): void {
    for (;;) {
      const next = this.#due[0];
      if (next === undefined || next.at > end) break;
      this.#due.shift();
      this.#now = Math.max(this.#now, next.at);
      next.run();
    }
    this.#now = end;
  }

  #after(delayMs: number, run: () => void): void {
    const due = { at: this.#now + delayMs, order: this.#order++, run };
    let i = this.#due.length;
    while (i > 0 && defined(this.#due[i - 1], "an earlier event").at > due.at) i--;
    this.#due.splice(i, 0, due);
  }

  #every(intervalMs: number, run: () => void): void {
    this.#after(this.#rng.int(intervalMs) + 1, () => {
      if (!this.#isFaulty) return;
      run();
      this.#every(intervalMs, run);
    });
  }

  #chance(probability: number): boolean {
    return this.#rng.next() < probability;
  }

  #log(what: KeeperEffect | string): void {
    this.#trace.push({ at: this.#now, what });
  }

  #boot(): void {
    const agent: Agent = {
      machine: new KeeperMachine(options),
      queue: [],
      isDraining: false,
      isDead: false,
      timerAt: undefined,
      busy: new Set(),
    };
    this.#agent = agent;
    this.#log("boot");
    const start: KeeperInput = {
      kind: "start",
      records: [...this.disk.values()],
      containers: [...this.machine.containers.values()],
      endpoints: [...this.machine.endpoints.values()],
      wallMs: 1_000_000 + this.#now,
    };
    this.#feed(agent, start);
  }

  #crash(losesPower: boolean): void {
    this.#log(losesPower ? "power lost" : "agent killed");
    if (this.#agent !== undefined) this.#agent.isDead = true;
    if (losesPower) this.#powerLosses++;
    this.#agent = undefined;
    if (losesPower) this.machine.losePower();
    this.#after(50 + this.#rng.int(2_000), () => {
      if (this.#agent === undefined) this.#boot();
    });
  }

  #feed(agent: Agent | undefined, input: KeeperInput): void {
    if (agent === undefined || agent.isDead) return;
    agent.queue.push(...agent.machine.step(input, this.#now));
    this.#drain(agent);
    this.#arm(agent);
  }

  #arm(agent: Agent): void {
    const deadline = agent.machine.deadline();
    if (deadline === undefined || agent.isDead) return;
    assert(deadline > this.#now, "a deadline that has passed was acted upon");
    if (agent.timerAt !== undefined && agent.timerAt <= deadline) return;
    agent.timerAt = deadline;
    this.#after(deadline - this.#now, () => {
      if (agent.timerAt !== this.#now) return;
      agent.timerAt = undefined;
      this.#feed(agent, { kind: "timeout" });
    });
  }

  /** In array order; what stands after a persist waits until it is durable. */
  #drain(agent: Agent): void {
    if (agent.isDraining) return;
    for (let effect = agent.queue.shift(); effect !== undefined; effect = agent.queue.shift()) {
      if (this.#isFaulty && this.#chance(0.002)) this.#crash(this.#chance(0.3));
      if (agent.isDead) return;
      this.#log(effect);
      if (effect.kind !== "event" && effect.kind !== "observe" && effect.kind !== "probe") this.#effects++;
      if (effect.kind !== "persist") {
        this.#carryOut(agent, effect);
        continue;
      }
      const { records, removed } = effect;
      agent.isDraining = true;
      this.#after(this.#rng.int(5), () => {
        if (agent.isDead) return;
        for (const record of records)
          this.disk.set(record.kind === "promise" ? record.terms.id : record.promise, record);
        for (const promise of removed) this.disk.delete(promise);
        agent.isDraining = false;
        this.#drain(agent);
      });
      return;
    }
  }

  #carryOut(agent: Agent, effect: Exclude<KeeperEffect, { kind: "persist" }>): void {
    switch (effect.kind) {
      case "admission":
        this.#admitted(effect.admitted, effect.refused);
        return;
      case "step":
        this.#step(agent, effect);
        return;
      case "sweep":
        this.#after(this.#rng.int(30), () => {
          const error = this.machine.sweep(effect.target);
          const { target } = effect;
          this.#feed(
            agent,
            error === undefined ? { kind: "sweep-ended", target } : { kind: "sweep-ended", target, error },
          );
        });
        return;
      case "observe": {
        const containers = [...this.machine.containers.values()];
        const endpoints = [...this.machine.endpoints.values()];
        const { observation } = effect;
        this.#after(this.#rng.int(50), () =>
          this.#feed(agent, { kind: "observed", observation, containers, endpoints }),
        );
        return;
      }
      case "report":
        if (!this.#isFaulty || this.#chance(0.7)) this.#reported(effect.report);
        return;
      case "probe":
        this.#probe(agent, effect);
        return;
      case "abort":
      case "event":
    }
  }

  #step(agent: Agent, effect: StepEffect): void {
    const { promise, step } = effect;
    const id = effect.container?.id;
    const container = effect.container?.template.name;
    const key = `${promise} ${container ?? "network"}`;
    assert(!agent.busy.has(key), "K3: one step at a time for a container");
    agent.busy.add(key);
    this.#checkBook(effect);
    const takesMs = this.#rng.int(this.#isFaulty && this.#chance(0.1) ? 3_000 : 60);
    const powerLosses = this.#powerLosses;
    this.#after(takesMs, () => {
      // A step of a dead agent takes effect all the same, or not at all; that of a dead machine never.
      if (this.#powerLosses > powerLosses || (agent.isDead && this.#chance(0.5))) return;
      if (agent.isDead && step === "start" && id !== undefined) this.machine.lateStarts.add(id);
      const end = this.machine.perform(effect, !agent.isDead);
      const status = id === undefined ? undefined : this.machine.containers.get(id);
      if ((step === "stop" || step === "kill") && status?.phase === "exited")
        this.#after(this.#rng.int(20), () => this.#feed(this.#agent, { kind: "container-ended", status }));
      if (step === "start" && id !== undefined) this.#maybeEnds(id, effect);
      agent.busy.delete(key);
      const of = container === undefined ? { promise, step } : { promise, step, container };
      if (end.kind === "failed") this.#feed(agent, { kind: "step-failed", ...of, error: end.error });
      else this.#feed(agent, { ...end, kind: "step-done", ...of });
    });
  }

  #probe(agent: Agent, effect: ProbeEffect): void {
    const { promise, container, containerId, purpose } = effect;
    const isWell = this.machine.probe(effect);
    this.#after(this.#rng.int(this.#isFaulty && this.#chance(0.1) ? effect.timeoutMs : 30), () =>
      this.#feed(agent, {
        kind: "probed",
        promise,
        container,
        containerId,
        purpose,
        isWell,
        detail: isWell ? "answered" : "refused",
      }),
    );
  }

  /** K2: nothing is begun for a promise that is not durable, nor under an attempt that is not. */
  #checkBook({ promise, container, step, terms }: StepEffect): void {
    const record = this.disk.get(promise);
    assert(record?.kind === "promise", `K2: ${step} for ${promise}, which is not in the book`);
    if (container === undefined) return;
    const all = [...terms.template.initContainers, ...terms.template.containers];
    const index = all.findIndex(({ name }) => name === container.template.name);
    const durable = defined(record.containers[index], "the record of a container").attempt;
    assert(container.attempt <= durable, `K5: attempt ${container.attempt} of ${promise} is not in the book`);
  }

  /** An init container ends by itself, the others by bad luck. */
  #maybeEnds(id: string, { container, terms }: StepEffect): void {
    const isInit = terms.template.initContainers.some(({ name }) => name === container?.template.name);
    if (!isInit && !this.#chance(this.machine.faults.dies)) return;
    this.#after(this.#rng.int(isInit ? 500 : 5_000), () => {
      const isFailing = isInit ? this.#isFaulty && this.#chance(0.2) : this.#chance(0.5);
      const ended = this.machine.end(id, isFailing ? 1 : 0);
      if (ended === undefined) return;
      this.#after(this.#rng.int(20), () =>
        this.#feed(this.#agent, { kind: "container-ended", status: ended }),
      );
    });
  }

  #admitted(admitted: readonly string[], refused: readonly string[]): void {
    for (const promise of admitted) {
      assert(this.disk.get(promise)?.kind === "promise", `K1: ${promise} is acknowledged and not durable`);
      defined(this.awards.get(promise), "the award").isAdmitted = true;
    }
    for (const promise of refused)
      assert(this.awards.get(promise)?.isReleased === true, `K8: ${promise} is refused and was not released`);
  }

  #reported(report: InstanceReport): void {
    const award = this.awards.get(report.promise);
    if (award === undefined) return;
    assert(
      award.report === undefined || award.report.seq <= report.seq,
      `K7: report ${report.seq} of ${report.promise} comes after ${award.report?.seq}`,
    );
    assert(
      award.report?.seq !== report.seq || JSON.stringify(award.report) === JSON.stringify(report),
      `K7: report ${report.seq} of ${report.promise} says two things`,
    );
    award.report = report;
    const ack = { promise: report.promise, seq: report.seq };
    if (this.#isFaulty && this.#chance(0.3)) return;
    this.#after(this.#rng.int(20), () => this.#feed(this.#agent, { kind: "acked", acks: [ack] }));
  }

  /** What stewards and bad luck do to a node. */
  #meddle(): void {
    const dice = this.#rng.next();
    if (dice < 0.35) this.#award();
    else if (dice < 0.55) this.#release();
    else if (dice < 0.6) this.#crash(false);
    else if (dice < 0.62) this.#crash(true);
    else if (dice < 0.65) this.#feed(this.#agent, { kind: "inquired", group: "g" });
    else if (dice < 0.75) this.#restart();
  }

  /** A user asks for new runs, of a promise that may be in any state or gone. */
  #restart(): void {
    const known = [...this.awards.values()];
    const award = known[this.#rng.int(known.length + 1)];
    if (award === undefined) return;
    const { id, template } = award.terms;
    const one = template.containers[this.#rng.int(template.containers.length + 1)];
    const of = one === undefined ? {} : { container: one.name };
    this.machine.unwanted(id, one?.name);
    this.#feed(this.#agent, { kind: "restart", promise: id, cause: "asked for", ...of });
  }

  #award(): void {
    const known = [...this.awards.values()];
    const again = known[this.#rng.int(known.length + 1)];
    // A duplicate, possibly of what has been released long ago.
    const terms = this.#chance(0.3) && again !== undefined ? again.terms : this.#newTerms(known);
    if (terms === undefined) return;
    if (!this.awards.has(terms.id))
      this.awards.set(terms.id, { terms, isAdmitted: false, isReleased: false, report: undefined });
    this.#feed(this.#agent, { kind: "admit", terms: [terms], cohort, wallMs: 1_000_000 + this.#now });
  }

  #newTerms(known: readonly Award[]): PromiseTerms | undefined {
    const live = known.filter((award) => !award.isReleased);
    if (live.length >= 6) return undefined;
    const replica = [0, 1, 2, 3, 4, 5].find((slot) => live.every((award) => award.terms.replica !== slot));
    return simulatedTerms(this.awards.size, defined(replica, "a free slot"), randomTemplate(this.#rng));
  }

  #release(): void {
    const live = [...this.awards.values()].filter((award) => !award.isReleased);
    const award = live[this.#rng.int(live.length + 1)];
    if (award === undefined) return;
    award.isReleased = true;
    this.machine.released.add(award.terms.id);
    this.#keepReleasing(award);
  }

  /** A steward asks until it is told that the promise is stopped. */
  #keepReleasing(award: Award): void {
    if (award.report?.phase === "stopped") return;
    const { id } = award.terms;
    this.#feed(this.#agent, { kind: "release", promises: [id], reason: "test", cohort });
    this.#after(1_000, () => this.#keepReleasing(award));
  }

  /** What must hold once the faults are over and everything had its time. */
  checkAtRest(): void {
    for (const { terms, isAdmitted, isReleased, report } of this.awards.values()) {
      const running = this.machine.running().filter((one) => one.labels[promiseLabel] === terms.id);
      if (isReleased) {
        assert(report?.phase === "stopped", `K8: ${terms.id} was released and is ${report?.phase}`);
        assert(running.length === 0, `K8: ${terms.id} was released and runs`);
        continue;
      }
      const view = this.#agent?.machine.get(terms.id);
      if (!isAdmitted && view === undefined) continue;
      assert(view !== undefined, `K1: ${terms.id} was acknowledged and is lost`);
      const { phase, ready, seq } = view.report;
      assert(report === undefined || report.seq === seq, `K7: the steward has not heard how ${terms.id} is`);
      if (phase === "completed") {
        assert(terms.template.restart !== "always", `K9: ${terms.id} always runs`);
        continue;
      }
      assert(phase === "running", `K9: ${terms.id} is promised and ${phase}: ${view.report.message}`);
      assert(ready, `K9: ${terms.id} runs and is not ready: ${view.report.message}`);
      for (const { name, isInit, phase: its } of view.report.containers) {
        const count = running.filter(({ labels }) => labels[containerLabel] === name).length;
        const wanted = isInit || its === "completed" ? 0 : 1;
        assert(count === wanted, `K9: ${terms.id} has ${count} ${name} running, and it is ${its}`);
      }
    }
    for (const { id, labels } of this.machine.containers.values()) {
      const promise = defined(labels[promiseLabel], "a label");
      assert(this.#agent?.machine.get(promise) !== undefined, `K8: ${id} is there and nobody promised it`);
    }
    const held = this.#agent?.machine.entries().length ?? 0;
    assert(this.machine.endpoints.size <= held, "K8: an endpoint is there and nobody promised it");
  }
}

const cohort: CohortRef = { group: "g", deployment: "d", epoch: 1, voters: ["n1"] };

function describe(effect: KeeperEffect): string {
  switch (effect.kind) {
    case "step":
      return `step ${effect.step} ${effect.container?.template.name ?? ""} ${effect.container?.id ?? effect.endpointId}`;
    case "probe":
      return `probe ${effect.purpose} ${effect.containerId}`;
    case "persist":
      return `persist ${effect.records.map((one) => (one.kind === "promise" ? `${one.terms.id} ${one.phase} ${one.seq}` : one.promise)).join(", ")}`;
    case "report":
      return `report ${effect.report.promise} ${effect.report.seq} ${effect.report.phase} ${effect.report.message ?? ""}`;
    default:
      return JSON.stringify(effect);
  }
}
