/**
 * A fleet in one process under virtual time: the very agent that ships, over memory adapters. One seed
 * decides everything, so it repeats a run to the last event.
 */
import { createHash } from "node:crypto";
import { MemoryFabric, MemoryNetwork as MachineNetwork } from "../../src/adapters/fabrics/memory-fabric.ts";
import {
  MemoryImageStore,
  type MemoryImages,
  MemoryRegistry,
} from "../../src/adapters/images/memory-image-store.ts";
import {
  MemoryMachine,
  waitingProgram,
  type MemoryProgram,
} from "../../src/adapters/runtimes/memory-machine.ts";
import { MemoryProber } from "../../src/adapters/probers/memory-prober.ts";
import { MemoryVolumes } from "../../src/adapters/volumes/memory-volumes.ts";
import { MemoryRuntime } from "../../src/adapters/runtimes/memory-runtime.ts";
import { MemoryDisk, MemoryStore } from "../../src/adapters/stores/memory-store.ts";
import { MemoryNetwork, type LinkConditions } from "../../src/adapters/transports/memory-network.ts";
import { containerLabel, promiseLabel } from "../../src/core/keeper/container-ids.ts";
import { createRng, type Rng } from "../../src/core/rng.ts";
import { defined } from "../../src/model/assert.ts";
import type { NodeId, PromiseId } from "../../src/model/ids.ts";
import type { Entropy } from "../../src/ports/entropy.ts";
import type { LogFields, Logger } from "../../src/ports/logger.ts";
import { Agent } from "../../src/node/agent.ts";
import type { LogOptions } from "../../src/node/group.ts";
import type { ContainerRuntime } from "../../src/ports/container-runtime.ts";
import type { Store } from "../../src/ports/store.ts";
import { Life, MortalClock, mortalTransport, slowRuntime, type Traffic } from "./mortal.ts";
import { VirtualClock } from "./virtual-clock.ts";

/** What a test puts in the place of a real part, to see that the checkers notice. */
export interface Doubles {
  readonly runtime?: (runtime: ContainerRuntime, node: SimulatedNode) => ContainerRuntime;
  readonly store?: (store: Store, node: SimulatedNode) => Store;
}

export interface WorldOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly link: LinkConditions;
  /** Probability that one runtime operation fails. */
  readonly runtimeFailures: number;
  readonly log: LogOptions;
  readonly doubles?: Doubles;
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
  readonly images: MemoryImages;
  readonly machine: MemoryMachine;
  readonly network: MachineNetwork;
  agent: Agent | undefined;
  store: MemoryStore | undefined;
  life: Life;
  isPowered: boolean;
  /** Left the fleet, or was destroyed: it never comes back. */
  isGone: boolean;
  /** How far the wall clock is off. */
  skewMs: number;
  /** Least and most that one sync of the disk takes. */
  syncMs: readonly [number, number];
  /** What it has sent since it was made. */
  readonly traffic: Traffic;
}

export interface Running {
  readonly node: SimulatedNode;
  readonly promise: PromiseId;
  /** The container's name in its template. */
  readonly container: string;
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
  /** Chance that a probe finds its container not to be well. */
  sickness = 0;

  constructor(options: WorldOptions) {
    this.options = options;
    this.rng = createRng(options.seed);
    this.net = new MemoryNetwork(
      { clock: this.clock, rng: createRng(options.seed ^ 0x9e3779b9) },
      { link: options.link },
    );
    for (const name of ["web", "job"])
      this.registry.publish(name, {
        entrypoint: [`/${name}`],
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

  /** A fresh machine, not started yet. */
  addNode(): SimulatedNode {
    const node = this.#makeNode(this.nodes.length + 1);
    this.nodes.push(node);
    return node;
  }

  /** Those whose agent runs. */
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
    const clock = new MortalClock(this.clock, life, () => node.skewMs);
    const store = new MemoryStore(
      { disk: node.disk },
      {
        schedule: (flush) => {
          const [least, most] = node.syncMs;
          clock.at(clock.now() + least + this.rng.next() * (most - least), flush);
        },
      },
    );
    node.store = store;
    const runtime = slowRuntime(new MemoryRuntime({ machine: node.machine }), clock, life, {
      delayMs: () => 5 + this.rng.next() * 30,
      fails: () => this.rng.next() < this.options.runtimeFailures,
    });
    const transport = this.net.transport({ id: node.id, addresses: [node.address] });
    const doubles = this.options.doubles;
    const agent = new Agent(
      {
        transport: mortalTransport(transport, life, node.traffic),
        store: doubles?.store?.(store, node) ?? store,
        runtime: doubles?.runtime?.(runtime, node) ?? runtime,
        images: new MemoryImageStore({ registry: this.registry, images: node.images }),
        fabric: new MemoryFabric({ network: node.network }),
        volumes: new MemoryVolumes(),
        prober: new MemoryProber(() => ({
          isWell: this.rng.next() >= this.sickness,
          detail: "asked",
        })),
        clock,
        entropy: this.#entropy(),
        logger: this.#logger(node),
        invites: { create: async () => ({ token: "simulated", expiresAtMs: 0 }) },
        residentBytes: () => 0,
        machineUsage: () => ({ cpuMicros: 0, cpuCount: 1, memoryBytes: 0, memoryTotalBytes: 0 }),
        processMetrics: () => [],
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
        seeds: this.#seedsOf(node),
        log: this.options.log,
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

  /** The process is stopped for a while, as by a debugger or a starved machine; then all that waited comes at once. */
  stopAgent(node: SimulatedNode, forMs: number): void {
    const { life } = node;
    this.trace(`stop ${node.name} for ${forMs}`);
    life.stop();
    this.clock.at(this.clock.now() + forMs, () => {
      if (!life.isOver) this.trace(`continue ${node.name}`);
      life.resume();
    });
  }

  /** The node leaves for good, as `muster down` does. */
  leave(node: SimulatedNode): void {
    const { agent, life } = node;
    if (agent === undefined) return;
    this.trace(`down ${node.name}`);
    agent.down({ keep: false }).then(
      () => {
        if (life.isOver) return;
        this.trace(`gone ${node.name}`);
        node.isGone = true;
        this.net.powerOff(node.id);
        this.#endLife(node);
      },
      (error: unknown) => this.failures.push(`${node.name} did not leave: ${String(error)}`),
    );
  }

  /** The machine is lost with its disk. */
  destroy(node: SimulatedNode): void {
    this.powerOff(node);
    node.isGone = true;
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
          container: spec.labels[containerLabel] ?? "",
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

  /** Every machine that is still there: one that was let in by one of them hears of all. The first founds the fleet. */
  #seedsOf(node: SimulatedNode): { id: NodeId; addresses: string[] }[] {
    if (node.index === 1) return [];
    const others = this.nodes.filter((other) => other !== node && !other.isGone);
    return others.map(({ id, address }) => ({ id, addresses: [address] }));
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
      machine: new MemoryMachine({ clock: this.clock }, { programOf }),
      network: new MachineNetwork(),
      agent: undefined,
      store: undefined,
      life: new Life(),
      isGone: false,
      skewMs: 0,
      syncMs: [0.3, 1.3],
      traffic: { datagrams: 0, posts: 0, calls: 0 },
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

/** `/job 0` ends by itself with this code, all else runs until it is stopped. */
function programOf(args: readonly string[]): MemoryProgram {
  if (args[0] !== "/job") return waitingProgram;
  return { ...waitingProgram, endsAfterMs: 2_000, exitCode: Number(args[1] ?? 0) };
}

/** Every promise that can go on has gone on when this resolves. */
async function drain(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}
