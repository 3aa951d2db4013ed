/** A lab for one test file, driven by its commands alone; what runs is read from control groups. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { CohortView, DeploymentView, NodeView } from "../../src/model/views.ts";
import { processesByContainer } from "../../src/lab/cgroups.ts";
import { buildBusyboxImage } from "../integration/registry.ts";
import { binaryPath, buildIfOld, mustRun, run, until, type Ran } from "./binary.ts";

export const registryHost = "10.99.255.254:5000";

interface MachineStatus {
  readonly name: string;
  readonly power: "on" | "off";
  readonly agent: "running" | "stopped";
  readonly cutFrom: readonly string[];
  readonly socket: string;
  readonly log: string;
}

export interface Container {
  readonly machine: string;
  readonly container: string;
  readonly replica: number;
  /** Its first process, as seen from outside. */
  readonly pids: readonly number[];
}

// As process 1 a shell gets no signal that it has no handler for: without one each stop takes its full grace.
const idleCommand = [
  "/bin/sh",
  "-c",
  "trap 'exit 0' TERM; echo \"here is $HOSTNAME\"; while :; do sleep 3600 & wait $!; done",
];

export class Fleet {
  readonly name: string;
  readonly directory: string;
  #registry: Bun.Subprocess | undefined;
  #sockets = new Map<string, string>();

  private constructor(name: string, directory: string) {
    this.name = name;
    this.directory = directory;
  }

  /** A lab of this size, with a registry in its switch that holds `idle:1`. */
  static async up(name: string, machines: number): Promise<Fleet> {
    await buildIfOld();
    const fleet = new Fleet(name, await mkdtemp(join(tmpdir(), `muster-e2e-${name}-`)));
    try {
      await fleet.lab("down");
      await fleet.lab("up", String(machines), "--plain-http-registry", registryHost);
      for (const one of await fleet.status()) fleet.#sockets.set(one.name, one.socket);
      await fleet.#startRegistry();
      await fleet.#pushIdle();
      return fleet;
    } catch (error) {
      await fleet.down();
      throw error;
    }
  }

  async down(): Promise<void> {
    this.#registry?.kill("SIGKILL");
    await this.#registry?.exited;
    await this.lab("down");
    await rm(this.directory, { recursive: true, force: true });
  }

