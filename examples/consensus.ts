/**
 * The smallest complete driver of the consensus core: three members in one process that agree on a list of
 * words, in virtual time. Run it with `bun examples/consensus.ts`.
 *
 * A real driver differs in where things go: `send` to a transport, `persist` to a disk, time from a clock.
 */
import { bootstrapState } from "../src/core/consensus/bootstrap.ts";
import { ConsensusMachine, defaultConsensusOptions } from "../src/core/consensus/consensus-machine.ts";
import type { ConsensusEffect, ConsensusInput } from "../src/core/consensus/effect.ts";
import type { StoredState } from "../src/core/consensus/entry-log.ts";
import { storedAfter } from "../src/core/consensus/stored-state.ts";
import { createRng } from "../src/core/rng.ts";

const founders = ["ann", "bob", "cyd"];

class Member {
  readonly words: string[] = [];
  readonly machine: ConsensusMachine;
  readonly #world: World;
  #stored: StoredState;

  constructor(id: string, seed: number, world: World) {
    this.#world = world;
    this.#stored = bootstrapState(founders, new Uint8Array(0));
    this.machine = new ConsensusMachine(
      { ...defaultConsensusOptions, id },
      this.#stored,
      createRng(seed),
      world.now,
    );
  }

  step(input: ConsensusInput): void {
    for (const effect of this.machine.step(input, this.#world.now)) this.#carryOut(effect);
  }

  /** In the order given, and nothing behind a `persist` before it is durable: here it is at once. */
  #carryOut(effect: ConsensusEffect): void {
    switch (effect.kind) {
      case "send":
        for (const message of effect.messages) {
          this.#world.post(message.to, { kind: "message", from: message.from, message });
        }
        return;
      case "persist":
        this.#stored = storedAfter(this.#stored, effect);
        this.#world.post(this.machine.status().id, { kind: "persisted", upTo: effect.sequence });
        return;
      case "apply":
        for (const entry of effect.entries) {
          // Each leader opens its term with an empty entry.
          if (entry.kind === "normal" && entry.data.length > 0)
            this.words.push(new TextDecoder().decode(entry.data));
        }
        return;
      case "proposal-dropped":
        throw new Error(`not proposed (${effect.reason}); the leader is ${effect.leader ?? "unknown"}`);
      default:
        return;
    }
  }
}

/** A clock, a network and a switch for each machine. */
class World {
  now = 0;
  readonly #members = new Map<string, Member>();
  readonly #inbox: { to: string; input: ConsensusInput }[] = [];

  constructor() {
    founders.forEach((id, seed) => this.#members.set(id, new Member(id, seed, this)));
  }

  get members(): Member[] {
    return [...this.#members.values()];
  }

  get leader(): Member | undefined {
    return this.members.find((member) => member.machine.status().role === "leader");
  }

  post(to: string, input: ConsensusInput): void {
    this.#inbox.push({ to, input });
  }

  switchOff(member: Member): void {
    this.#members.delete(member.machine.status().id);
  }

  /** Handles everything that is waiting, else jumps to the next deadline. */
  runUntil(isDone: () => boolean): void {
    while (!isDone()) {
      const next = this.#inbox.shift();
      if (next !== undefined) {
        this.#members.get(next.to)?.step(next.input);
        continue;
      }
      const deadline = (member: Member): number => member.machine.deadline() ?? Number.POSITIVE_INFINITY;
      this.now = Math.max(this.now, Math.min(...this.members.map(deadline)));
      for (const member of this.members) if (deadline(member) <= this.now) member.step({ kind: "timeout" });
    }
  }
}

/** Elects, writes, loses the leader, elects and writes again; returns what the survivors hold. */
export function runExample(print: (line: string) => void): string[][] {
  const world = new World();
  const write = (word: string): void => {
    world.runUntil(() => world.leader !== undefined);
    const { id, term } = world.leader?.machine.status() ?? { id: "nobody", term: 0 };
    print(`${world.now} ms: ${id} leads term ${term} and proposes "${word}"`);
    world.leader?.step({ kind: "propose", data: new TextEncoder().encode(word) });
    world.runUntil(() => world.members.every((member) => member.words.includes(word)));
  };
  write("hello");
  if (world.leader !== undefined) world.switchOff(world.leader);
  print(`${world.now} ms: the leader is switched off`);
  write("world");
  for (const member of world.members) print(`${member.machine.status().id} holds ${member.words.join(" ")}`);
  return world.members.map((member) => member.words);
}

if (import.meta.main) runExample(console.log);
