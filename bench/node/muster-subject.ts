/** An agent under measurement, alone on its machine. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { DeploymentView, StatusView } from "../../src/model/views.ts";
import { processesNaming, run, until } from "./measure.ts";

export class MusterSubject {
  readonly name = "muster";
  readonly directory: string;
  readonly #binary: string;
  #child: Bun.Subprocess | undefined;

  constructor(binary: string, directory: string) {
    this.#binary = binary;
    this.directory = directory;
  }

  /** Milliseconds from exec until the API answers. */
  async start(): Promise<number> {
    const startedAt = performance.now();
    this.#child = Bun.spawn(
      [
        ...[this.#binary, "up", "--data-dir", this.directory, "--name", "bench", "--cpu", "64"],
        ...["--memory", "64Gi", "--listen", "127.0.0.1:7440", "--cgroup-parent", "/muster-bench-node"],
      ],
      { stdio: ["ignore", "ignore", Bun.file(`${this.directory}.log`)] },
    );
    const child = this.#child;
    await until("the API answers", 30_000, async () => {
      if (child.exitCode !== null) throw new Error(await Bun.file(`${this.directory}.log`).text());
      return (await this.status()) !== undefined;
    });
    return performance.now() - startedAt;
  }

  /** As a power cut of the agent alone. */
  async killAgent(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#child?.exited;
  }

  async close(): Promise<void> {
    if (this.#child?.exitCode === null) await this.cli("down").catch(() => this.killAgent());
    await this.#child?.exited;
  }

  async cli(...words: readonly string[]): Promise<string> {
    return run([this.#binary, ...words], { MUSTER_SOCKET: join(this.directory, "muster.sock") });
  }

  async runOne(image: string, name: string, command: readonly string[]): Promise<void> {
    await this.cli("run", image, "--name", name, "--", ...command);
  }

  async removeOne(name: string): Promise<void> {
    await this.cli("delete", name, "--wait");
  }

  async view(name: string): Promise<DeploymentView> {
    const view: DeploymentView = JSON.parse(await this.cli("inspect", name, "--json"));
    return view;
  }

  async status(): Promise<StatusView | undefined> {
    try {
      const answer = await fetch("http://muster/v1/status", {
        unix: join(this.directory, "muster.sock"),
        keepalive: false,
      });
      const status: StatusView = JSON.parse(await answer.text());
      return status;
    } catch {
      return undefined;
    }
  }

  /** The agent. */
  daemons(): readonly number[] {
    return this.#child === undefined ? [] : [this.#child.pid];
  }

  /** One conmon for each container. */
  monitors(): readonly number[] {
    const agent = new Set(this.daemons());
    return processesNaming(this.directory).filter((pid) => !agent.has(pid));
  }

  /** The bundle of any container that runs: what is compared with bare runc. */
  bundle(): { readonly config: unknown; readonly directory: string } {
    const containers = join(this.directory, "containers", "containers");
    const id = readdirSync(containers)[0];
    if (id === undefined) throw new Error(`no container under ${containers}`);
    const directory = join(containers, id);
    const config: unknown = JSON.parse(readFileSync(join(directory, "config.json"), "utf8"));
    return { config, directory };
  }
}
