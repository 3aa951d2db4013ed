/** Everything that happens to machines, networks and disks. */
import type { Rng } from "../../src/core/rng.ts";
import type { WriteLedger } from "../checkers/writes.ts";
import { lanLink, type SimulatedNode, type World } from "../world/world.ts";
import type { Profile, Weights } from "./profile.ts";

const badWeather = {
  latencyMs: 1,
  jitterMs: 30,
  loss: 0.1,
  duplication: 0.05,
  reordering: 0.2,
  reorderingMs: 60,
};
/** Between two machines that go for good the cohorts have this long to replace the first. */
const restoreMs = 6_000;
/** With nothing else wrong, every guardian answers in time. */
const harmless: ReadonlySet<keyof Weights> = new Set(["crashContainer", "skewClock", "join"]);
const hourMs = 3_600_000;

export class Faults {
  readonly #world: World;
  readonly #rng: Rng;
  readonly #profile: Profile;
  readonly #ledger: WriteLedger;
  #hasCuts = false;
  #lastLossAt = 0;
  count = 0;

  constructor(
    parts: { readonly world: World; readonly rng: Rng; readonly ledger: WriteLedger },
    profile: Profile,
  ) {
    this.#world = parts.world;
    this.#rng = parts.rng;
    this.#ledger = parts.ledger;
    this.#profile = profile;
  }

  async act(kind: Exclude<keyof Weights, "request">): Promise<void> {
    if (!(await this.#carryOut(kind))) return;
    this.count += 1;
    if (!harmless.has(kind)) this.#ledger.canTie = true;
  }

  /** All machines that are not gone for good are on, connected and healthy. */
  async end(): Promise<void> {
    const world = this.#world;
    world.trace("calm");
    this.#healAll();
    world.net.link = lanLink;
    for (const node of world.nodes) {
      node.disk.isFull = false;
      node.syncMs = [0.3, 1.3];
      if (node.agent === undefined && !node.isGone) await world.startAgent(node);
    }
  }

  /** True when it is a fault and could be done. */
  async #carryOut(kind: Exclude<keyof Weights, "request">): Promise<boolean> {
    const world = this.#world;
    const live = this.#pick(world.live);
    switch (kind) {
      case "powerOff": {
        const node = this.#pick(world.nodes.filter(({ isPowered }) => isPowered));
        if (node !== undefined) world.powerOff(node);
        return node !== undefined;
      }
      case "killAgent":
        if (live !== undefined) world.killAgent(live);
        return live !== undefined;
      case "bringBack":
        await this.#bringBack();
        return false;
      case "cut":
        return this.#cut();
      case "heal":
        world.trace("heal");
        this.#healAll();
        return false;
      case "crashContainer":
        return this.#crashContainer();
      case "weather":
        this.#weather();
        return true;
      case "stopAgent":
        if (live !== undefined && !live.life.isStopped) world.stopAgent(live, 1_000 + this.#rng.int(7_000));
        return live !== undefined;
      case "fillDisk":
        return this.#fillDisk();
      case "slowDisk":
        return this.#slowDisk();
      case "skewClock":
        return this.#skewClock();
      case "join":
        if (world.nodes.filter(({ isGone }) => !isGone).length < this.#profile.nodesMax)
          await world.startAgent(world.addNode());
        return false;
      case "leave":
      case "destroy":
        return this.#loseForGood(kind);
    }
  }

  async #bringBack(): Promise<void> {
    const node = this.#pick(this.#world.nodes.filter(({ agent, isGone }) => agent === undefined && !isGone));
    if (node !== undefined) await this.#world.startAgent(node);
  }

  #cut(): boolean {
    const { nodes, net } = this.#world;
    const one = this.#pick(nodes);
    const other = this.#pick(nodes);
    const kind = this.#rng.int(4);
    if (one === undefined || other === undefined || one === other) return false;
    this.#hasCuts = true;
    this.#world.trace(`cut ${["one way", "both ways", "isolate", "halves"][kind]} ${one.name} ${other.name}`);
    if (kind === 0) net.cutOneWay(one.id, other.id);
    else if (kind === 1) net.cut(one.id, other.id);
    else if (kind === 2) for (const node of nodes) if (node !== one) net.cut(one.id, node.id);
    if (kind !== 3) return true;
    const isHere = new Set(nodes.filter(() => this.#rng.int(2) === 0));
    for (const a of isHere) for (const b of nodes) if (!isHere.has(b)) net.cut(a.id, b.id);
    return true;
  }

  #healAll(): void {
    this.#hasCuts = false;
    this.#world.net.healAll();
  }

  #crashContainer(): boolean {
    const running = this.#pick(this.#world.running());
    const container = running?.node.machine
      .all()
      .find(
        ({ spec, status }) => status.phase === "running" && spec.labels["muster.promise"] === running.promise,
      );
    if (running === undefined || container === undefined) return false;
    this.#world.trace(`crash ${container.spec.id}`);
    running.node.machine.end(container.spec.id, 1);
    return true;
  }

  #weather(): void {
    const isBad = this.#rng.int(2) === 0;
    this.#world.trace(`weather ${isBad ? "bad" : "good"}`);
    this.#world.net.link = isBad ? badWeather : lanLink;
  }

