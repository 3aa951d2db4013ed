/** runc alone on the same bundle, and conmon with runc: the floor under what anybody can reach. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "./measure.ts";

interface OciConfig {
  readonly process: { readonly args: readonly string[] };
  readonly root: { readonly path: string };
  readonly linux: { readonly namespaces: readonly { readonly type: string }[] };
}

function isConfig(value: unknown): value is OciConfig {
  return (
    typeof value === "object" && value !== null && "process" in value && "linux" in value && "root" in value
  );
}

export class BareSubject {
  readonly #directory: string;
  readonly #config: OciConfig;
  readonly #root: string;
  readonly #ids = new Set<string>();

  /** `bundle` is a container's of somebody else: its root and its settings are used, its network is not. */
  constructor(directory: string, bundle: { readonly config: unknown; readonly directory: string }) {
    if (!isConfig(bundle.config))
      throw new Error(`${bundle.directory} has no config.json of the OCI runtime`);
    this.#directory = directory;
    this.#config = bundle.config;
    this.#root = bundle.config.root.path.startsWith("/")
      ? bundle.config.root.path
      : join(bundle.directory, bundle.config.root.path);
  }

  #bundle(id: string, command: readonly string[]): string {
    const bundle = join(this.#directory, id);
    mkdirSync(bundle, { recursive: true });
    this.#ids.add(id);
    const config = {
      ...this.#config,
      process: { ...this.#config.process, args: command, terminal: false },
      root: { ...this.#config.root, path: this.#root },
      linux: {
        ...this.#config.linux,
        cgroupsPath: `/muster-bench-bare/${id}`,
        namespaces: this.#config.linux.namespaces.map(({ type }) => ({ type })),
      },
    };
    writeFileSync(join(bundle, "config.json"), JSON.stringify(config));
    return bundle;
  }

  get #runc(): readonly string[] {
    return ["runc", `--root=${join(this.#directory, "state")}`];
  }

  /** `runc run --detach`; the bundle is made before the clock starts. */
  prepared(id: string, command: readonly string[]): () => Promise<void> {
    const bundle = this.#bundle(id, command);
    return async () => {
      const child = Bun.spawn([...this.#runc, "run", "--detach", "--bundle", bundle, id], {
        stdio: ["ignore", "ignore", "ignore"],
      });
      if ((await child.exited) !== 0) throw new Error(`runc run ${id} failed`);
    };
  }

  /** What conmon and runc take to create and start, as the agent calls them. */
  preparedMonitored(id: string, command: readonly string[]): () => Promise<void> {
    const bundle = this.#bundle(id, command);
    const exits = join(this.#directory, "exits");
    mkdirSync(exits, { recursive: true });
    const runc = Bun.which("runc") ?? "runc";
    return async () => {
      const child = Bun.spawn(
        [
          ...["conmon", "--api-version", "1", "--cid", id, "--cuuid", id, "--name", id, "--runtime", runc],
          ...[`--runtime-arg=--root=${join(this.#directory, "state")}`, "--bundle", bundle],
          ...["--container-pidfile", join(bundle, "pid"), "--conmon-pidfile", join(bundle, "conmon.pid")],
          ...["--log-path", `k8s-file:${join(bundle, "log")}`, "--exit-dir", exits],
          ...["--persist-dir", bundle, "--socket-dir-path", bundle, "--full-attach", "--no-sync-log"],
        ],
        {
          cwd: bundle,
          env: { PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin", _OCI_SYNCPIPE: "3" },
          stdio: ["ignore", "ignore", "ignore", "pipe"],
        },
      );
      const answer = child.stdio[3];
      if (typeof answer !== "number") throw new Error("no pipe to conmon");
      const { value } = await Bun.file(answer).stream().getReader().read();
      const said = new TextDecoder().decode(value);
      if (!/"data":\s*[1-9]/.test(said)) throw new Error(`conmon: ${said}`);
      await run([...this.#runc, "start", id]);
    };
  }

  async remove(id: string): Promise<void> {
    await run([...this.#runc, "delete", "--force", id]);
    rmSync(join(this.#directory, id), { recursive: true, force: true });
    this.#ids.delete(id);
  }

  /** Takes away what a failed round has left. */
  async close(): Promise<void> {
    for (const id of this.#ids) await this.remove(id).catch(() => this.#ids.delete(id));
  }
}
