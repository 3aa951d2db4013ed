/**
 * A fleet in one process under virtual time: the very agent that ships, over memory adapters. One seed
 * decides everything, so it repeats a run to the last event.
 */
import { createHash } from "node:crypto";
import { MemoryFabric, MemoryNetwork as MachineNetwork } from "../../src/adapters/fabrics/memory-fabric.ts";
import { MemoryImageStore, MemoryRegistry } from "../../src/adapters/images/memory-image-store.ts";
import { MemoryMachine, waitingProgram } from "../../src/adapters/runtimes/memory-machine.ts";
import { MemoryRuntime } from "../../src/adapters/runtimes/memory-runtime.ts";
import { MemoryDisk, MemoryStore } from "../../src/adapters/stores/memory-store.ts";
import { MemoryNetwork, type LinkConditions } from "../../src/adapters/transports/memory-network.ts";
import { promiseLabel } from "../../src/core/keeper/container-ids.ts";
import { createRng, type Rng } from "../../src/core/rng.ts";
import { defined } from "../../src/model/assert.ts";
import type { NodeId, PromiseId } from "../../src/model/ids.ts";
import type { Entropy } from "../../src/ports/entropy.ts";
import type { LogFields, Logger } from "../../src/ports/logger.ts";
import type { Image } from "../../src/ports/image-store.ts";
import { Agent } from "../../src/node/agent.ts";
import { Life, MortalClock, slowRuntime } from "./mortal.ts";
import { VirtualClock } from "./virtual-clock.ts";

export interface WorldOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly link: LinkConditions;
  /** Probability that one runtime operation fails. */
  readonly runtimeFailures: number;
  readonly trace?: (line: string) => void;
}

export const lanLink: LinkConditions = {
  latencyMs: 0.2,
  jitterMs: 0.6,
  loss: 0,
  duplication: 0,
  reordering: 0,
  reorderingMs: 0,
};

/** What survives power loss is here; the agent comes and goes. */
export interface SimulatedNode {
  readonly index: number;
  readonly id: NodeId;
  readonly name: string;
  readonly address: string;
  readonly disk: MemoryDisk;
  readonly images: Map<string, Image>;
  readonly machine: MemoryMachine;
  readonly network: MachineNetwork;
  agent: Agent | undefined;
  store: MemoryStore | undefined;
  life: Life;
  isPowered: boolean;
}

export interface Running {
  readonly node: SimulatedNode;
  readonly promise: PromiseId;
  readonly deployment: string;
  readonly replica: number;
}

const mebibyte = 1024 * 1024;

export class World {
  readonly clock = new VirtualClock();
  readonly rng: Rng;
  readonly options: WorldOptions;
  readonly net: MemoryNetwork;
  readonly registry = new MemoryRegistry();
  readonly nodes: SimulatedNode[] = [];
  readonly #hash = createHash("sha256");
  #events = 0;
  readonly failures: string[] = [];

