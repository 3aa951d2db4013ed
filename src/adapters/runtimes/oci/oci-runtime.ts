/**
 * Containers by an OCI runtime binary (runc, crun, ...), each watched by a conmon of its own; no daemon.
 *
 * All state is on disk (bundle.ts), and the order of the steps makes every crash recoverable: the
 * container's directory is made first and removed last, so whatever half exists is listed, and
 * `remove` takes any of it away.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import type { Clock } from "../../../ports/clock.ts";
import {
  RuntimeError,
  type ContainerRuntime,
  type ContainerSpec,
  type ContainerStatus,
  type ExecRequest,
  type ExecSession,
  type LogLine,
  type LogOptions,
} from "../../../ports/container-runtime.ts";
import type { Logger } from "../../../ports/logger.ts";
import {
  bundlePaths,
  createBundle,
  isContainerId,
  listIds,
  readMeta,
  readPid,
  runtimeDirectories,
  type BundlePaths,
  type RuntimeDirectories,
} from "./bundle.ts";
import { removeCgroup } from "./cgroups.ts";
import { runConmon } from "./conmon.ts";
import { writeContainerFiles } from "./container-files.ts";
import { readContainerLog } from "./container-log.ts";
import { containerStatus } from "./container-status.ts";
import { execInContainer } from "./exec.ts";
import { ExitWatch } from "./exit-watch.ts";
import { resolveImageUser } from "./image-user.ts";
import { ociConfig } from "./oci-config.ts";
import { openMachine, type Machine } from "./machine.ts";
import { Permits } from "./permits.ts";
import { livesInCgroup, sendSignal } from "./processes.ts";
import { asRuntimeError, badCommand, describeFailure, failed, notRunning } from "./runtime-failure.ts";
import { tearDown } from "./teardown.ts";

export interface OciRuntimePorts {
  readonly clock: Clock;
  readonly log: Logger;
}

export interface OciRuntimeOptions {
  /** A directory of this runtime alone, on a file system that overlayfs can write to. */
  readonly root: string;
  /** Name or path of the OCI runtime binary. */
  readonly runtimePath: string;
  readonly conmonPath: string;
  /** Control group that holds those of the containers, such as `/muster/1a2b3c4d`. */
  readonly cgroupParent: string;
  /** Size at which a container's log starts anew. */
  readonly logBytesMax: number;
  /** Most processes and threads in one container. */
  readonly pidsMax: number;
  /** Most containers being made or removed at the same time. */
  readonly parallelMax: number;
  /** How often ends are looked for that no event told of: their monitor had died, or events were lost. */
  readonly scanIntervalMs: number;
}

export const ociRuntimeDefaults = {
  runtimePath: "runc",
  conmonPath: "conmon",
  logBytesMax: 16 * 1024 * 1024,
  pidsMax: 4_096,
  parallelMax: 2,
  scanIntervalMs: 5_000,
} as const;

export class OciRuntime implements ContainerRuntime {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #options: OciRuntimeOptions;
  readonly #directories: RuntimeDirectories;
  readonly #permits: Permits;
  readonly #exits: ExitWatch;
  /** Being made or removed in this process; they do not exist for `list`. */
  readonly #inTransition = new Set<string>();
  #opened: Machine | undefined;
  #execs = 0;

