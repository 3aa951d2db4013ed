/**
 * Programs of the machine itself, without an image: each in its own control group and session, with a conmon
 * that keeps its log and its exit code as for a container. conmon is told that a few words of shell are its
 * OCI runtime; they start the launcher (launch.ts), which waits at a gate and then becomes the program.
 *
 * Files on disk and their meaning are those of the OCI runtime (oci/bundle.ts), and so is what a crash leaves.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
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
import { makeGroup, readControllers } from "../cgroup-controllers.ts";
import { readUsage } from "../cgroup-usage.ts";
import { endedSession } from "../ended-session.ts";
import { attachTo } from "../oci/attach.ts";
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
} from "../oci/bundle.ts";
import { readCgroupTree, removeCgroup, type CgroupTree } from "../oci/cgroups.ts";
import { runConmon } from "../oci/conmon.ts";
import { readContainerLog } from "../oci/container-log.ts";
import { StatusReader } from "../oci/container-status.ts";
import { ExitWatch } from "../oci/exit-watch.ts";
import { LogRotation } from "../oci/log-rotation.ts";
import { Permits } from "../oci/permits.ts";
import { hasThreads, livesInCgroup, livesWithArgument, sendSignal } from "../oci/processes.ts";
import { asRuntimeError, badCommand, describeFailure, failed, notRunning } from "../oci/runtime-failure.ts";
import { tearDown } from "../oci/teardown.ts";
import { openGate } from "./gate.ts";
import { execRequestOf, launchRequestOf, refusedField } from "./launch-plan.ts";
import { launchRequestSchema, type LaunchRequest } from "./launch-request.ts";
import { startExec } from "./process-exec.ts";

export interface ProcessRuntimePorts {
  readonly clock: Clock;
}

export interface ProcessRuntimeOptions {
  /** A directory of this runtime alone. */
  readonly root: string;
  readonly conmonPath: string;
  /** The words that start the launcher; the file it reads comes after them. */
  readonly launchCommand: readonly string[];
  /** Control group that holds those of the programs. */
  readonly cgroupParent: string;
  readonly logBytesMax: number;
  readonly pidsMax: number;
  /** Most programs being made or removed at the same time. */
  readonly parallelMax: number;
  /** How often ends are looked for that no event told of. */
  readonly scanIntervalMs: number;
  /** The longest pause between two looks at a log that is kept in several files. */
  readonly logPauseMs: number;
}

export const processRuntimeDefaults = {
  conmonPath: "conmon",
  logBytesMax: 16 * 1024 * 1024,
  pidsMax: 4_096,
  parallelMax: 2,
  scanIntervalMs: 5_000,
  logPauseMs: 1_000,
} as const;

const SIGKILL = 9;

/**
 * What conmon takes for `runtime create`: starts the rest of the command line behind itself and writes down its
 * pid. A shell gives what it starts so an empty input, hence the detour by descriptor 3.
 */
const createScript = 'exec 3<&0; "$@" <&3 3<&- & printf %s "$!" >"$0"';

export class ProcessRuntime implements ContainerRuntime {
  readonly #clock: Clock;
  readonly #options: ProcessRuntimeOptions;
  readonly #directories: RuntimeDirectories;
  readonly #permits: Permits;
  readonly #exits: ExitWatch;
  readonly #rotation: LogRotation;
  readonly #statuses: StatusReader;
  /** Being made or removed in this process; they do not exist for `list`. */
  readonly #inTransition = new Set<string>();
  #tree: CgroupTree | undefined;
  #execs = 0;

