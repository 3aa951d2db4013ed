/** People at several nodes who declare, scale and delete without asking each other. */
import type { Rng } from "../../src/core/rng.ts";
import type { Outcome } from "../../src/model/outcome.ts";
import { ProblemError, type Problem } from "../../src/model/problem.ts";
import type { Agent } from "../../src/node/agent.ts";
import type { WriteAnswer } from "../../src/node/node-api.ts";
import type { WriteLedger } from "../checkers/writes.ts";
import type { SimulatedNode, World } from "../world/world.ts";
import { templateOf, type Profile } from "./profile.ts";

/** An agent that runs answers within this, whatever the answer is. */
const answerMs = 20_000;

export class Users {
  readonly #world: World;
  readonly #rng: Rng;
  readonly #profile: Profile;
  readonly #ledger: WriteLedger;
  #requests = 0;
  acknowledged = 0;
  refused = 0;
  /** Requests without an answer so far. */
  pending = 0;

  constructor(
    parts: { readonly world: World; readonly rng: Rng; readonly ledger: WriteLedger },
    profile: Profile,
  ) {
    this.#world = parts.world;
    this.#rng = parts.rng;
    this.#ledger = parts.ledger;
    this.#profile = profile;
  }

  act(): void {
    const node = this.#pick(this.#world.live);
    const name = this.#pick(this.#profile.deployments);
    if (node === undefined || name === undefined) return;
    this.#ask(node, name, this.#rng.int(10));
    // Sometimes another user wants something else of the same name at the same moment.
    const other = this.#pick(this.#world.live);
    if (this.#rng.int(6) === 0 && other !== undefined) this.#ask(other, name, this.#rng.int(10));
  }

  #ask(node: SimulatedNode, name: string, kind: number): void {
    const { agent } = node;
    if (agent === undefined) return;
    const requestId = `r${++this.#requests}`;
    const replicas = this.#rng.int(12) === 0 ? 0 : 1 + this.#rng.int(this.#profile.replicasMax);
    const version = kind < 5 ? this.#rng.int(3) : 0;
    const what = kind === 0 ? "delete" : kind < 4 ? `scale ${replicas}` : `declare ${replicas} v${version}`;
    this.#ledger.sent(requestId, name, what);
    this.#world.trace(`request ${requestId} ${node.name} ${name} ${what}`);
    const answer = this.#send(agent, { name, what, replicas, version, requestId, createOnly: kind === 9 });
    void this.#hear(requestId, node, answer);
  }

  async #send(
    agent: Agent,
    wish: {
      readonly name: string;
      readonly what: string;
      readonly replicas: number;
      readonly version: number;
      readonly requestId: string;
      readonly createOnly: boolean;
    },
  ): Promise<Outcome<WriteAnswer, Problem>> {
    const { name, what, replicas, version, requestId, createOnly } = wish;
    const key = { namespace: "default", name };
    if (what === "delete") return agent.delete(key, { requestId });
    if (what.startsWith("scale")) return agent.scale(key, replicas, { requestId });
    return agent.declare(
      { ...key, replicas, template: templateOf(name, version) },
      { requestId, createOnly },
    );
  }

  async #hear(
    requestId: string,
    { life }: SimulatedNode,
    answer: Promise<Outcome<WriteAnswer, Problem>>,
  ): Promise<void> {
    const { clock } = this.#world;
    this.pending += 1;
    let isWaiting = true;
    const giveUp = clock.at(clock.now() + answerMs, () => {
      isWaiting = false;
      this.pending -= 1;
      if (!life.isOver) this.#world.failures.push(`request ${requestId} was never answered`);
    });
    try {
      const outcome = await answer;
      if (!isWaiting) return;
      this.#note(requestId, outcome);
    } catch (error) {
      // A node with a sick disk says so; whether the write was done is not known.
      if (error instanceof ProblemError) this.refused += 1;
      else this.#world.failures.push(`request ${requestId} threw: ${String(error)}`);
    }
    if (!isWaiting) return;
    giveUp();
    this.pending -= 1;
  }

  #note(requestId: string, outcome: Outcome<WriteAnswer, Problem>): void {
    this.#world.trace(
      `answer ${requestId} ${outcome.ok ? `ok @${outcome.value.epoch}.${outcome.value.index}` : outcome.error.code}`,
    );
    if (outcome.ok) {
      this.acknowledged += 1;
      this.#ledger.acknowledged(requestId, outcome.value);
    } else {
      this.refused += 1;
    }
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[this.#rng.int(Math.max(1, items.length))];
  }
}
