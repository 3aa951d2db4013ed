/**
 * A fleet on one machine: every machine of the lab runs the very binary that users run, in namespaces
 * of its own, on one switch. Machines go on when the process that made them ends; any later process
 * finds the lab by its directory.
 */
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { processesByContainer, removeCgroups } from "./cgroups.ts";
import { command } from "./command.ts";
import { LabError } from "./errors.ts";
import {
  readLabFile,
  readPid,
  removePid,
  writeLabFile,
  writePid,
  type LabFile,
  type LabPlace,
} from "./lab-file.ts";
import { isLabThere, labPrefix, removeLeftovers } from "./leftovers.ts";
import { agentPids, killAgent, membersAlive, startAgent, type AgentPlace } from "./machine-agent.ts";
import { boot, inMachine, isMachine, machineMark, powerOff } from "./machine.ts";
import {
  createSwitch,
  healAll,
  inNamespace,
  listCuts,
  machineAddress4,
  plug,
  removeCable,
  setCuts,
  unplug,
  type Cut,
  type SwitchOptions,
} from "./switch.ts";

export interface LabMachine {
  readonly name: string;
  /** From 1. */
  readonly index: number;
}

export interface LabUpOptions {
  readonly machines: number;
  readonly binary: readonly string[];
  readonly plainHttpRegistries: readonly string[];
  /** Ends the making early; what was made is taken away again. */
  readonly signal?: AbortSignal;
}

export interface MachineStatus {
  readonly name: string;
  readonly address: string;
  readonly power: "on" | "off";
  readonly agent: "running" | "stopped";
  readonly containers: number;
  /** Machines it is cut off from. */
  readonly cutFrom: readonly string[];
  readonly socket: string;
  readonly log: string;
}

const agentPort = 7440;
const metWaitMs = 10_000;
export const machinesMax = 64;
/** The machine in commands that stands for the switch's network. */
export const switchName = "switch";

export class Lab {
  readonly #directory: string;
  readonly #file: LabFile;

  private constructor(directory: string, file: LabFile) {
    this.#directory = directory;
    this.#file = file;
  }

  /** The lab that `up` made; LabError `no-lab` without one. */
  static open(place: LabPlace): Lab {
    const file = readLabFile(place.directory);
    if (file !== undefined) return new Lab(place.directory, file);
    throw new LabError(
      `there is no lab in ${place.directory}`,
      { code: "no-lab", lab: place.name },
      { next: "start one with: muster lab up" },
    );
  }