  constructor(ports: OciRuntimePorts, options: OciRuntimeOptions) {
    this.#clock = ports.clock;
    this.#log = ports.log;
    this.#options = options;
    this.#directories = runtimeDirectories(options.root);
    this.#permits = new Permits(options.parallelMax);
    this.#exits = new ExitWatch(
      {
        clock: ports.clock,
        ids: () => listIds(this.#directories.containers),
        statusOf: (id) => this.#status(id),
      },
      { exitsDirectory: this.#directories.exits, scanIntervalMs: options.scanIntervalMs },
    );
  }

  async create(spec: ContainerSpec): Promise<void> {
    const machine = this.#open();
    const paths = this.#paths(spec.id);
    if (existsSync(paths.pid) && readMeta(paths) !== undefined) return;
    if (spec.layers.length === 0) throw failed(spec.id, "create", "an image without layers has no root");
    if (spec.args.length === 0) throw badCommand(spec.id, "no command is given");
    this.#inTransition.add(spec.id);
    try {
      await this.#permits.run(async () => {
        if (existsSync(paths.directory)) await this.#tearDown(spec.id, paths);
        try {
          await this.#make(machine, spec, paths);
        } catch (error) {
          await this.#tearDown(spec.id, paths);
          throw asRuntimeError(spec.id, "create", error);
        }
      });
    } finally {
      this.#inTransition.delete(spec.id);
    }
  }

  async start(id: string): Promise<void> {
    const paths = this.#existing(id);
    if (existsSync(paths.started)) return;
    const status = this.#status(id);
    if (status?.phase === "exited") return;
    if (status?.phase !== "created") throw failed(id, "start", "it is not whole; remove it");
    const { exitCode, stderr } = await this.#run(["start", id]);
    // The runtime refuses to start twice: then an earlier start went through and its mark is missing.
    const isBegun = /already running|already been started/.test(stderr);
    if (exitCode !== 0 && !isBegun && this.#status(id)?.phase !== "exited")
      throw describeFailure(id, "start", stderr);
    writeFileSync(paths.started, "");
  }

  async signal(id: string, signal: number): Promise<void> {
    const paths = this.#existing(id);
    const pid = readPid(paths.pid);
    if (pid !== undefined && livesInCgroup(pid, this.#cgroup(id, paths))) sendSignal(pid, signal);
  }

  async remove(id: string): Promise<void> {
    this.#open();
    const paths = this.#paths(id);
    if (!existsSync(paths.directory)) return;
    this.#inTransition.add(id);
    try {
      await this.#permits.run(() => this.#tearDown(id, paths));
    } catch (error) {
      throw asRuntimeError(id, "remove", error);
    } finally {
      this.#inTransition.delete(id);
    }
    this.#exits.forget(id);
  }

  async list(): Promise<readonly ContainerStatus[]> {
    this.#open();
    return listIds(this.#directories.containers)
      .map((id) => this.#status(id))
      .filter((status) => status !== undefined);
  }

  watch(listener: (status: ContainerStatus) => void): () => void {
    this.#open();
    return this.#exits.add(listener);
  }

  async *logs(id: string, options: LogOptions): AsyncIterable<LogLine> {
    yield* readContainerLog(this.#existing(id).log, options);
  }

  async exec(id: string, request: ExecRequest): Promise<ExecSession> {
    const paths = this.#existing(id);
    if (this.#status(id)?.phase !== "running") throw notRunning(id);
    this.#execs += 1;
    try {
      return await execInContainer(id, paths, request, {
        runtimePath: this.#open().runtimePath,
        runtimeRoot: this.#directories.runtime,
        session: `${process.pid}-${this.#execs}`,
      });
    } catch (error) {
      if (this.#status(id)?.phase !== "running") throw notRunning(id);
      throw asRuntimeError(id, "exec", error);
    }
  }

  async close(): Promise<void> {
    this.#exits.close();
    const opened = this.#opened;
    if (opened === undefined) return;
    this.#opened = undefined;
    opened.overlays.close();
    if (listIds(this.#directories.containers).length === 0)
      removeCgroup(opened.tree, this.#options.cgroupParent);
  }

  /** What is asked of the machine once, at the first call. */
  #open(): Machine {
    if (this.#opened !== undefined) return this.#opened;
    for (const directory of Object.values(this.#directories))
      mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#opened = openMachine(this.#options);
    return this.#opened;
  }

  async #make(machine: Machine, spec: ContainerSpec, paths: BundlePaths): Promise<void> {
    const cgroup = `${this.#options.cgroupParent}/${spec.id}`;
    createBundle(paths, spec, cgroup);
    machine.overlays.mount(paths.merged, {
      layers: spec.layers,
      upper: paths.upper,
      work: paths.work,
    });
    const user = resolveImageUser(paths.merged, spec.user);
    if (!user.ok) throw badCommand(spec.id, user.detail);
    const config = ociConfig({
      spec,
      user: user.user,
      cgroup,
      pidsMax: this.#options.pidsMax,
      filesMax: machine.filesMax,
      hasSwapLimit: machine.hasSwapLimit,
      files: writeContainerFiles(paths, spec),
    });
    writeFileSync(paths.config, JSON.stringify(config), { mode: 0o600 });
    // A leftover of a container of this name that was not removed properly would read as this one's end.
    rmSync(paths.exit, { force: true });
    const answer = await runConmon(spec.id, paths, this.#directories, {
      conmonPath: machine.conmonPath,
      runtimePath: machine.runtimePath,
      logBytesMax: this.#options.logBytesMax,
    });
    if (!answer.ok) throw describeFailure(spec.id, "create", answer.detail);
  }

  async #tearDown(id: string, paths: BundlePaths): Promise<void> {
    const { tree, overlays } = this.#open();
    await tearDown(id, paths, this.#cgroup(id, paths), {
      clock: this.#clock,
      overlays,
      tree,
      deleteState: async () => {
        if (!existsSync(`${this.#directories.runtime}/${id}`)) return;
        const { exitCode, stderr } = await this.#run(["delete", "--force", id]);
        if (exitCode !== 0)
          this.#log.warn("runtime could not delete its state", {
            container: id,
            detail: stderr,
          });
        // Half a state, as a crash leaves it, is something no runtime can read.
        rmSync(`${this.#directories.runtime}/${id}`, {
          recursive: true,
          force: true,
        });
      },
    });
  }

  async #run(args: readonly string[]): Promise<{ readonly exitCode: number; readonly stderr: string }> {
    const child = Bun.spawn([this.#open().runtimePath, `--root=${this.#directories.runtime}`, ...args], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    const stderr = await new Response(child.stderr).text();
    return { exitCode: await child.exited, stderr };
  }

  #status(id: string): ContainerStatus | undefined {
    if (this.#inTransition.has(id) || !isContainerId(id)) return undefined;
    return containerStatus(id, this.#paths(id), this.#open().tree, `${this.#options.cgroupParent}/${id}`);
  }

  #cgroup(id: string, paths: BundlePaths): string {
    return readMeta(paths)?.cgroup ?? `${this.#options.cgroupParent}/${id}`;
  }

  #paths(id: string): BundlePaths {
    if (!isContainerId(id)) throw failed(id, "find", "not a container id");
    return bundlePaths(this.#directories, id);
  }

  #existing(id: string): BundlePaths {
    const paths = this.#paths(id);
    if (existsSync(paths.directory)) return paths;
    throw new RuntimeError(`no container ${id}`, {
      code: "no-such-container",
      id,
    });
  }
}
