/** A seeded storm over a small fleet: users' requests and every fault there is, then calm and a look. */
import { createRng, type Rng } from "../../src/core/rng.ts";
import type { Outcome } from "../../src/model/outcome.ts";
import type { Problem } from "../../src/model/problem.ts";
import type { DeploymentSpec } from "../../src/model/spec.ts";
import type { WriteAnswer } from "../../src/node/node-api.ts";
import { activity, difference } from "../checkers/convergence.ts";
import { SafetyChecker } from "../checkers/safety.ts";
import { lanLink, World } from "../world/world.ts";
import { Intent, type Wanted } from "./intent.ts";

export interface StormOptions {
  readonly seed: number;
  readonly trace?: (line: string) => void;
}

export interface StormResult {
  readonly seed: number;
  readonly nodes: number;
  readonly problems: readonly string[];
  readonly traceHash: string;
  readonly virtualMs: number;
  readonly acknowledged: number;
  readonly refused: number;
  readonly faults: number;
  readonly convergedMs: number;
}

const stormMs = 25_000;
const convergeMs = 90_000;
const calmMs = 15_000;
const stepMs = 250;

export async function storm(options: StormOptions): Promise<StormResult> {
  const rng = createRng(options.seed);
  const world = new World({
    seed: options.seed,
    nodes: 3 + rng.int(5),
    link: lanLink,
    runtimeFailures: rng.int(3) === 0 ? 0.05 : 0,
    ...(options.trace === undefined ? {} : { trace: options.trace }),
  });
  const run = new Storm(world, rng);
  try {
    return await run.play(options.seed);
  } finally {
    await world.close();
  }
}

class Storm {
  readonly #world: World;
  readonly #rng: Rng;
  readonly #safety: SafetyChecker;
  readonly #intents = [new Intent("web"), new Intent("shop")];
  #acknowledged = 0;
  #refused = 0;
  #faults = 0;
  #requests = 0;
  #pending = 0;

  constructor(world: World, rng: Rng) {
    this.#world = world;
    this.#rng = rng;
    this.#safety = new SafetyChecker(world);
  }

  async play(seed: number): Promise<StormResult> {
    const world = this.#world;
    const problems: string[] = [];
    await world.boot();
    for (let at = 0; at < stormMs; at += stepMs) {
      await this.#act();
      await world.run(stepMs);
      this.#safety.check();
    }
    await this.#calm();
    const from = world.clock.now();
    const isWhole = await world.until(
      () => {
        this.#safety.check();
        return this.#pending === 0 && difference(world, this.#intents) === undefined;
      },
      convergeMs,
      stepMs,
    );
    const convergedMs = world.clock.now() - from;
    if (!isWhole) problems.push(`not converged: ${difference(world, this.#intents) ?? "requests hang"}`);
    else await this.#watchCalm(problems);
    problems.push(...this.#safety.violations, ...world.failures);
    return {
      seed,
      nodes: world.nodes.length,
      problems,
      traceHash: world.traceHash,
      virtualMs: world.clock.now(),
      acknowledged: this.#acknowledged,
      refused: this.#refused,
      faults: this.#faults,
      convergedMs,
    };
  }

  /** After convergence leftovers are settled in peace; then nothing may move. */
  async #watchCalm(problems: string[]): Promise<void> {
    const world = this.#world;
    await world.run(calmMs);
    const before = activity(world);
    await world.run(calmMs);
    this.#safety.check();
    const gone = difference(world, this.#intents);
    if (gone !== undefined) problems.push(`fell apart after convergence: ${gone}`);
    if (activity(world) !== before)
      problems.push(`something still moves after convergence:\n${changes(before, activity(world))}`);
  }

  async #act(): Promise<void> {
    const roll = this.#rng.int(100);
    if (roll < 14) this.#request();
    else if (roll < 18) this.#powerOff();
    else if (roll < 22) this.#killAgent();
    else if (roll < 36) await this.#bringBack();
    else if (roll < 41) this.#cut();
    else if (roll < 50) this.#healAll();
    else if (roll < 54) this.#crashContainer();
    else if (roll < 58) this.#weather();
  }

