/**
 * Seeded fleets around one cohort: a log that commits in order or drops, leaders that change, messages
 * that are lost, doubled and late, nodes that lose power and return with their books.
 */
import { describe, expect, test } from "bun:test";
import { defined } from "../../model/assert.ts";
import { groupIdOf, type NodeId, type PromiseId } from "../../model/ids.ts";
import type { InstancePhase, PromiseTerms } from "../../model/promise.ts";
import type { DeploymentSpec } from "../../model/spec.ts";
import type { Instant } from "../machine.ts";
import { createSpreadPolicy } from "../placement/policy.ts";
import { admit, quote } from "../placement/quote.ts";
import type { BookSummary } from "../placement/book.ts";
import { createRng, type Rng } from "../rng.ts";
import type { CohortCommand, UserChange } from "./commands.ts";
import { foundingState } from "./founding.ts";
import { CohortMachine } from "./machine.ts";
import type { CohortEffect, CohortInput, VoterChange } from "./messages.ts";
import { defaultCohortOptions } from "./options.ts";
import { decodeState, encodeState } from "./state-codec.ts";
import { isOccupying } from "./state.ts";
import {
  containerResourcesDefault,
  mainContainer,
  portsOf,
  requestOf,
  singleContainer,
} from "../../model/template.ts";

const [deployment, mebibyte] = ["d".repeat(32), 1024 * 1024];

function specOf(replicas: number, version: number, hasPort = false): DeploymentSpec {
  return {
    namespace: "shop",
    name: "web",
    replicas,
    template: singleContainer(
      {
        image: `web:${version}`,
        ports: hasPort ? [{ container: 80, published: 8080, protocol: "tcp" }] : [],
        resources: { ...containerResourcesDefault, cpuMillis: 100, memoryBytes: 64 * mebibyte },
      },
      { stopTimeoutMs: 100 },
    ),
  };
}

interface Kept {
  readonly terms: PromiseTerms;
  phase: InstancePhase;
  seq: number;
  ackedSeq: number;
  isReleased: boolean;
}

interface Node {
  readonly id: NodeId;
  isUp: boolean;
  /** Membership is wrong about it: held for dead while it works on. */
  isMisjudged: boolean;
  /** Counts power losses: what was scheduled in an earlier life does not happen. */
  life: number;
  readonly book: Map<PromiseId, Kept>;
  readonly tombstones: Set<PromiseId>;
  machine: CohortMachine | undefined;
  applied: number;
  timer: number;
}

interface Entry {
  readonly term: number;
  readonly command: CohortCommand;
}

class World {
  readonly rng: Rng;
  readonly nodes: Node[] = [];
  now: Instant = 0;
  hasFaults = true;
  effects = 0;
  replies = new Map<string, boolean>();
  retired = 0;
  readonly trace: string[] = [];
  readonly #queue: { at: Instant; order: number; run: () => void }[] = [];
  #order = 0;
  readonly #log: Entry[] = [];
  #term = 0;
  #leader: Node | undefined;
  readonly #openReplies = new Set<string>();
  voters: NodeId[];
  learners: NodeId[] = [];
  readonly #statesAt = new Map<number, string>();

  constructor(seed: number, nodeCount: number, spec: DeploymentSpec) {
    this.rng = createRng(seed);
    for (let index = 0; index < nodeCount; index++)
      this.nodes.push({
        id: `${index}`.repeat(32),
        isUp: true,
        isMisjudged: false,
        life: 0,
        book: new Map(),
        tombstones: new Set(),
        machine: undefined,
        applied: 0,
        timer: 0,
      });
    this.voters = this.nodes.slice(0, nodeCount >= 3 ? 3 : 1).map((node) => node.id);
    const founder = defined(this.voters[0], "a founder");
    const state = foundingState({
      group: groupIdOf(deployment, 1, founder),
      deployment,
      epoch: 1,
      founder,
      spec,
      templateHash: mainContainer(spec.template).image,
      voters: this.voters,
      requestId: "founding",
      atMs: 0,
    });
    for (const node of this.nodes) if (this.voters.includes(node.id)) this.#join(node, state);
    this.elect();
  }