  constructor(options: WorldOptions) {
    this.options = options;
    this.rng = createRng(options.seed);
    this.net = new MemoryNetwork(
      { clock: this.clock, rng: createRng(options.seed ^ 0x9e3779b9) },
      { link: options.link },
    );
    this.registry.publish("web", {
      entrypoint: ["/web"],
      command: [],
      env: [],
      workingDirectory: "/",
      user: "",
    });
    for (let index = 1; index <= options.nodes; index++) this.nodes.push(this.#makeNode(index));
  }

  node(index: number): SimulatedNode {
    return defined(this.nodes[index - 1], `node ${index}`);
  }

  get live(): readonly SimulatedNode[] {
    return this.nodes.filter(({ agent }) => agent !== undefined);
  }

  /** Founds the fleet: every node starts and joins the first. */
  async boot(): Promise<void> {
    for (const node of this.nodes) await this.startAgent(node);
    await this.run(1_500);
  }

  async startAgent(node: SimulatedNode): Promise<void> {
    const life = new Life();
    node.life = life;
    node.isPowered = true;
    const clock = new MortalClock(this.clock, life);
    const store = new MemoryStore(
      { disk: node.disk },
      { schedule: (flush) => void clock.at(clock.now() + 0.3 + this.rng.next(), flush) },
    );
    node.store = store;
    const first = this.node(1);
    const agent = new Agent(
      {
        transport: this.net.transport({ id: node.id, addresses: [node.address] }),
        store,
        runtime: slowRuntime(new MemoryRuntime({ machine: node.machine }), clock, life, {
          delayMs: () => 5 + this.rng.next() * 30,
          fails: () => this.rng.next() < this.options.runtimeFailures,
        }),
        images: new MemoryImageStore({ registry: this.registry, images: node.images }),
        fabric: new MemoryFabric({ network: node.network }),
        clock,
        entropy: this.#entropy(),
        logger: this.#logger(node),
        invites: { create: async () => ({ token: "simulated", expiresAtMs: 0 }) },
        residentBytes: () => 0,
      },
      {
        id: node.id,
        name: node.name,
        version: "sim",
        commit: "sim",
        architecture: "amd64",
        labels: {},
        addresses: [node.address],
        capacity: { cpuMillis: 4_000, memoryBytes: 1_024 * mebibyte },
        fleetPrefix: "fd000001",
        seeds: node === first ? [] : [{ id: first.id, addresses: [first.address] }],
        pid: node.index,
      },
    );
    node.agent = agent;
    this.trace(`start ${node.name}`);
    const isUp = await this.settle(
      agent.start().then(() => true),
      10_000,
    );
    if (isUp !== true && !life.isOver) this.failures.push(`${node.name} did not start`);
  }

  /** The machine loses power: agent and containers are gone without a word; the disk stays. */
  powerOff(node: SimulatedNode): void {
    this.trace(`power-off ${node.name}`);
    this.net.powerOff(node.id);
    this.#endLife(node);
    node.machine.losePower();
    node.network.losePower();
    node.isPowered = false;
  }

  /** Only the agent dies; its containers go on. */
  killAgent(node: SimulatedNode): void {
    this.trace(`kill-agent ${node.name}`);
    this.net.crashAgent(node.id);
    this.#endLife(node);
  }

  /** Everything that runs anywhere, powered machines only. */
  running(): readonly Running[] {
    const all: Running[] = [];
    for (const node of this.nodes) {
      if (!node.isPowered) continue;
      for (const { spec, status } of node.machine.all()) {
        if (status.phase !== "running") continue;
        all.push({
          node,
          promise: spec.labels[promiseLabel] ?? "",
          deployment: spec.labels["muster.deployment"] ?? "",
          replica: Number(spec.labels["muster.replica"]),
        });
      }
    }
    return all;
  }

  /** Lets virtual time pass. */
  async run(milliseconds: number): Promise<void> {
    const until = this.clock.now() + milliseconds;
    for (;;) {
      const isMore = this.clock.advance(until);
      await drain();
      if (!isMore) return;
      this.#events += 1;
    }
  }

  /** Lets time pass until the condition holds; false when it does not within the limit. */
  async until(condition: () => boolean, limitMs: number, stepMs = 20): Promise<boolean> {
    const end = this.clock.now() + limitMs;
    while (this.clock.now() < end) {
      if (condition()) return true;
      await this.run(Math.min(stepMs, end - this.clock.now()));
    }
    return condition();
  }

  /** The promise's value, with time passing until it is there; undefined when it is not within the limit. */
  async settle<T>(promise: Promise<T>, limitMs: number): Promise<T | undefined> {
    let result: { readonly value: T } | undefined;
    promise.then(
      (value) => (result = { value }),
      (error: unknown) => this.failures.push(`a request threw: ${String(error)}`),
    );
    await this.until(() => result !== undefined, limitMs, 1);
    return result?.value;
  }

  trace(line: string): void {
    const stamped = `${this.clock.now().toFixed(3)} ${line}`;
    this.#hash.update(stamped);
    this.options.trace?.(stamped);
  }

  /** Of everything traced: equal for equal seeds. */
  get traceHash(): string {
    return this.#hash.copy().digest("hex").slice(0, 16);
  }

  get events(): number {
    return this.#events;
  }

  async close(): Promise<void> {
    for (const node of this.live) {
      this.net.powerOff(node.id);
      this.#endLife(node);
    }
    await drain();
  }

  #endLife(node: SimulatedNode): void {
    node.life.end();
    node.store?.crash();
    node.agent = undefined;
    node.store = undefined;
  }

  #makeNode(index: number): SimulatedNode {
    const digest = createHash("sha256").update(`${this.options.seed}/${index}`).digest("hex");
    return {
      index,
      id: digest.slice(0, 32),
      name: `n${index}`,
      address: `10.0.0.${index}:7440`,
      disk: new MemoryDisk(),
      images: new Map(),
      machine: new MemoryMachine({ clock: this.clock }, { programOf: () => waitingProgram }),
      network: new MachineNetwork(),
      agent: undefined,
      store: undefined,
      life: new Life(),
      isPowered: false,
    };
  }

  #entropy(): Entropy {
    return { bytes: (length) => Uint8Array.from({ length }, () => this.rng.int(256)) };
  }

  #logger(node: SimulatedNode): Logger {
    const life = node.life;
    const write = (level: string, message: string, fields: LogFields = {}): void => {
      if (life.isOver) return;
      this.trace(`${node.name} ${level} ${message} ${JSON.stringify(fields)}`);
      if (message.startsWith("group quarantined"))
        this.failures.push(`${node.name}: ${message}: ${JSON.stringify(fields)}`);
    };
    const logger: Logger = {
      error: (message, fields) => write("error", message, fields),
      warn: (message, fields) => write("warn", message, fields),
      info: (message, fields) => write("info", message, fields),
      debug: (message, fields) => write("debug", message, fields),
      child: () => logger,
    };
    return logger;
  }
}

/** Every promise that can go on has gone on when this resolves. */
async function drain(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}
