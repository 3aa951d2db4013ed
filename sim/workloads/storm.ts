/** A seeded storm over a small fleet: users' requests and every fault there is, then calm and a look. */
import { createRng, type Rng } from "../../src/core/rng.ts";
import { activity, changes, difference } from "../checkers/convergence.ts";
import { QuietChecker } from "../checkers/quiet.ts";
import { SafetyChecker } from "../checkers/safety.ts";
import { WriteLedger } from "../checkers/writes.ts";
import { lanLink, World, type Doubles } from "../world/world.ts";
import { Faults } from "./faults.ts";
import { profileOf, type Profile, type Weights } from "./profile.ts";
import { Users } from "./users.ts";

export interface StormOptions {
  readonly seed: number;
  readonly trace?: (line: string) => void;
  readonly doubles?: Doubles;
  /** Instead of the one the seed decides on. */
  readonly profile?: Partial<Profile>;
}

export interface StormResult {
  readonly seed: number;
  readonly profile: string;
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
/** Twice the longest backoff, and a crash loop's pause. */
const convergeMs = 130_000;
/** The longest pause before what has no place is tried again, and its reasons said anew. */
const settleMs = 34_000;
const calmMs = 15_000;
const stepMs = 250;

export async function storm(options: StormOptions): Promise<StormResult> {
  const rng = createRng(options.seed);
  const profile: Profile = { ...profileOf(rng), ...options.profile };
  const world = new World({
    seed: options.seed,
    nodes: profile.nodes,
    link: lanLink,
    runtimeFailures: profile.runtimeFailures,
    log: profile.log,
    ...(options.doubles === undefined ? {} : { doubles: options.doubles }),
    ...(options.trace === undefined ? {} : { trace: options.trace }),
  });
  try {
    return await new Storm(world, rng, profile).play(options.seed);
  } finally {
    await world.close();
  }
}

class Storm {
  readonly #world: World;
  readonly #rng: Rng;
  readonly #profile: Profile;
  readonly #safety: SafetyChecker;
  readonly #ledger: WriteLedger;
  readonly #users: Users;
  readonly #faults: Faults;

  constructor(world: World, rng: Rng, profile: Profile) {
    this.#world = world;
    this.#rng = rng;
    this.#profile = profile;
    this.#safety = new SafetyChecker(world);
    this.#ledger = new WriteLedger(world);
    this.#users = new Users({ world, rng, ledger: this.#ledger }, profile);
    this.#faults = new Faults({ world, rng, ledger: this.#ledger }, profile);
  }

  async play(seed: number): Promise<StormResult> {
    const world = this.#world;
    const { deployments } = this.#profile;
    const problems: string[] = [];
    await world.boot();
    world.sickness = this.#profile.runtimeFailures;
    for (let at = 0; at < stormMs; at += stepMs) {
      await this.#act();
      await world.run(stepMs);
      this.#look();
    }
    world.sickness = 0;
    await this.#faults.end();
    const from = world.clock.now();
    const isWhole = await world.until(() => this.#isWhole(), convergeMs, stepMs);
    const convergedMs = world.clock.now() - from;
    if (!isWhole)
      problems.push(`not converged: ${difference(world, this.#ledger, deployments) ?? "requests hang"}`);
    else await this.#watchCalm(problems);
    this.#ledger.judge(deployments);
    problems.push(...this.#safety.violations, ...this.#ledger.violations, ...world.failures);
    return {
      seed,
      profile: this.#profile.name,
      nodes: world.nodes.length,
      problems,
      traceHash: world.traceHash,
      virtualMs: world.clock.now(),
      acknowledged: this.#users.acknowledged,
      refused: this.#users.refused,
      faults: this.#faults.count,
      convergedMs,
    };
  }

  #look(): void {
    this.#safety.check();
    this.#ledger.observe();
  }

  #isWhole(): boolean {
    this.#look();
    return (
      this.#users.pending === 0 &&
      difference(this.#world, this.#ledger, this.#profile.deployments) === undefined
    );
  }

  /** After convergence leftovers are settled in peace; then nothing may move and little be said. */
  async #watchCalm(problems: string[]): Promise<void> {
    const world = this.#world;
    await world.run(settleMs);
    const before = activity(world);
    const quiet = new QuietChecker(world);
    await world.run(calmMs);
    this.#look();
    const gone = difference(world, this.#ledger, this.#profile.deployments);
    if (gone !== undefined) problems.push(`fell apart after convergence: ${gone}`);
    const after = activity(world);
    if (after !== before)
      problems.push(`something still moves after convergence:\n${changes(before, after)}`);
    problems.push(...quiet.violations());
  }

  async #act(): Promise<void> {
    let roll = this.#rng.int(100);
    for (const kind of kinds) {
      roll -= this.#profile.weights[kind];
      if (roll >= 0) continue;
      if (kind === "request") this.#users.act();
      else await this.#faults.act(kind);
      return;
    }
  }
}

const kinds = [
  "request",
  "powerOff",
  "killAgent",
  "bringBack",
  "cut",
  "heal",
  "crashContainer",
  "weather",
  "stopAgent",
  "fillDisk",
  "slowDisk",
  "skewClock",
  "join",
  "leave",
  "destroy",
] as const satisfies readonly (keyof Weights)[];
