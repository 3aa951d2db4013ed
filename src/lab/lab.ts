/**
 * A fleet on one machine: every machine of the lab runs the very binary that users run, in namespaces
 * of its own, on one switch. What a lab is lies in one file, so that any later command finds it.
 */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { command } from "./command.ts";
import { LabError } from "./errors.ts";
import * as machine from "./machine.ts";
import * as net from "./switch.ts";

export interface LabMachine {
  readonly name: string;
  readonly index: number;
  /** Process 1 as seen from outside, while the power is on. */
  pid?: number;
}

interface LabState {
  readonly name: string;
  readonly binary: readonly string[];
  readonly plainHttpRegistries: readonly string[];
  readonly machines: LabMachine[];
}

export interface LabOptions {
  /** Where the lab's file, disks, sockets and logs are. */
  readonly directory: string;
  /** Part of namespaces' and cgroups' names; `[a-z0-9]{1,8}`. */
  readonly name: string;
}

export interface LabUpOptions {
  readonly machines: number;
  /** The words that run the agent: the binary, or the runtime and the entry file. */
  readonly binary: readonly string[];
  readonly plainHttpRegistries: readonly string[];
}

const agentPort = 7440;
const readyWaitMs = 15_000;
export const machinesMax = 64;

export class Lab {
  readonly #options: LabOptions;
  #state: LabState;

  private constructor(options: LabOptions, state: LabState) {
    this.#options = options;
    this.#state = state;
  }

  /** The lab that `up` made; LabError `no-lab` without one. */
  static open(options: LabOptions): Lab {
    const file = join(options.directory, "lab.json");
    if (!existsSync(file)) {
      throw new LabError(`there is no lab in ${options.directory}; start one with: muster lab up`, {
        code: "no-lab",
        lab: options.name,
      });
    }
    const state: LabState = JSON.parse(readFileSync(file, "utf8"));
    return new Lab({ ...options, name: state.name }, state);
  }