  /** Makes the switch, boots the machines, founds the fleet on the first and joins the others to it. */
  static async up(place: LabPlace, up: LabUpOptions): Promise<Lab> {
    if (readLabFile(place.directory) !== undefined) {
      throw new LabError(
        `there is a lab in ${place.directory} already`,
        { code: "exists", lab: place.name },
        { next: "muster lab status shows it, muster lab down ends it" },
      );
    }
    if (isLabThere(place.name)) {
      throw new LabError(
        `a lab named ${place.name} is there already, in another directory`,
        { code: "exists", lab: place.name },
        { next: `take another --name, or end it with: muster lab down --name ${place.name}` },
      );
    }
    const { machines, binary, plainHttpRegistries, signal } = up;
    const file = {
      name: place.name,
      machines,
      binary: [...binary],
      plainHttpRegistries: [...plainHttpRegistries],
    };
    writeLabFile(place.directory, file);
    const lab = new Lab(place.directory, file);
    try {
      await createSwitch(lab.#switch);
      await Promise.all(lab.machines.map((one) => lab.#boot(one)));
      signal?.throwIfAborted();
      await lab.#formFleet();
      signal?.throwIfAborted();
      return lab;
    } catch (error) {
      await Lab.down(place);
      throw error;
    }
  }

  /**
   * Ends everything and leaves nothing behind: half-made labs, labs whose file is lost, and no lab at
   * all included. Resolves with true when there was something.
   */
  static async down(place: LabPlace): Promise<boolean> {
    const file = readLabFile(place.directory);
    const hasFound = await removeLeftovers(file?.name ?? place.name);
    // A directory without the file is not ours to remove.
    if (file !== undefined) rmSync(place.directory, { recursive: true, force: true });
    return hasFound || file !== undefined;
  }

  get name(): string {
    return this.#file.name;
  }

  get machines(): readonly LabMachine[] {
    return Array.from({ length: this.#file.machines }, (_, at) => ({ name: `n${at + 1}`, index: at + 1 }));
  }

  /** The words that run the agent and its command line. */
  get binary(): readonly string[] {
    return this.#file.binary;
  }

  machine(name: string): LabMachine {
    const found = this.machines.find((one) => one.name === name);
    if (found !== undefined) return found;
    throw new LabError(
      `the lab has no machine ${name}`,
      { code: "no-machine", machine: name },
      { next: `it has ${this.machines.map((one) => one.name).join(", ")}` },
    );
  }

  isOn(name: string): boolean {
    return this.#pidOf(this.machine(name)) !== undefined;
  }

  /** The agent's socket, reachable from outside the machine too. */
  socketOf(name: string): string {
    return join(this.#diskOf(this.machine(name)), "muster.sock");
  }

  logOf(name: string): string {
    return join(this.#directory, `${this.machine(name).name}.log`);
  }

  /** Containers with a live process on the machine, and those processes as seen from outside. */
  containersOf(name: string): ReadonlyMap<string, readonly number[]> {
    return processesByContainer(this.#cgroupOf(this.machine(name)));
  }

  async status(): Promise<readonly MachineStatus[]> {
    const cuts = existsSync(`/run/netns/${this.#switch.namespace}`) ? await listCuts(this.#switch) : [];
    return this.machines.map((one) => {
      const pid = this.#pidOf(one);
      const mates = cuts.filter((cut) => cut.includes(one.index)).flat();
      return {
        name: one.name,
        address: machineAddress4(one.index),
        power: pid === undefined ? "off" : "on",
        agent: pid !== undefined && agentPids(this.#agentPlace(one, pid)).length > 0 ? "running" : "stopped",
        containers: this.containersOf(one.name).size,
        cutFrom: mates.filter((index) => index !== one.index).map((index) => `n${index}`),
        socket: this.socketOf(one.name),
        log: this.logOf(one.name),
      };
    });
  }

  /**
   * The words that run a command on a machine, or in the switch's network for `switch`. As the first
   * word, `muster` is the very binary that the machines run, and it finds the machine's agent.
   */
  wordsFor(name: string, args: readonly string[], workingDirectory = "/"): readonly string[] {
    const [first = "sh", ...rest] = args;
    const words = first === "muster" ? [...this.#file.binary, ...rest] : [first, ...rest];
    if (name === switchName) return inNamespace(this.#switch.namespace, words);
    const pid = this.#mustBeOn(this.machine(name));
    const directory = existsSync(`/proc/${pid}/root${workingDirectory}`) ? workingDirectory : "/";
    return inMachine(pid, ["env", "-C", directory, `MUSTER_SOCKET=${this.socketOf(name)}`, ...words]);
  }

  /** Power loss: the link goes first, so that no closing packet tells the others; then everything dies at once. */
  async kill(name: string): Promise<void> {
    const one = this.machine(name);
    const pid = this.#mustBeOn(one);
    await unplug(this.#switch, one.index);
    await powerOff(pid);
    removePid(this.#directory, one.name);
    await this.#removeNetwork(one);
    await removeCgroups(this.#cgroupOf(one));
  }

  /** Power on again, with the disk as it was; resolves when the agent answers. */
  async start(name: string): Promise<void> {
    const one = this.machine(name);
    if (this.#pidOf(one) !== undefined) {
      throw new LabError(
        `machine ${one.name} is on`,
        { code: "machine-state", machine: one.name, isOn: true },
        { next: `muster lab start-agent ${one.name} starts only its agent` },
      );
    }
    await this.#boot(one);
    await this.#startAgent(one, []);
  }

  /** Only the agent dies, by SIGKILL; its containers go on. */
  async killAgent(name: string): Promise<void> {
    const one = this.machine(name);
    if (await killAgent(this.#agentPlace(one, this.#mustBeOn(one)))) return;
    throw new LabError(
      `no agent runs on ${one.name}`,
      { code: "agent-state", machine: one.name, isRunning: false },
      { next: `muster lab start-agent ${one.name}` },
    );
  }

  async startAgent(name: string): Promise<void> {
    const one = this.machine(name);
    if (agentPids(this.#agentPlace(one, this.#mustBeOn(one))).length > 0) {
      throw new LabError(`the agent of ${one.name} runs already`, {
        code: "agent-state",
        machine: one.name,
        isRunning: true,
      });
    }
    await this.#startAgent(one, []);
  }

  /** Cuts the link between two machines, or between one and all others. */
  async cut(name: string, from: string | undefined): Promise<void> {
    await setCuts(this.#switch, this.#pairs(name, from), true);
  }

  /** Mends what was cut: between two machines, between one and all others, or everywhere. */
  async heal(name: string | undefined, from: string | undefined): Promise<void> {
    if (name === undefined) await healAll(this.#switch);
    else await setCuts(this.#switch, this.#pairs(name, from), false);
  }

  get #switch(): SwitchOptions {
    return { namespace: `${labPrefix(this.name)}-sw` };
  }

  #namespaceOf(one: LabMachine): string {
    return `${labPrefix(this.name)}-${one.name}`;
  }

  #cgroupOf(one: LabMachine): string {
    return `${labPrefix(this.name)}/${one.name}`;
  }

  #diskOf(one: LabMachine): string {
    return join(this.#directory, one.name);
  }

  #agentPlace(one: LabMachine, pid: number): AgentPlace {
    return {
      machine: one.name,
      pid,
      dataDirectory: this.#diskOf(one),
      socketPath: this.socketOf(one.name),
      logPath: this.logOf(one.name),
    };
  }

  #pairs(name: string, from: string | undefined): readonly Cut[] {
    const one = this.machine(name);
    const others = from === undefined ? this.machines : [this.machine(from)];
    return others.filter((other) => other.index !== one.index).map((other) => [one.index, other.index]);
  }

  #pidOf(one: LabMachine): number | undefined {
    const pid = readPid(this.#directory, one.name);
    return pid !== undefined && isMachine(pid, machineMark(this.name, one.name)) ? pid : undefined;
  }

  #mustBeOn(one: LabMachine): number {
    const pid = this.#pidOf(one);
    if (pid !== undefined) return pid;
    throw new LabError(
      `machine ${one.name} is off`,
      { code: "machine-state", machine: one.name, isOn: false },
      { next: `muster lab start ${one.name}` },
    );
  }

  async #formFleet(): Promise<void> {
    const [first, ...rest] = this.machines;
    if (first === undefined) return;
    await this.#startAgent(first, []);
    if (rest.length === 0) return;
    const invite = await command(this.wordsFor(first.name, ["muster", "invite", "--ttl", "1h", "--json"]));
    const { token }: { token: string } = JSON.parse(invite);
    const join = ["--join", `${machineAddress4(first.index)}:${agentPort}`, "--invite", token];
    await Promise.all(rest.map((one) => this.#startAgent(one, join)));
    await this.#waitUntilMet();
  }

  /** An agent answers before the others have heard of it: resolves when each knows all. */
  async #waitUntilMet(): Promise<void> {
    const until = performance.now() + metWaitMs;
    for (const { name } of this.machines) {
      while ((await membersAlive(this.socketOf(name))) < this.machines.length) {
        if (performance.now() > until)
          throw new LabError(`${name} does not see all machines after ${metWaitMs / 1000} s`, {
            code: "timeout",
            what: "fleet",
            afterMs: metWaitMs,
          });
        await Bun.sleep(5);
      }
    }
  }

  async #boot(one: LabMachine): Promise<void> {
    const namespace = this.#namespaceOf(one);
    // A new network namespace each time: what the last run left in it was lost with the power.
    await this.#removeNetwork(one);
    await command(["ip", "netns", "add", namespace]);
    await plug(this.#switch, one.index, namespace);
    mkdirSync(this.#diskOf(one), { recursive: true, mode: 0o700 });
    const mark = machineMark(this.name, one.name);
    const pid = await boot({ name: one.name, mark, networkNamespace: namespace });
    writePid(this.#directory, one.name, pid);
  }

  async #removeNetwork(one: LabMachine): Promise<void> {
    await removeCable(this.#switch, one.index);
    await command(["ip", "netns", "del", this.#namespaceOf(one)], { mayFail: true });
  }

  async #startAgent(one: LabMachine, extra: readonly string[]): Promise<void> {
    const place = this.#agentPlace(one, this.#mustBeOn(one));
    await startAgent(place, [
      ...this.#file.binary,
      "up",
      // The settings of the machine that the lab stands on are not those of its machines.
      "--config",
      "/dev/null",
      ...["--data-dir", place.dataDirectory, "--name", one.name],
      ...["--listen", `${machineAddress4(one.index)}:${agentPort}`],
      ...["--cgroup-parent", `/${this.#cgroupOf(one)}`],
      ...this.#file.plainHttpRegistries.flatMap((registry) => ["--plain-http-registry", registry]),
      ...extra,
    ]);
  }
}