  get machines(): readonly string[] {
    return [...this.#sockets.keys()];
  }

  readonly image = `${registryHost}/idle:1`;

  /** Where the agent of a machine keeps what it has. */
  dataDirectory(machine: string): string {
    const socket = this.#sockets.get(machine);
    if (socket === undefined) throw new Error(`no machine ${machine}`);
    return dirname(socket);
  }

  /** `muster lab ...` of this lab; rejects when it does not end well. */
  async lab(command: string, ...args: readonly string[]): Promise<string> {
    return mustRun([
      binaryPath,
      "lab",
      command,
      "--dir",
      join(this.directory, "lab"),
      "--name",
      this.name,
      ...args,
    ]);
  }

  /** `muster ...` towards the agent of a machine, whatever it ends with. */
  async on(machine: string, ...args: readonly string[]): Promise<Ran> {
    return run([binaryPath, ...args], this.#env(machine));
  }

  async withInput(machine: string, input: string, ...args: readonly string[]): Promise<Ran> {
    return run([binaryPath, ...args], this.#env(machine), input);
  }

  /** `muster ...` with its input and output in pipes, still running. */
  start(machine: string, ...args: readonly string[]): Bun.Subprocess<"pipe", "pipe", "pipe"> {
    return Bun.spawn([binaryPath, ...args], {
      env: { ...process.env, ...this.environment(machine) },
      stdio: ["pipe", "pipe", "pipe"],
    });
  }

  /** What leads the commands to the agent of a machine. */
  environment(machine: string): Readonly<Record<string, string>> {
    return this.#env(machine);
  }

  /** What it prints; rejects when it does not end well. */
  async text(machine: string, ...args: readonly string[]): Promise<string> {
    return mustRun([binaryPath, ...args], this.#env(machine));
  }

  async json<T>(machine: string, ...args: readonly string[]): Promise<T> {
    const value: T = JSON.parse(await this.text(machine, ...args, "--json"));
    return value;
  }

  status(): Promise<readonly MachineStatus[]> {
    return this.lab("status", "--json").then((text) => JSON.parse(text));
  }

  inspect(machine: string, name: string): Promise<DeploymentView> {
    return this.json(machine, "inspect", name);
  }

  cohort(machine: string, name: string): Promise<CohortView> {
    return this.json(machine, "cohort", "show", name);
  }

  nodes(machine: string): Promise<readonly NodeView[]> {
    return this.json(machine, "nodes");
  }

  /** The machine whose node leads the deployment, as `machine` knows it. */
  async steward(machine: string, name: string): Promise<string> {
    const found = (await this.cohort(machine, name)).members.find((member) =>
      member.roles.includes("steward"),
    );
    if (found === undefined) throw new Error(`${name} has no steward`);
    return found.name;
  }

  /** What runs of a deployment on all machines, whatever their agents say. */
  containers(name: string): readonly Container[] {
    const pattern = new RegExp(`^${name}-(\\d+)-[0-9a-f]{16}-\\d+-\\d+$`);
    return this.machines.flatMap((machine) =>
      [...processesByContainer(`muster-${this.name}/${machine}`)].flatMap(([container, pids]) => {
        const replica = pattern.exec(container)?.[1];
        return replica === undefined ? [] : [{ machine, container, replica: Number(replica), pids }];
      }),
    );
  }

  /** Until exactly `count` replicas run, each once, and the steward says so. */
  async untilExactly(machine: string, name: string, count: number, timeoutMs = 20_000): Promise<void> {
    await until(`${count} of ${name} run`, timeoutMs, async () => {
      const live = this.containers(name);
      const slots = new Set(live.map((one) => one.replica));
      if (live.length !== count || slots.size !== count)
        return `running: ${live.map((one) => `${one.container} on ${one.machine}`).join(", ")}`;
      const said = await this.on(machine, "inspect", name, "--json");
      if (said.code !== 0) return said.errors;
      const view: DeploymentView = JSON.parse(said.out);
      return view.running === count && view.replicas.length === count ? undefined : said.out;
    });
  }

  /** Until every machine that has power sees all of them alive. */
  async untilWhole(timeoutMs = 20_000): Promise<void> {
    await until("all machines see each other", timeoutMs, async () => {
      for (const machine of this.machines) {
        const said = await this.on(machine, "nodes", "--json");
        if (said.code !== 0) return `${machine}: ${said.errors}`;
        const nodes: readonly NodeView[] = JSON.parse(said.out);
        const alive = nodes.filter((node) => node.status === "alive").length;
        if (alive < this.machines.length) return `${machine} sees ${alive}`;
      }
      return undefined;
    });
  }

  /** Runs in the network that all machines are on. */
  async inSwitch(...words: readonly string[]): Promise<string> {
    return this.lab("exec", "switch", "--", ...words);
  }

  /** Pushes what is in an OCI layout under a name of the registry; the answer is the reference. */
  async push(layout: string, tag: string, name: string): Promise<string> {
    const reference = `${registryHost}/${name}:${tag}`;
    await this.inSwitch(
      ...["skopeo", "copy", "--quiet", "--dest-tls-verify=false"],
      ...[`oci:${layout}:${tag}`, `docker://${reference}`],
    );
    return reference;
  }

  get registryStorage(): string {
    return join(this.directory, "registry");
  }

  #env(machine: string): Record<string, string> {
    const socket = this.#sockets.get(machine);
    if (socket === undefined) throw new Error(`no machine ${machine}`);
    return { MUSTER_SOCKET: socket };
  }

  async #startRegistry(): Promise<void> {
    const config = join(this.directory, "registry.yml");
    // JSON is YAML.
    await Bun.write(
      config,
      JSON.stringify({
        version: 0.1,
        log: { level: "error" },
        storage: { filesystem: { rootdirectory: this.registryStorage } },
        http: { addr: registryHost },
      }),
    );
    const namespace = `/run/netns/muster-${this.name}-sw`;
    const words = ["nsenter", `--net=${namespace}`, "docker-registry", "serve", config];
    this.#registry = Bun.spawn(words, { stdio: ["ignore", "ignore", "ignore"] });
    await until("the registry listens", 10_000, async () => {
      if (this.#registry?.exitCode !== null) throw new Error("docker-registry ended at once");
      const words = [
        "nsenter",
        `--net=${namespace}`,
        "bash",
        "-c",
        `: </dev/tcp/${registryHost.replace(":", "/")}`,
      ];
      return (await run(words)).code === 0 ? undefined : "refused";
    });
  }

  async #pushIdle(): Promise<void> {
    const layout = join(this.directory, "idle");
    await buildBusyboxImage(this.directory, layout, "1");
    await mustRun([
      ...["umoci", "config", "--image", `${layout}:1`, "--config.env", "PATH=/bin"],
      ...idleCommand.map((word) => `--config.cmd=${word}`),
    ]);
    await this.push(layout, "1", "idle");
  }
}
