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
  type ContainerUsage,
  type ExecRequest,
  type ExecSession,
  type LogLine,
  type LogOptions,
  type TerminalSize,
} from "../../../ports/container-runtime.ts";
import type { Logger } from "../../../ports/logger.ts";
import { readControllers } from "../cgroup-controllers.ts";
import { readUsage } from "../cgroup-usage.ts";
import { copyIn, copyOut, type CopyTarget } from "../copy/copy-process.ts";
import { attachTo } from "./attach.ts";
import {
  bundlePaths,
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
import { readContainerLog } from "./container-log.ts";
import { StatusReader } from "./container-status.ts";
import { DiskWatch } from "./disk-watch.ts";
import { execInContainer } from "./exec.ts";
import { ExitWatch } from "./exit-watch.ts";
import { LogRotation } from "./log-rotation.ts";
import { openMachine, type Machine } from "./machine.ts";
import { makeBundle } from "./make-bundle.ts";
import { Permits } from "./permits.ts";
import { livesInCgroup, sendSignal } from "./processes.ts";
import {
  asRuntimeError,
  badCommand,
  badSpec,
  describeFailure,
  failed,
  notRunning,
} from "./runtime-failure.ts";
import { RuntimeCommands } from "./runtime-commands.ts";
import type { RuntimeProgram } from "./runtime-program.ts";
import { Sandboxes } from "./sandbox.ts";
import { tearDown } from "./teardown.ts";

export interface OciRuntimePorts {
  readonly clock: Clock;
  readonly log: Logger;
}

export interface OciRuntimeOptions {
  /** A directory of this runtime alone, on a file system that overlayfs can write to. */
  readonly root: string;
  /** Name or path of the OCI runtime binary for containers that do not ask for one. */
  readonly runtimePath: string;
  readonly conmonPath: string;
  /** Control group that holds those of the containers, such as `/muster/1a2b3c4d`. */
  readonly cgroupParent: string;
  /** Size at which the log of a container that does not say starts anew. */
  readonly logBytesMax: number;
  /** The longest pause between two looks at whether a log has begun a new file. */
  readonly logPauseMs: number;
  /** Most processes and threads in a container that does not say. */
  readonly pidsMax: number;
  /** Most containers being made or removed at the same time. */
  readonly parallelMax: number;
  /** The words that start the copying child; its request comes after them. */
  readonly copyCommand: readonly string[];
  /** How often ends are looked for that no event told of: their monitor had died, or events were lost. */
  readonly scanIntervalMs: number;
  /** The shortest pause between two looks at how much disk containers use. */
  readonly diskPauseMs: number;
}

export const ociRuntimeDefaults = {
  runtimePath: "runc",
  conmonPath: "conmon",
  logBytesMax: 16 * 1024 * 1024,
  logPauseMs: 1_000,
  pidsMax: 4_096,
  parallelMax: 2,
  scanIntervalMs: 5_000,
  diskPauseMs: 2_000,
  copyCommand: [],
} as const;

const SIGKILL = 9;
const bytesPerMebibyte = 1024 * 1024;

interface Opened {
  readonly machine: Machine;
  readonly sandboxes: Sandboxes;
  readonly commands: RuntimeCommands;
}

export class OciRuntime implements ContainerRuntime {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #options: OciRuntimeOptions;
  readonly #directories: RuntimeDirectories;
  readonly #permits: Permits;
  readonly #exits: ExitWatch;
  readonly #statuses: StatusReader;
  readonly #rotation: LogRotation;
  readonly #disk: DiskWatch;
  /** Being made or removed in this process; they do not exist for `list`. */
  readonly #inTransition = new Set<string>();
  #opened: Opened | undefined;
  #execs = 0;

  constructor(ports: OciRuntimePorts, options: OciRuntimeOptions) {
    this.#clock = ports.clock;
    this.#log = ports.log;
    this.#options = options;
    this.#directories = runtimeDirectories(options.root);
    this.#permits = new Permits(options.parallelMax);
    this.#statuses = new StatusReader(() => ports.clock.now());
    this.#rotation = new LogRotation({ clock: ports.clock }, { pauseMaxMs: options.logPauseMs });
    this.#disk = new DiskWatch(
      { ...ports, onExcess: (id, used, limit) => this.#endForDisk(id, used, limit) },
      { pauseMinMs: options.diskPauseMs },
    );
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
    const { commands } = this.#open();
    const paths = this.#paths(spec.id);
    if (existsSync(paths.pid) && readMeta(paths) !== undefined) return;
    if (spec.layers.length === 0) throw failed(spec.id, "create", "an image without layers has no root");
    if (spec.args.length === 0) throw badCommand(spec.id, "no command is given");
    if (spec.sandbox !== undefined && !isContainerId(spec.sandbox))
      throw badSpec(spec.id, `${JSON.stringify(spec.sandbox)} is not the name of a sandbox`);
    const program = commands.programFor(spec);
    this.#inTransition.add(spec.id);
    try {
      await this.#permits.run(async () => {
        if (existsSync(paths.directory)) await this.#tearDown(spec.id, paths);
        try {
          await this.#make(program, spec, paths);
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
    const { commands } = this.#open();
    const { exitCode, stderr } = await commands.run(commands.programOf(paths), ["start", id]);
    // The runtime refuses to start twice: then an earlier start went through and its mark is missing.
    const isBegun = /already running|already been started/.test(stderr);
    if (exitCode !== 0 && !isBegun && this.#status(id)?.phase !== "exited")
      throw describeFailure(id, "start", stderr);
    writeFileSync(paths.started, "");
  }

  async signal(id: string, signal: number): Promise<void> {
    const paths = this.#existing(id);
    const pid = readPid(paths.pid);
    if (pid === undefined || !livesInCgroup(pid, this.#cgroup(id, paths))) return;
    const { commands } = this.#open();
    const program = commands.programOf(paths);
    if (program.hasVisibleProcess) sendSignal(pid, signal);
    else {
      const { exitCode, stderr } = await commands.run(program, ["kill", id, String(signal)]);
      if (exitCode !== 0 && livesInCgroup(pid, this.#cgroup(id, paths)))
        throw describeFailure(id, "signal", stderr);
    }
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
    const { commands } = this.#open();
    const program = commands.programOf(paths);
    const killInside = (pid: number) => commands.run(program, ["kill", "--pid", `${pid}`, id, `${SIGKILL}`]);
    try {
      return await execInContainer(id, paths, request, {
        command: commands.words(program),
        session: `${process.pid}-${this.#execs}`,
        ...(program.hasVisibleProcess ? {} : { killInside }),
      });
    } catch (error) {
      if (this.#status(id)?.phase !== "running") throw notRunning(id);
      throw asRuntimeError(id, "exec", error);
    }
  }

  async attach(id: string, terminal?: TerminalSize): Promise<ExecSession> {
    const { directory } = this.#existing(id);
    if (this.#status(id)?.phase !== "running") throw notRunning(id);
    const ports = { clock: this.#clock, status: () => this.#status(id) };
    try {
      return await attachTo(ports, { directory, terminal });
    } catch (error) {
      throw asRuntimeError(id, "attach to", error);
    }
  }

  async copyOut(id: string, path: string): Promise<AsyncIterable<Uint8Array>> {
    return copyOut(this.#copyTarget(id, path));
  }

  async copyIn(id: string, path: string, archive: AsyncIterable<Uint8Array>): Promise<void> {
    await copyIn(this.#copyTarget(id, path), archive);
  }

  async usage(): Promise<readonly ContainerUsage[]> {
    const controllers = readControllers();
    const running = (await this.list()).filter(({ phase }) => phase === "running");
    return running.map(({ id, labels, pid }) => ({
      id,
      labels,
      atMs: this.#clock.now(),
      ...readUsage(controllers, this.#cgroup(id, this.#paths(id)), pid),
    }));
  }

  /** What runs sees its mounts, too; of anything else there is the tree that its layers make. */
  #copyTarget(id: string, path: string): CopyTarget {
    const paths = this.#existing(id);
    const pid = this.#open().commands.programOf(paths).hasVisibleProcess ? this.#status(id)?.pid : undefined;
    const root = pid === undefined ? paths.merged : `/proc/${pid}/root`;
    const ownerBase = readMeta(paths)?.idBase ?? 0;
    return { command: this.#options.copyCommand, id, root, path, ownerBase };
  }

  async close(): Promise<void> {
    this.#exits.close();
    this.#rotation.close();
    this.#disk.close();
    const opened = this.#opened;
    if (opened === undefined) return;
    this.#opened = undefined;
    await opened.sandboxes.sweep();
    opened.machine.mounts.close();
    if (listIds(this.#directories.containers).length === 0)
      removeCgroup(opened.machine.tree, this.#options.cgroupParent);
  }

  /** What is asked of the machine once, at the first call. */
  #open(): Opened {
    if (this.#opened !== undefined) return this.#opened;
    for (const directory of Object.values(this.#directories))
      mkdirSync(directory, { recursive: true, mode: 0o700 });
    const machine = openMachine(this.#options);
    const commands = new RuntimeCommands(
      { machine, log: this.#log },
      { stateDirectory: this.#directories.runtime, defaultRuntime: this.#options.runtimePath },
    );
    // A default that is missing is told at once, not at the first container.
    commands.program(undefined);
    const sandboxes = new Sandboxes(
      { mounts: machine.mounts, isUsed: (name) => this.#usesSandbox(name) },
      { directory: this.#directories.sandboxes },
    );
    this.#opened = { machine, sandboxes, commands };
    for (const id of listIds(this.#directories.containers)) this.#tend(id, this.#paths(id));
    sandboxes.sweep().catch((error: unknown) => {
      this.#log.warn("left-over sandboxes were not taken away", { error: String(error) });
    });
    return this.#opened;
  }

  async #make(program: RuntimeProgram, spec: ContainerSpec, paths: BundlePaths): Promise<void> {
    const opened = this.#open();
    const logs = spec.logs ?? { fileBytes: this.#options.logBytesMax, files: 1 };
    const idsOf = (sandbox: string | undefined) => this.#idsOf(sandbox);
    await makeBundle(
      spec,
      paths,
      { ...opened, idsOf },
      {
        program,
        cgroup: `${this.#options.cgroupParent}/${spec.id}`,
        pidsMax: this.#options.pidsMax,
        logs,
      },
    );
    // A leftover of a container of this name that was not removed properly would read as this one's end.
    rmSync(paths.exit, { force: true });
    const [runtimePath, ...runtimeArgs] = opened.commands.words(program);
    const answer = await runConmon(spec.id, paths, this.#directories, {
      conmonPath: opened.machine.conmonPath,
      runtimePath,
      runtimeArgs,
      logBytesMax: logs.fileBytes,
      stdin: spec.stdin === true,
      terminal: spec.terminal === true,
    });
    if (!answer.ok) throw describeFailure(spec.id, "create", answer.detail);
    this.#tend(spec.id, paths);
  }

  /** What a container needs of an agent for as long as it lives, whoever made it. */
  #tend(id: string, paths: BundlePaths): void {
    const meta = readMeta(paths);
    if (meta === undefined || existsSync(paths.exit)) return;
    this.#rotation.add(id, { path: paths.log, exit: paths.exit, limits: meta.logs });
    this.#disk.add(id, { directory: paths.directory, bytesMax: meta.ephemeralBytes });
  }

  async #endForDisk(id: string, usedBytes: number, limitBytes: number): Promise<void> {
    const status = this.#status(id);
    if (status?.phase !== "running") return;
    const message = `it used ${mebibytes(usedBytes)} MiB of the node's disk, and may use ${mebibytes(limitBytes)}`;
    this.#log.warn("container ended for its use of disk", { container: id, usedBytes, limitBytes });
    writeFileSync(this.#paths(id).ended, message);
    await this.signal(id, SIGKILL);
  }

  async #tearDown(id: string, paths: BundlePaths): Promise<void> {
    const { machine, sandboxes, commands } = this.#open();
    this.#rotation.remove(id);
    this.#disk.remove(id);
    const sandbox = readMeta(paths)?.sandbox;
    await tearDown(id, paths, this.#cgroup(id, paths), {
      clock: this.#clock,
      overlays: machine.mounts,
      tree: machine.tree,
      deleteState: () => commands.deleteState(id, paths),
    });
    if (sandbox !== undefined) await sandboxes.release(sandbox);
  }

  #idsOf(sandbox: string | undefined): { sandbox: number | undefined; all: ReadonlySet<number> } {
    const metas = listIds(this.#directories.containers).map((id) => readMeta(this.#paths(id)));
    const mine = metas.find((meta) => sandbox !== undefined && meta?.sandbox === sandbox);
    return {
      sandbox: mine?.idBase,
      all: new Set(metas.map((meta) => meta?.idBase).filter((base) => base !== undefined)),
    };
  }

  #usesSandbox(name: string): boolean {
    return listIds(this.#directories.containers).some((id) => readMeta(this.#paths(id))?.sandbox === name);
  }

  #status(id: string): ContainerStatus | undefined {
    if (this.#inTransition.has(id) || !isContainerId(id)) return undefined;
    return this.#statuses.read(
      id,
      this.#paths(id),
      this.#open().machine.tree,
      `${this.#options.cgroupParent}/${id}`,
    );
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

function mebibytes(bytes: number): string {
  return (bytes / bytesPerMebibyte).toFixed(1);
}
