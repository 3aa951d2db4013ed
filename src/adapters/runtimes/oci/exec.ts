/** Runs one more process inside a running container, by the OCI runtime's `exec`. */
import { mkdirSync, readFileSync, rmSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { endedSession } from "../ended-session.ts";
import { RuntimeError, type ExecRequest, type ExecSession } from "../../../ports/container-runtime.ts";
import { readPid, type BundlePaths } from "./bundle.ts";
import { spawnWithPipes, spawnWithTerminal, type LocalProcess } from "./exec-process.ts";
import { resolveImageUser, type ImageUser } from "./image-user.ts";
import { effectiveCapabilities } from "./capabilities.ts";
import { withDefaults } from "./oci-config.ts";
import { sendSignal } from "./processes.ts";
import { describeFailure } from "./runtime-failure.ts";

const SIGKILL = 9;
const endedBySigpipe = 141;

export interface ExecOptions {
  /** The OCI runtime's program and its first arguments. */
  readonly command: readonly string[];
  /** Unique within the container. */
  readonly session: string;
  /** SIGKILL to a process in a sandbox, where its number says nothing to the machine; undefined when it is one of the machine's. */
  readonly killInside?: (pid: number) => Promise<unknown>;
}

/** Resolves once the process runs, or to a session that has ended when its program cannot be executed. */
export async function execInContainer(
  id: string,
  paths: BundlePaths,
  request: ExecRequest,
  options: ExecOptions,
): Promise<ExecSession> {
  const directory = join(paths.directory, `exec-${options.session}`);
  const processFile = join(directory, "process.json");
  const pidFile = join(directory, "pid");
  mkdirSync(directory, { mode: 0o700 });
  let local: LocalProcess | undefined;
  try {
    writeFileSync(processFile, JSON.stringify(execProcess(id, paths, request)), { mode: 0o600 });
    const pidOption = options.killInside === undefined ? "--pid-file" : "--internal-pid-file";
    const command = [...options.command, "exec", "--process", processFile, pidOption, pidFile, id];
    local =
      request.terminal === undefined ? spawnWithPipes(command) : spawnWithTerminal(command, request.terminal);
    const pid = await startedPid(directory, pidFile, local.exited);
    if (pid === undefined) {
      const failure = await startFailure(id, local, request.args[0] ?? "");
      if (failure.info.code !== "bad-command") throw failure;
      removeTree(directory);
      return endedSession(failure.info.detail, request.terminal !== undefined);
    }
    const kill = options.killInside ?? ((process: number) => sendSignal(process, SIGKILL));
    return session(
      local,
      () => kill(pid),
      () => removeTree(directory),
    );
  } catch (error) {
    local?.abandon();
    removeTree(directory);
    throw error;
  }
}

function removeTree(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
}

function session(local: LocalProcess, kill: () => unknown, cleanUp: () => void): ExecSession {
  let isOver = false;
  const exitCode = local.exited.finally(() => {
    isOver = true;
    cleanUp();
  });
  return {
    output: local.output,
    write: local.write,
    closeInput: local.closeInput,
    resize: local.resize,
    // The local command reaps the process, so until it has ended itself the pid is nobody else's.
    kill: () => {
      if (!isOver) void kill();
    },
    exitCode,
  };
}

/** The process's pid; undefined when the command ended without having started one. */
async function startedPid(
  directory: string,
  pidFile: string,
  exited: Promise<number>,
): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const watcher = watch(directory, () => {
    if (readPid(pidFile) !== undefined) resolve();
  });
  try {
    if (readPid(pidFile) === undefined) await Promise.race([promise, exited]);
    return readPid(pidFile);
  } finally {
    watcher.close();
  }
}

async function startFailure(id: string, local: LocalProcess, program: string): Promise<RuntimeError> {
  const decoder = new TextDecoder();
  let said = "";
  for await (const chunk of local.output) said += decoder.decode(chunk.data);
  // gVisor shuts the streams of a program that it cannot load, and its own words with them.
  if (said === "" && (await local.exited) === endedBySigpipe)
    return describeFailure(id, "exec", `exec: "${program}": not found, or not executable`);
  const failure = describeFailure(id, "exec", said.trim());
  if (!failure.message.includes("setns process")) return failure;
  const advice = "to execute in a container with a user namespace takes crun, or runc 1.2.2";
  return describeFailure(id, "exec", `${failure.message}: ${advice}`);
}

/** The process of the container's own configuration, with what the request says otherwise. */
function execProcess(id: string, paths: BundlePaths, request: ExecRequest): object {
  const config: unknown = JSON.parse(readFileSync(paths.config, "utf8"));
  const base = processOf(config);
  const terminal = request.terminal !== undefined;
  const names = new Set(request.env.map((line) => line.split("=", 1)[0]));
  const inherited = base.env.filter((line) => !names.has(line.split("=", 1)[0]));
  const env = [...inherited, ...request.env];
  const user = request.user === undefined ? undefined : imageUser(id, paths.merged, request.user);
  return {
    ...base.whole,
    terminal,
    ...(request.terminal
      ? {
          consoleSize: {
            width: request.terminal.columns,
            height: request.terminal.rows,
          },
        }
      : {}),
    ...(user ? { user, capabilities: effectiveCapabilities(user.uid, base.capabilities) } : {}),
    args: request.args,
    env: terminal ? withDefaults(env, ["TERM=xterm-256color"]) : env,
    ...(request.workingDirectory === undefined ? {} : { cwd: request.workingDirectory }),
  };
}

function imageUser(id: string, root: string, name: string): ImageUser {
  const result = resolveImageUser(root, name);
  if (result.ok) return result.user;
  throw new RuntimeError(`exec in ${id}: ${result.detail}`, {
    code: "bad-command",
    id,
    detail: result.detail,
  });
}

interface ConfiguredProcess {
  readonly whole: object;
  readonly env: readonly string[];
  /** Those that any of the container's processes may come to hold. */
  readonly capabilities: readonly string[];
}

function processOf(config: unknown): ConfiguredProcess {
  const whole = fieldOf(config, "process");
  if (typeof whole !== "object" || whole === null)
    throw new Error("the container's configuration has no process");
  return {
    whole,
    env: textsOf(fieldOf(whole, "env")),
    capabilities: textsOf(fieldOf(fieldOf(whole, "capabilities"), "bounding")),
  };
}

function fieldOf(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  return new Map<string, unknown>(Object.entries(value)).get(name);
}

function textsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((each): each is string => typeof each === "string") : [];
}