  #fillDisk(): boolean {
    const node = this.#pick(this.#world.live);
    if (node === undefined) return false;
    const forMs = 1_000 + this.#rng.int(4_000);
    this.#world.trace(`disk of ${node.name} full for ${forMs}`);
    node.disk.isFull = true;
    const { clock } = this.#world;
    clock.at(clock.now() + forMs, () => (node.disk.isFull = false));
    return true;
  }

  #slowDisk(): boolean {
    const node = this.#pick(this.#world.live);
    if (node === undefined) return false;
    node.syncMs = this.#rng.int(2) === 0 ? [20, 200] : [0.3, 1.3];
    this.#world.trace(`disk of ${node.name} takes ${node.syncMs.join(" to ")} ms`);
    return true;
  }

  #skewClock(): boolean {
    const node = this.#pick(this.#world.nodes);
    if (node === undefined) return false;
    node.skewMs = this.#rng.int(2 * hourMs) - hourMs;
    this.#world.trace(`clock of ${node.name} is off by ${node.skewMs}`);
    return true;
  }

  /** Only one at a time, and only while every cohort can replace what it loses. */
  #loseForGood(kind: "leave" | "destroy"): boolean {
    const world = this.#world;
    const staying = world.nodes.filter(({ isGone }) => !isGone);
    const node = this.#pick(staying);
    const now = world.clock.now();
    const isCalm =
      !this.#hasCuts && staying.every(({ agent, life }) => agent !== undefined && !life.isStopped);
    if (node === undefined || !isCalm || staying.length < 4 || now - this.#lastLossAt < restoreMs)
      return false;
    if (!this.#canDoWithout(node)) return false;
    this.#lastLossAt = now;
    if (kind === "leave") world.leave(node);
    else world.destroy(node);
    return true;
  }

  #canDoWithout(node: SimulatedNode): boolean {
    const gone = new Set(this.#world.nodes.filter(({ isGone }) => isGone).map(({ id }) => id));
    const led = new Set<string>();
    for (const other of this.#world.live)
      for (const group of other.agent?.cohorts() ?? []) {
        const { voters } = group.status();
        if (voters.some((id) => gone.has(id)) || voters.length < 3) return false;
        // A voter that has nothing yet is no help when another one goes.
        const holders = this.#world.live.filter(
          ({ id, agent }) =>
            voters.includes(id) &&
            agent?.cohorts().some((own) => own.id === group.id && own.state !== undefined),
        );
        if (holders.length < voters.length) return false;
        if (group.isSteward) led.add(group.id);
      }
    // A cohort without a steward cannot be asked whom it needs.
    return (node.agent?.cohorts() ?? []).every(({ id }) => led.has(id));
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[this.#rng.int(Math.max(1, items.length))];
  }
}
