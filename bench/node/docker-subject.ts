/** A Docker daemon of its own under measurement: other sockets and directories than the machine's. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { processesNaming, run, until } from "./measure.ts";

export class DockerSubject {
  readonly name = "docker";
  readonly #directory: string;
  readonly #socket: string;
  #child: Bun.Subprocess | undefined;

  constructor(directory: string) {
    this.#directory = directory;
    this.#socket = `unix://${join(directory, "docker.sock")}`;
  }

  /** Its containerd is started by itself. The network is the bridge that it makes in this network namespace. */
  async start(): Promise<number> {
    mkdirSync(this.#directory, { recursive: true });
    // Its own, empty: the machine's settings are not those of the one measured.
    const config = join(this.#directory, "daemon.json");
    writeFileSync(config, "{}");
    const startedAt = performance.now();
    this.#child = Bun.spawn(
      [
        ...["dockerd", "-H", this.#socket, "--data-root", join(this.#directory, "data")],
        ...["--exec-root", join(this.#directory, "exec"), "--pidfile", join(this.#directory, "pid")],
        ...["--storage-driver", "overlay2", "--oom-score-adjust", "0", "--config-file", config],
      ],
      { stdio: ["ignore", "ignore", Bun.file(`${this.#directory}.log`)] },
    );
    const child = this.#child;
    await until("dockerd answers", 60_000, async () => {
      if (child.exitCode !== null) throw new Error(await Bun.file(`${this.#directory}.log`).text());
      return run(["docker", "-H", this.#socket, "version"]).then(
        () => true,
        () => false,
      );
    });
    return performance.now() - startedAt;
  }

  async close(): Promise<void> {
    if (this.#child === undefined) return;
    if (this.#child.exitCode === null) {
      const ids = (await this.cli("ps", "-aq")).split("\n").filter((id) => id !== "");
      if (ids.length > 0) await this.cli("rm", "-f", ...ids);
    }
    this.#child.kill("SIGTERM");
    await this.#child.exited;
  }

  async cli(...words: readonly string[]): Promise<string> {
    return run(["docker", "-H", this.#socket, ...words]);
  }

  async runOne(image: string, name: string, command: readonly string[]): Promise<void> {
    await this.cli("run", "-d", "--name", name, image, ...command);
  }

  async removeOne(name: string): Promise<void> {
    await this.cli("rm", "-f", name);
  }

  /** dockerd and its containerd. */
  daemons(): readonly number[] {
    const monitors = new Set(this.monitors());
    return processesNaming(this.#directory).filter((pid) => !monitors.has(pid));
  }

  /** One shim for each container. */
  monitors(): readonly number[] {
    const address = join(this.#directory, "exec", "containerd", "containerd.sock");
    return processesNaming(address).filter((pid) => processesNaming("containerd-shim").includes(pid));
  }
}
