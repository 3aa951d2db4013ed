/** Runs one more process inside a running container, by the OCI runtime's `exec`. */
import { mkdirSync, readFileSync, rmSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RuntimeError, type ExecRequest, type ExecSession } from "../../../ports/container-runtime.ts";
import { readPid, type BundlePaths } from "./bundle.ts";
import { spawnWithPipes, spawnWithTerminal, type LocalProcess } from "./exec-process.ts";
import { resolveImageUser, type ImageUser } from "./image-user.ts";
import { effectiveCapabilities, withDefaults } from "./oci-config.ts";
import { sendSignal } from "./processes.ts";
import { describeFailure } from "./runtime-failure.ts";

const SIGKILL = 9;

export interface ExecOptions {
  readonly runtimePath: string;
  readonly runtimeRoot: string;
  /** Unique within the container. */
  readonly session: string;
}

/** Resolves once the process runs; rejects when it cannot be started. */
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
    const command = [
      options.runtimePath,
      `--root=${options.runtimeRoot}`,
      ...["exec", "--process", processFile, "--pid-file", pidFile, id],
    ];
    local =
      request.terminal === undefined ? spawnWithPipes(command) : spawnWithTerminal(command, request.terminal);
    const pid = await startedPid(directory, pidFile, local.exited);
    if (pid === undefined) throw await startFailure(id, local);
    return session(local, pid, () => removeTree(directory));
  } catch (error) {
    local?.abandon();
    removeTree(directory);
    throw error;
  }
}

function removeTree(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
}

function session(local: LocalProcess, pid: number, cleanUp: () => void): ExecSession {
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
      if (!isOver) sendSignal(pid, SIGKILL);
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

async function startFailure(id: string, local: LocalProcess): Promise<RuntimeError> {
  const decoder = new TextDecoder();
  let said = "";
  for await (const chunk of local.output) said += decoder.decode(chunk.data);
  return describeFailure(id, "exec", said.trim());
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
    ...(user ? { user, capabilities: effectiveCapabilities(user.uid) } : {}),
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

function processOf(config: unknown): {
  readonly whole: object;
  readonly env: readonly string[];
} {
  if (typeof config === "object" && config !== null && "process" in config) {
    const whole = config.process;
    if (typeof whole === "object" && whole !== null && "env" in whole) {
      const env = Array.isArray(whole.env) ? whole.env : [];
      return {
        whole,
        env: env.filter((line): line is string => typeof line === "string"),
      };
    }
  }
  throw new Error("the container's configuration has no process");
}