  #join(node: Node, state: ReturnType<typeof foundingState> | undefined): void {
    node.machine = new CohortMachine(
      { self: node.id, policy: createSpreadPolicy(createRng(this.rng.int(1e9))), wallOffsetMs: 0 },
      defaultCohortOptions,
      state === undefined ? undefined : decodeState(encodeState(state)),
    );
    this.feed(node, this.members());
    this.feed(node, this.config());
  }

  at(delay: number, run: () => void): void {
    this.#queue.push({ at: this.now + delay, order: this.#order++, run });
  }

  /** Delivers between nodes: late, twice or never while there are faults; never to a node without power. */
  send(from: Node, to: Node, run: () => void): void {
    const copies = this.hasFaults && this.rng.next() < 0.1 ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (this.hasFaults && this.rng.next() < 0.1) continue;
      const delay = this.hasFaults && this.rng.next() < 0.1 ? this.rng.int(3000) : 1 + this.rng.int(5);
      const { life } = from;
      this.at(delay, () => {
        if (to.isUp && from.life === life) run();
      });
    }
  }

  run(untilMs: number): void {
    while (this.#queue.length > 0) {
      let best = 0;
      for (let index = 1; index < this.#queue.length; index++) {
        const a = defined(this.#queue[index], "an event");
        const b = defined(this.#queue[best], "an event");
        if (a.at < b.at || (a.at === b.at && a.order < b.order)) best = index;
      }
      const next = defined(this.#queue[best], "an event");
      if (next.at > untilMs) break;
      this.#queue.splice(best, 1);
      this.now = next.at;
      next.run();
    }
    this.now = untilMs;
  }

  members(): CohortInput {
    const of = (isUp: boolean) =>
      this.nodes
        .filter((node) => (node.isUp && !node.isMisjudged) === isUp)
        .map((node) => ({
          id: node.id,
          name: `n${node.id.slice(0, 1)}`,
          free: { cpuMillis: 1000, memoryBytes: 1024 * mebibyte },
        }));
    return { kind: "members", alive: of(true), suspect: [], dead: of(false) };
  }

  config(): CohortInput {
    return { kind: "config", voters: this.voters, learners: this.learners, joint: false };
  }

  tellAll(input: CohortInput): void {
    for (const node of this.nodes) if (node.isUp) this.feed(node, input);
  }

  /** A new term with a leader among the live voters that has everything committed; none without a quorum. */
  elect(): void {
    const live = this.nodes.filter((node) => node.isUp && this.voters.includes(node.id));
    this.#term += 1;
    const term = this.#term;
    const leader = live.length > this.voters.length / 2 ? live[this.rng.int(live.length)] : undefined;
    this.#leader = leader;
    for (const node of this.nodes) {
      if (!node.isUp || node.machine === undefined) continue;
      if (node === leader) this.feed(node, { kind: "role", role: "steward", term });
      else
        this.at(this.rng.int(50), () => {
          if (this.#term === term) this.feed(node, { kind: "role", role: "follower", term });
        });
    }
  }

  get leader(): Node | undefined {
    return this.#leader;
  }

  feed(node: Node, input: CohortInput): void {
    if (!node.isUp || node.machine === undefined) return;
    const effects = node.machine.step(input, this.now);
    this.effects += effects.length;
    for (const effect of effects) {
      this.trace.push(`${this.now} ${node.id.slice(0, 1)} ${effect.kind}`);
      this.#carryOut(node, effect);
    }
    const deadline = node.machine.deadline();
    node.timer += 1;
    const { timer, life } = node;
    if (deadline !== undefined)
      this.at(Math.max(0, deadline - this.now), () => {
        if (node.timer === timer && node.life === life) this.feed(node, { kind: "timeout" });
      });
  }

  #carryOut(from: Node, effect: CohortEffect): void {
    switch (effect.kind) {
      case "propose":
        return this.#propose(from, effect.proposal, effect.command);
      case "propose-conf-change":
        return this.at(20, () => this.#changeVoters(from, effect.change));
      case "reply":
        this.#openReplies.delete(effect.requestId);
        this.replies.set(effect.requestId, effect.outcome.ok);
        return;
      case "retire":
        this.retired += 1;
        return;
      case "event":
      case "publish-charter":
        return;
      default:
        return this.#deliver(from, this.node(effect.to), effect);
    }
  }

  node(id: NodeId): Node {
    return defined(
      this.nodes.find((node) => node.id === id),
      `node ${id}`,
    );
  }

  #deliver(from: Node, to: Node, effect: Extract<CohortEffect, { readonly to: NodeId }>): void {
    const answer = (input: CohortInput): void => this.send(to, from, () => this.feed(from, input));
    this.send(from, to, () => {
      switch (effect.kind) {
        case "call":
          return answer({
            kind: "call-answer",
            callId: effect.callId,
            node: to.id,
            answer: quote(this.#summary(to), effect.request, true),
          });
        case "award":
          return answer({
            kind: "award-answer",
            node: to.id,
            results: effect.promises.map((terms) => this.#admit(to, terms)),
          });
        case "release": {
          const known = effect.promises.filter((id) => to.book.has(id));
          for (const id of effect.promises) this.#release(to, id);
          return answer({
            kind: "release-answer",
            node: to.id,
            accepted: known,
            unknown: effect.promises.filter((id) => !known.includes(id)),
          });
        }
        case "inquire":
          return answer({
            kind: "report",
            node: to.id,
            reports: [...to.book.values()].map((kept) => this.#reportOf(kept)),
            inquiry: effect.inquiry,
          });
        case "ack-report":
          for (const { promise, seq } of effect.acked) {
            const kept = to.book.get(promise);
            if (kept === undefined) continue;
            kept.ackedSeq = Math.max(kept.ackedSeq, seq);
            if (kept.phase === "stopped" && seq >= kept.seq) {
              to.book.delete(promise);
              to.tombstones.add(promise);
            }
          }
          for (const id of effect.unknown) this.#release(to, id);
      }
    });
  }

  #summary(node: Node): BookSummary {
    const lines = [...node.book.values()]
      .filter((kept) => kept.phase !== "stopped")
      .map(({ terms }) => ({
        promise: terms.id,
        deployment,
        holder: "shop/web",
        epoch: 1,
        resources: requestOf(terms.template),
        ports: portsOf(terms.template),
      }));
    const capacity = { cpuMillis: 2000, memoryBytes: 1024 * mebibyte };
    return { node: node.id, capacity, lines, takenPorts: [], isStopping: false, released: node.tombstones };
  }

  #admit(node: Node, terms: PromiseTerms) {
    const refusal = admit(this.#summary(node), terms);
    if (refusal !== undefined) return { promise: terms.id, refusal };
    if (!node.book.has(terms.id)) {
      node.book.set(terms.id, { terms, phase: "admitted", seq: 0, ackedSeq: 0, isReleased: false });
      this.#progress(node, terms.id, "starting");
    }
    return { promise: terms.id };
  }

  #progress(node: Node, id: PromiseId, phase: InstancePhase): void {
    const { life } = node;
    this.at(10 + this.rng.int(80), () => {
      const kept = node.book.get(id);
      if (kept === undefined || node.life !== life) return;
      if (kept.isReleased !== (phase === "stopped")) return;
      kept.phase = phase;
      kept.seq += 1;
      this.#report(node, kept);
      if (phase === "starting") this.#progress(node, id, "running");
    });
  }

  #reportOf(kept: Kept) {
    const said = { phase: kept.phase, ready: kept.phase === "running", restarts: 0, containers: [] };
    return { promise: kept.terms.id, seq: kept.seq, ...said, sinceMs: this.now };
  }

  /** To all members, again every second until acknowledged. */
  #report(node: Node, kept: Kept): void {
    if (kept.ackedSeq >= kept.seq || node.book.get(kept.terms.id) !== kept) return;
    for (const to of this.nodes)
      if (to.machine !== undefined) {
        const reports = [this.#reportOf(kept)];
        this.send(node, to, () => this.feed(to, { kind: "report", node: node.id, reports }));
      }
    const { life } = node;
    const { seq } = kept;
    this.at(1000, () => {
      if (node.life === life && kept.seq === seq) this.#report(node, kept);
    });
  }

  #release(node: Node, id: PromiseId): void {
    const kept = node.book.get(id);
    node.tombstones.add(id);
    if (kept === undefined || kept.isReleased) return;
    kept.isReleased = true;
    this.#progress(node, id, "stopped");
  }

  #propose(from: Node, proposal: number, command: CohortCommand): void {
    const term = this.#term;
    if (this.#leader !== from || (this.hasFaults && this.rng.next() < 0.05)) {
      this.at(1, () => this.feed(from, { kind: "dropped", proposal, reason: "busy" }));
      return;
    }
    // In order: a delay that is the same for all proposals keeps the queue's order.
    this.at(4, () => {
      if (this.#leader !== from || this.#term !== term || !from.isUp) return;
      this.#log.push({ term, command: structuredClone(command) });
      this.#applyAt(from);
      for (const node of this.nodes)
        if (node !== from) this.at(1 + this.rng.int(30), () => this.#applyAt(node));
    });
  }

  /** Gives the node everything committed that it has not applied; a new member gets a snapshot first. */
  #applyAt(node: Node): void {
    if (!node.isUp || node.machine === undefined) return;
    if (node.machine.state === undefined) {
      const source = this.nodes.find(
        (other) => other.machine?.state !== undefined && other.applied === this.#log.length,
      );
      const state = source?.machine?.state;
      if (state === undefined) return;
      node.applied = this.#log.length;
      this.feed(node, { kind: "restored", state: decodeState(encodeState(state)) });
    }
    while (node.applied < this.#log.length) {
      const entry = defined(this.#log[node.applied], "an entry");
      node.applied += 1;
      this.feed(node, { kind: "committed", index: node.applied + 1, ...entry });
      this.#checkState(node);
    }
  }

  /** H1 and H2 at every index on every member. */
  #checkState(node: Node): void {
    const state = defined(node.machine?.state, "a state");
    if (state.index !== node.applied + 1) return;
    const slots = new Set<number>();
    for (const promise of state.promises.values()) {
      if (!isOccupying(promise)) continue;
      if (slots.has(promise.replica)) throw new Error(`slot ${promise.replica} is promised twice`);
      slots.add(promise.replica);
    }
    const encoded = JSON.stringify(encodeState(state));
    const other = this.#statesAt.get(state.index);
    if (other !== undefined && other !== encoded) throw new Error(`members differ at ${state.index}`);
    this.#statesAt.set(state.index, encoded);
  }

  #changeVoters(from: Node, change: VoterChange): void {
    if (this.#leader !== from) return;
    const leaves = (id: NodeId): boolean => change.remove.includes(id);
    this.voters = [...this.voters.filter((id) => !leaves(id)), ...change.promote];
    this.learners = [
      ...this.learners.filter((id) => !leaves(id) && !change.promote.includes(id)),
      ...change.addLearners,
    ];
    for (const id of change.remove) this.node(id).machine = undefined;
    for (const id of change.addLearners) {
      const learner = this.node(id);
      learner.applied = 0;
      this.#join(learner, undefined);
      this.#applyAt(learner);
    }
    this.tellAll(this.config());
    for (const id of change.addLearners)
      this.at(30, () => {
        if (this.#leader !== undefined)
          this.feed(this.#leader, { kind: "peer-progress", node: id, caughtUp: true });
      });
  }

  powerOff(node: Node): void {
    if (!node.isUp) return;
    node.isUp = false;
    node.life += 1;
    this.at(300 + this.rng.int(700), () => {
      this.tellAll(this.members());
      if (this.#leader === node) this.elect();
    });
  }

  /** Held for dead for a while though it works. */
  misjudge(node: Node): void {
    node.isMisjudged = true;
    this.tellAll(this.members());
    this.at(500 + this.rng.int(3000), () => {
      node.isMisjudged = false;
      this.tellAll(this.members());
    });
  }

  /** The agent dies and starts again at once; membership does not notice. */
  restartAgent(node: Node): void {
    if (!node.isUp) return;
    node.isUp = false;
    node.life += 1;
    if (this.#leader === node) this.elect();
    this.powerOn(node);
  }

  powerOn(node: Node): void {
    if (node.isUp) return;
    node.isUp = true;
    if (node.machine !== undefined && !this.voters.includes(node.id) && !this.learners.includes(node.id))
      node.machine = undefined;
    const state = node.machine?.state;
    if (node.machine !== undefined) this.#join(node, state);
    for (const kept of node.book.values()) {
      kept.ackedSeq = -1;
      if (kept.isReleased && kept.phase !== "stopped") this.#progress(node, kept.terms.id, "stopped");
      else if (!kept.isReleased) this.#progress(node, kept.terms.id, "starting");
      else this.#report(node, kept);
    }
    this.at(100, () => {
      this.tellAll(this.members());
      this.#applyAt(node);
      if (this.#leader === undefined || !this.#leader.isUp) this.elect();
      else if (this.#leader !== node) this.feed(node, { kind: "role", role: "follower", term: this.#term });
      for (const id of this.learners)
        if (this.#leader !== undefined)
          this.feed(this.#leader, { kind: "peer-progress", node: id, caughtUp: true });
    });
  }

  /** Asks whoever leads until there is an answer, always with the same request id. */
  request(requestId: string, change: UserChange): void {
    this.#openReplies.add(requestId);
    this.#ask(requestId, change);
  }

  #ask(requestId: string, change: UserChange): void {
    if (this.replies.get(requestId) === true) return;
    if (this.#leader !== undefined) this.feed(this.#leader, { kind: "request", requestId, change });
    this.at(500, () => this.#ask(requestId, change));
  }

  /** The promises that run somewhere with power, by slot. */
  running(): Map<number, Kept[]> {
    const bySlot = new Map<number, Kept[]>();
    for (const node of this.nodes) {
      if (!node.isUp) continue;
      for (const kept of node.book.values())
        if (kept.phase !== "stopped")
          bySlot.set(kept.terms.replica, [...(bySlot.get(kept.terms.replica) ?? []), kept]);
    }
    return bySlot;
  }
}

function expectWhole(world: World, replicas: number, image: string, seed: number): void {
  const running = world.running();
  const slots = [...running]
    .sort(([a], [b]) => a - b)
    .map(([slot, kept]) => ({
      slot,
      kept: kept.map(({ phase, terms }) => `${phase} ${mainContainer(terms.template).image}`),
    }));
  const wanted = Array.from({ length: replicas }, (_, slot) => ({ slot, kept: [`running ${image}`] }));
  expect({ seed, slots }).toEqual({ seed, slots: wanted });
}

interface Story {
  readonly world: World;
  readonly replicas: number;
  readonly image: string;
}

/**
 * Half a minute of faults and changes of mind; then everything heals but perhaps one node. With a
 * published port a node holds one replica at most, so there may be more replicas than places.
 */
function troubled(seed: number, hasPort = false): Story {
  const rng = createRng(seed * 7919);
  const nodeCount = 3 + rng.int(4);
  let replicas = 1 + rng.int(6);
  let version = 1;
  const world = new World(seed, nodeCount, specOf(replicas, version, hasPort));
  for (let round = 0; round < 12; round++) {
    const node = defined(world.nodes[rng.int(nodeCount)], "a node");
    const dice = rng.int(8);
    if (dice <= 1) {
      const live = world.nodes.filter((other) => other.isUp && world.voters.includes(other.id));
      // Losing a majority is for re-founding, which is not this machine's.
      if (!world.voters.includes(node.id) || live.length > (world.voters.length + 1) / 2)
        world.powerOff(node);
    } else if (dice === 2) world.powerOn(node);
    else if (dice === 3) world.elect();
    else if (dice === 6) world.misjudge(node);
    else if (dice === 7) world.restartAgent(node);
    else {
      if (dice === 4) version += 1;
      replicas = 1 + rng.int(6);
      const spec = specOf(replicas, version, hasPort);
      world.request(`r${round}`, {
        kind: "declare",
        spec,
        templateHash: mainContainer(spec.template).image,
        createOnly: false,
      });
      // The next change of mind waits for this answer, so that "the newest" has a meaning.
      for (let wait = 0; world.replies.get(`r${round}`) !== true; wait++) {
        world.run(world.now + 250);
        if (wait % 20 === 19) world.elect();
        if (wait === 20) world.nodes.forEach((other) => world.powerOn(other));
        if (wait > 400) throw new Error(`seed ${seed}: request r${round} is never answered`);
      }
    }
    world.run(world.now + rng.int(2500));
  }
  world.hasFaults = false;
  const gone = rng.int(3) === 0 ? rng.int(nodeCount) : -1;
  world.nodes.forEach((node, index) => {
    if (index !== gone || nodeCount < 4) world.powerOn(node);
  });
  // A place that is lost for good while an update has its slot empty stops the update, and rightly so.
  world.run(world.now + (hasPort ? 60_000 : 200));
  if (gone >= 0 && nodeCount >= 4) world.powerOff(defined(world.nodes[gone], "a node"));
  world.run(world.now + 90_000);
  return { world, replicas, image: `web:${version}` };
}

const seeds = Number(process.env["COHORT_SEEDS"] ?? 200);

describe("a cohort under faults", () => {
  test("in the end everything wanted runs exactly once, and then nothing happens any more", () => {
    for (let seed = 1; seed <= seeds; seed++) {
      const { world, replicas, image } = troubled(seed);
      expectWhole(world, replicas, image, seed);
      const { effects } = world;
      world.run(world.now + 120_000);
      expect({ seed, effects: world.effects }).toEqual({ seed, effects });
      for (const node of world.nodes)
        if (node.isUp)
          expect({ seed, deadline: node.machine?.deadline() }).toEqual({ seed, deadline: undefined });
    }
  }, 120_000);

  test("with fewer places than replicas every place is taken, by the wanted template, and that is said", () => {
    for (let seed = 1; seed <= seeds; seed++) {
      const { world, replicas, image } = troubled(seed, true);
      const places = world.nodes.filter((node) => node.isUp).length;
      const running = [...world.running().values()];
      const wanted = `running ${image}`;
      const found = running.map((kept) =>
        kept.map(({ phase, terms }) => `${phase} ${mainContainer(terms.template).image}`).join(),
      );
      expect({ seed, found }).toEqual({
        seed,
        found: Array.from({ length: Math.min(places, replicas) }, () => wanted),
      });
      const reasons = world.leader?.machine?.state?.unplaced.reasons.length;
      expect({ seed, isSaid: reasons !== 0 }).toEqual({ seed, isSaid: places < replicas });
    }
  }, 120_000);

  test("the same seed gives the same trace", () => {
    expect(troubled(17).world.trace).toEqual(troubled(17).world.trace);
  });
});

describe("a cohort without faults", () => {
  function calm(nodeCount: number, replicas: number): World {
    const world = new World(5, nodeCount, specOf(replicas, 1));
    world.hasFaults = false;
    world.run(3000);
    return world;
  }

  test("a dead node's replicas run elsewhere half a second after membership says so", () => {
    const world = calm(3, 3);
    expectWhole(world, 3, "web:1", 5);
    const victim = defined(
      world.nodes.find((node) => node !== world.leader),
      "a node",
    );
    world.powerOff(victim);
    world.run(world.now + 1500);
    expectWhole(world, 3, "web:1", 5);
  });

  test("delete leaves nothing and retires every member", () => {
    const world = calm(3, 4);
    world.request("gone", { kind: "delete" });
    world.run(world.now + 2000);
    expect(world.running().size).toBe(0);
    world.run(world.now + 61_000);
    expect(world.retired).toBe(3);
  });

  test("the number of voters follows the fleet: one of two, then three", () => {
    const world = calm(2, 1);
    expect(world.voters.length).toBe(1);
    expect(world.learners.length).toBe(1);
    expect(calm(3, 1).voters.length).toBe(3);
    expect(calm(6, 6).voters.length).toBe(5);
    expect(calm(6, 2).voters.length).toBe(3);
  });
});