  #request(): void {
    const node = this.#pick(this.#world.live);
    const intent = this.#intents[this.#rng.int(this.#intents.length)];
    const agent = node?.agent;
    if (agent === undefined || intent === undefined) return;
    const requestId = `r${++this.#requests}`;
    const key = { namespace: "default", name: intent.name };
    const kind = this.#rng.int(10);
    const replicas = 1 + this.#rng.int(6);
    const wanted: Wanted =
      kind === 0 && intent.exists
        ? { replicas: 0, version: intent.certain.version }
        : { replicas, version: kind < 4 ? this.#rng.int(3) : intent.certain.version };
    // Until it is answered anything may have come of it.
    intent.perhaps(wanted);
    const answer =
      wanted.replicas === 0
        ? agent.delete(key, { requestId })
        : agent.declare(specOf(intent.name, wanted), { requestId, createOnly: false });
    this.#world.trace(`request ${requestId} ${node?.name} ${intent.name} ${JSON.stringify(wanted)}`);
    this.#pending += 1;
    const life = node?.life;
    void this.#answered(answer, intent, wanted, requestId, () => life?.isOver === true);
  }

  async #answered(
    answer: Promise<Outcome<WriteAnswer, Problem>>,
    intent: Intent,
    wanted: Wanted,
    requestId: string,
    isLost: () => boolean,
  ): Promise<void> {
    let isCounted = true;
    const giveUp = this.#world.clock.at(this.#world.clock.now() + 20_000, () => {
      isCounted = false;
      this.#pending -= 1;
      if (!isLost()) this.#world.failures.push(`request ${requestId} was never answered`);
    });
    const outcome = await answer;
    giveUp();
    if (!isCounted) return;
    this.#pending -= 1;
    this.#world.trace(
      `answer ${requestId} ${outcome.ok ? `ok @${outcome.value.index}` : outcome.error.code}`,
    );
    if (outcome.ok) {
      this.#acknowledged += 1;
      intent.acknowledged(wanted);
    } else {
      this.#refused += 1;
    }
  }

  #powerOff(): void {
    const node = this.#pick(this.#world.nodes.filter(({ isPowered }) => isPowered));
    if (node === undefined) return;
    this.#faults += 1;
    this.#world.powerOff(node);
  }

  #killAgent(): void {
    const node = this.#pick(this.#world.live);
    if (node === undefined) return;
    this.#faults += 1;
    this.#world.killAgent(node);
  }

  async #bringBack(): Promise<void> {
    const node = this.#pick(this.#world.nodes.filter(({ agent }) => agent === undefined));
    if (node !== undefined) await this.#world.startAgent(node);
  }

  #cut(): void {
    const { nodes, net } = this.#world;
    const one = this.#pick(nodes);
    const other = this.#pick(nodes);
    if (one === undefined || other === undefined || one === other) return;
    this.#faults += 1;
    this.#world.trace(`cut ${one.name} ${other.name}`);
    const kind = this.#rng.int(3);
    if (kind === 0) net.cutOneWay(one.id, other.id);
    else if (kind === 1) net.cut(one.id, other.id);
    else for (const node of nodes) if (node !== one) net.cut(one.id, node.id);
  }

  #healAll(): void {
    this.#world.trace("heal");
    this.#world.net.healAll();
  }

  #crashContainer(): void {
    const running = this.#pick(this.#world.running());
    if (running === undefined) return;
    this.#faults += 1;
    const container = running.node.machine
      .all()
      .find(({ spec }) => spec.labels["muster.promise"] === running.promise);
    if (container === undefined) return;
    this.#world.trace(`crash ${container.spec.id}`);
    running.node.machine.end(container.spec.id, 1);
  }

  #weather(): void {
    const isBad = this.#rng.int(2) === 0;
    this.#world.trace(`weather ${isBad}`);
    this.#world.net.link = isBad
      ? { latencyMs: 1, jitterMs: 30, loss: 0.1, duplication: 0.05, reordering: 0.2, reorderingMs: 60 }
      : lanLink;
  }

  async #calm(): Promise<void> {
    const world = this.#world;
    world.trace("calm");
    world.net.healAll();
    world.net.link = lanLink;
    for (const node of world.nodes) if (node.agent === undefined) await world.startAgent(node);
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[this.#rng.int(Math.max(1, items.length))];
  }
}

function specOf(name: string, { replicas, version }: Wanted): DeploymentSpec {
  return {
    namespace: "default",
    name,
    replicas,
    template: {
      image: "web",
      env: { VERSION: String(version) },
      resources: { cpuMillis: 100, memoryBytes: 16 * 1024 * 1024 },
      ports: [],
      restart: "always",
      stopTimeoutMs: 1_000,
    },
  };
}

function changes(before: string, after: string): string {
  const old = new Set(before.split("\n"));
  const now = new Set(after.split("\n"));
  const gone = [...old].filter((line) => !now.has(line)).map((line) => `- ${line}`);
  const come = [...now].filter((line) => !old.has(line)).map((line) => `+ ${line}`);
  return [...gone, ...come].slice(0, 20).join("\n");
}