  /** Makes the switch, boots the machines, founds the fleet on the first and joins the others to it. */
  static async up(options: LabOptions, up: LabUpOptions): Promise<Lab> {
    if (existsSync(join(options.directory, "lab.json"))) {
      throw new LabError(`a lab is already in ${options.directory}; end it with: muster lab down`, {
        code: "exists",
        lab: options.name,
      });
    }
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    chmodSync(options.directory, 0o700);
    const machines: LabMachine[] = [];
    for (let index = 1; index <= up.machines; index++) machines.push({ name: `n${index}`, index });
    const { binary, plainHttpRegistries } = up;
    const lab = new Lab(options, { name: options.name, binary, plainHttpRegistries, machines });
    lab.#save();
    try {
      await net.createSwitch(lab.#switch);
      await Promise.all(machines.map((one) => lab.#boot(one)));
      const [first, ...rest] = machines;
      if (first === undefined) return lab;
      await lab.#startAgent(first, []);
      const invite = await lab.#invite(first);
      const join = ["--join", `${net.machineAddress4(first.index)}:${agentPort}`, "--invite", invite];
      await Promise.all(rest.map((one) => lab.#startAgent(one, join)));
      return lab;
    } catch (error) {
      await lab.down();
      throw error;
    }
  }

  get machines(): readonly LabMachine[] {
    return this.#state.machines;
  }

  machine(name: string): LabMachine {
    const found = this.#state.machines.find((one) => one.name === name || String(one.index) === name);
    if (found !== undefined) return found;
    const names = this.#state.machines.map((one) => one.name).join(", ");
    throw new LabError(`the lab has no machine ${name}; it has ${names}`, {
      code: "no-machine",
      machine: name,
    });
  }

  isOn(one: LabMachine): boolean {
    return machine.isOn(one.pid);
  }

  /** The agent's socket, reachable from outside the machine too. */
  socketOf(one: LabMachine): string {
    return join(this.diskOf(one), "muster.sock");
  }

  diskOf(one: LabMachine): string {
    return join(this.#options.directory, one.name);
  }

  logOf(one: LabMachine): string {
    return join(this.#options.directory, `${one.name}.log`);
  }

  /** The words that run a command on a machine, or in the switch's network for `switch`. */
  wordsFor(
    name: string,
    args: readonly string[],
  ): { readonly words: string[]; readonly env: Record<string, string> } {
    if (name === "switch") return { words: net.inNamespace(this.#switch.namespace, args), env: {} };
    const one = this.#mustBeOn(this.machine(name));
    return { words: machine.inMachine(one.pid, args), env: { MUSTER_SOCKET: this.socketOf(one) } };
  }

  /** Power loss: the link goes first, so that no closing packet tells the others; then everything dies at once. */
  async kill(name: string): Promise<void> {
    const one = this.#mustBeOn(this.machine(name));
    await net.unplug(this.#switch, one.index);
    await machine.powerOff(one.pid);
    machine.removeCgroups(this.#cgroupOf(one));
    delete this.machine(name).pid;
    this.#save();
  }

  /** Power on again, with the disk as it was. */
  async start(name: string): Promise<void> {
    const one = this.machine(name);
    if (this.isOn(one)) {
      throw new LabError(`machine ${one.name} is on`, {
        code: "machine-state",
        machine: one.name,
        isOn: true,
      });
    }
    await this.#boot(one);
    await this.#startAgent(one, []);
  }

  /** Only the agent dies; its containers go on. Resolves with nothing running it until `startAgent`. */
  async startAgent(name: string): Promise<void> {
    await this.#startAgent(this.#mustBeOn(this.machine(name)), []);
  }

  /** Cuts the link between two machines, or between one and all others. */
  async cut(name: string, from: string | undefined): Promise<void> {
    for (const other of this.#others(name, from)) {
      await net.setCut(this.#switch, this.machine(name).index, other.index, true);
    }
  }

  async heal(name: string | undefined, from: string | undefined): Promise<void> {
    if (name === undefined) return net.healAll(this.#switch);
    for (const other of this.#others(name, from)) {
      await net.setCut(this.#switch, this.machine(name).index, other.index, false);
    }
  }

  /** Ends everything and leaves nothing behind, half-made labs included. */
  async down(): Promise<void> {
    for (const one of this.#state.machines) {
      if (one.pid !== undefined && this.isOn(one)) {
        await net.unplug(this.#switch, one.index);
        await machine.powerOff(one.pid);
      }
      machine.removeCgroups(this.#cgroupOf(one));
      await command(["ip", "netns", "del", this.#namespaceOf(one)], { mayFail: true });
    }
    await net.removeSwitch(this.#switch);
    machine.removeCgroups(`muster-${this.#state.name}`);
    rmSync(this.#options.directory, { recursive: true, force: true });
  }

  get #switch(): net.SwitchOptions {
    return { namespace: `muster-${this.#state.name}-sw` };
  }

  #namespaceOf(one: LabMachine): string {
    return `muster-${this.#state.name}-${one.name}`;
  }

  #cgroupOf(one: LabMachine): string {
    return `muster-${this.#state.name}/${one.name}`;
  }

  #others(name: string, from: string | undefined): readonly LabMachine[] {
    const one = this.machine(name);
    return from === undefined ? this.#state.machines.filter((other) => other !== one) : [this.machine(from)];
  }

  #mustBeOn(one: LabMachine): LabMachine & { readonly pid: number } {
    const { pid } = one;
    if (pid !== undefined && this.isOn(one)) return { ...one, pid };
    throw new LabError(`machine ${one.name} is off; start it with: muster lab start ${one.name}`, {
      code: "machine-state",
      machine: one.name,
      isOn: false,
    });
  }

  async #boot(one: LabMachine): Promise<void> {
    const namespace = this.#namespaceOf(one);
    // A new network namespace each time: what the last run left in it was lost with the power.
    await command(["ip", "netns", "del", namespace], { mayFail: true });
    await command(["ip", "netns", "add", namespace]);
    await net.plug(this.#switch, one.index, namespace);
    mkdirSync(this.diskOf(one), { recursive: true, mode: 0o700 });
    one.pid = await machine.boot({
      name: one.name,
      networkNamespace: namespace,
      cgroup: this.#cgroupOf(one),
    });
    this.#save();
  }

  async #startAgent(one: LabMachine, extra: readonly string[]): Promise<void> {
    const { pid } = this.#mustBeOn(one);
    const log = openSync(this.logOf(one), "a", 0o600);
    const words = [
      ...this.#state.binary,
      "up",
      "--data-dir",
      this.diskOf(one),
      "--name",
      one.name,
      "--listen",
      `${net.machineAddress4(one.index)}:${agentPort}`,
      "--cgroup-parent",
      `/${this.#cgroupOf(one)}`,
      ...this.#state.plainHttpRegistries.flatMap((registry) => ["--plain-http-registry", registry]),
      ...extra,
    ];
    const child = Bun.spawn(machine.inMachine(pid, words), {
      stdin: "ignore",
      stdout: log,
      stderr: log,
      detached: true,
    });
    child.unref();
    const until = performance.now() + readyWaitMs;
    while (!(await this.#answers(one))) {
      if (child.exitCode !== null || performance.now() > until) {
        throw new LabError(`the agent of ${one.name} did not come up; its log is ${this.logOf(one)}`, {
          code: "agent-failed",
          machine: one.name,
          logFile: this.logOf(one),
        });
      }
      await Bun.sleep(5);
    }
  }

  async #answers(one: LabMachine): Promise<boolean> {
    try {
      const response = await fetch("http://agent/v1/status", {
        unix: this.socketOf(one),
        signal: AbortSignal.timeout(1_000),
      });
      return response.ok;
    } catch {
      return false;
    }
  }

  async #invite(one: LabMachine): Promise<string> {
    const { words, env } = this.wordsFor(one.name, [
      ...this.#state.binary,
      "invite",
      "--ttl",
      "1h",
      "--json",
    ]);
    const answer: { token: string } = JSON.parse(
      await command(["env", ...Object.entries(env).map(([k, v]) => `${k}=${v}`), ...words]),
    );
    return answer.token;
  }

  #save(): void {
    const file = join(this.#options.directory, "lab.json");
    writeFileSync(`${file}.new`, JSON.stringify(this.#state, null, 2), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
}