  constructor(ports: ProcessRuntimePorts, options: ProcessRuntimeOptions) {
    this.#clock = ports.clock;
    this.#options = options;
    this.#directories = runtimeDirectories(options.root);
    this.#permits = new Permits(options.parallelMax);
    this.#rotation = new LogRotation({ clock: ports.clock }, { pauseMaxMs: options.logPauseMs });
    this.#statuses = new StatusReader(() => ports.clock.now());
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
    this.#open();
    const paths = this.#paths(spec.id);
    if (existsSync(paths.pid) && readMeta(paths) !== undefined) return;
    const refused = refusedField(spec);
    if (refused !== undefined) throw badCommand(spec.id, refused);
    const plan = launchRequestOf(spec, {
      gate: gatePath(paths),
      pidsMax: this.#options.pidsMax,
    });
    if (!plan.ok) throw badCommand(spec.id, plan.detail);
    this.#inTransition.add(spec.id);
    try {
      await this.#permits.run(async () => {
        if (existsSync(paths.directory)) await this.#tearDown(spec.id, paths);
        try {
          await this.#make(spec, plan.request, paths);
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
    const phase = this.#status(id)?.phase;
    if (phase === "exited") return;
    const pid = readPid(paths.pid);
    if (phase !== "created" || pid === undefined) throw failed(id, "start", "it is not whole; remove it");
    const group = this.#cgroup(id, paths);
    // Empty until the program is in it, the group may have been taken away with those above it.
    makeGroup(readControllers(), group, launchRequestIn(paths).limits);
    // A process in the midst of an exec has no arguments for a moment: what it has joined is what counts.
    const hasLeft = (): boolean =>
      existsSync(paths.exit) ||
      !hasThreads(pid) ||
      (livesInCgroup(pid, group) && !livesWithArgument(pid, paths.config));
    if (!(await openGate(gatePath(paths), hasLeft, this.#clock)))
      throw failed(id, "start", "its launcher does not answer");
    writeFileSync(paths.started, "");
  }

  async signal(id: string, signal: number): Promise<void> {
    const paths = this.#existing(id);
    const pid = readPid(paths.pid);
    if (pid === undefined) return;
    if (livesInCgroup(pid, this.#cgroup(id, paths)) || livesWithArgument(pid, paths.config))
      sendSignal(pid, signal);
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
    const plan = execRequestOf(launchRequestIn(paths), request);
    if (!plan.ok) return endedSession(plan.detail, request.terminal !== undefined);
    this.#execs += 1;
    const file = join(paths.directory, `exec-${process.pid}-${this.#execs}`);
    return startExec([...this.#options.launchCommand, file], file, plan.request, request.terminal);
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
    return this.#noTree(id, path);
  }

  async copyIn(id: string, path: string): Promise<void> {
    return this.#noTree(id, path);
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

  #noTree(id: string, path: string): never {
    this.#existing(id);
    const detail = "a program of the machine has no file tree of its own";
    throw new RuntimeError(`copy ${path} of ${id}: ${detail}`, { code: "bad-path", id, path, detail });
  }

  async close(): Promise<void> {
    this.#exits.close();
    this.#rotation.close();
    const tree = this.#tree;
    this.#tree = undefined;
    if (tree !== undefined && listIds(this.#directories.containers).length === 0)
      removeCgroup(tree, this.#options.cgroupParent);
  }

  #open(): CgroupTree {
    if (this.#tree !== undefined) return this.#tree;
    for (const directory of Object.values(this.#directories))
      mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#tree = readCgroupTree();
    for (const id of listIds(this.#directories.containers)) this.#tend(id, this.#paths(id));
    return this.#tree;
  }

  async #make(spec: ContainerSpec, request: LaunchRequest, paths: BundlePaths): Promise<void> {
    const cgroup = `${this.#options.cgroupParent}/${spec.id}`;
    const logs = spec.logs ?? { fileBytes: this.#options.logBytesMax, files: 1 };
    createBundle(paths, spec, cgroup, { logs });
    const groupFiles = makeGroup(readControllers(), cgroup, request.limits);
    writeFileSync(paths.config, JSON.stringify({ ...request, groupFiles: [...groupFiles] }), { mode: 0o600 });
    rmSync(paths.exit, { force: true });
    const answer = await runConmon(spec.id, paths, this.#directories, {
      conmonPath: this.#options.conmonPath,
      runtimePath: "/bin/sh",
      runtimeArgs: ["-c", createScript, paths.pid, ...this.#options.launchCommand, paths.config],
      logBytesMax: logs.fileBytes,
      stdin: spec.stdin === true,
    });
    if (!answer.ok) throw describeFailure(spec.id, "create", answer.detail);
    this.#tend(spec.id, paths);
  }

  /** What a program needs of an agent for as long as it lives, whoever made it. */
  #tend(id: string, paths: BundlePaths): void {
    const meta = readMeta(paths);
    if (meta === undefined || existsSync(paths.exit)) return;
    this.#rotation.add(id, { path: paths.log, exit: paths.exit, limits: meta.logs });
  }

  async #tearDown(id: string, paths: BundlePaths): Promise<void> {
    this.#rotation.remove(id);
    const pid = readPid(paths.pid);
    if (pid !== undefined && livesWithArgument(pid, paths.config)) sendSignal(pid, SIGKILL);
    await tearDown(id, paths, this.#cgroup(id, paths), {
      clock: this.#clock,
      overlays: { unmount: () => {} },
      tree: this.#open(),
      deleteState: async () => {},
    });
  }

  #status(id: string): ContainerStatus | undefined {
    if (this.#inTransition.has(id) || !isContainerId(id)) return undefined;
    return this.#statuses.read(id, this.#paths(id), this.#open(), `${this.#options.cgroupParent}/${id}`);
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
    throw new RuntimeError(`no container ${id}`, { code: "no-such-container", id });
  }
}

function launchRequestIn(paths: BundlePaths): LaunchRequest {
  return v.parse(launchRequestSchema, JSON.parse(readFileSync(paths.config, "utf8")));
}

function gatePath(paths: BundlePaths): string {
  return join(paths.directory, "gate");
}
