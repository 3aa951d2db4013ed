/** The commands of OCI runtimes (`start`, `kill`, `delete`) for containers that may each have been made by another one. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { ContainerSpec } from "../../../ports/container-runtime.ts";
import type { Logger } from "../../../ports/logger.ts";
import { readMeta, type BundlePaths } from "./bundle.ts";
import type { Machine } from "./machine.ts";
import type { RuntimeProgram } from "./runtime-program.ts";

export interface RuntimeCommandsPorts {
  readonly machine: Pick<Machine, "program">;
  readonly log: Logger;
}

export interface RuntimeCommandsOptions {
  /** Where the OCI runtimes keep their state. */
  readonly stateDirectory: string;
  /** Name or path of the runtime of containers that do not name one. */
  readonly defaultRuntime: string;
}

/** A runtime that hangs must not hold its container's next step up for ever. */
const commandTimeoutMs = 60_000;

export interface CommandResult {
  readonly exitCode: number;
  readonly stderr: string;
}

export class RuntimeCommands {
  readonly #ports: RuntimeCommandsPorts;
  readonly #options: RuntimeCommandsOptions;

  constructor(ports: RuntimeCommandsPorts, options: RuntimeCommandsOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  /** By the name that a specification gives; throws RuntimeError when it is not installed. */
  program(name: string | undefined): RuntimeProgram {
    return this.#ports.machine.program(name ?? this.#options.defaultRuntime);
  }

  /**
   * What makes this container. Until 1.2.2, runc cannot execute a program in a container whose user namespace does not own its
   * network (runc issue 4390), so crun makes those where it is installed and nothing else was asked for.
   */
  programFor({ runtime, userNamespace }: Pick<ContainerSpec, "runtime" | "userNamespace">): RuntimeProgram {
    const program = this.program(runtime);
    if (userNamespace !== true || runtime !== undefined || program.name !== "runc") return program;
    return Bun.which("crun") === null ? program : this.program("crun");
  }

  /** The one that made the container, whatever the default is by now. */
  programOf(paths: BundlePaths): RuntimeProgram {
    return this.program(readMeta(paths)?.runtime || undefined);
  }

  /** The program and its arguments up to the command. */
  words(program: RuntimeProgram): readonly [string, ...string[]] {
    return [...program.command, `--root=${this.#options.stateDirectory}`];
  }

  async run(program: RuntimeProgram, args: readonly string[]): Promise<CommandResult> {
    const child = Bun.spawn([...this.words(program), ...args], {
      stdio: ["ignore", "ignore", "pipe"],
      timeout: commandTimeoutMs,
    });
    const stderr = await new Response(child.stderr).text();
    return { exitCode: await child.exited, stderr };
  }

  /** Takes away what the runtime itself remembers of a container. */
  async deleteState(id: string, paths: BundlePaths): Promise<void> {
    const { stateDirectory } = this.#options;
    const states = readdirSync(stateDirectory).filter((name) => isStateOf(name, id));
    if (states.length === 0) return;
    try {
      const { exitCode, stderr } = await this.run(this.programOf(paths), ["delete", "--force", id]);
      if (exitCode !== 0) this.#warn(id, stderr);
    } catch (error) {
      // The program may have been uninstalled since.
      this.#warn(id, String(error));
    }
    // Half a state, as a crash leaves it, is something no runtime can read.
    for (const name of states) rmSync(join(stateDirectory, name), { recursive: true, force: true });
  }

  #warn(id: string, detail: string): void {
    this.#ports.log.warn("runtime could not delete its state", { container: id, detail });
  }
}

/** runc and crun keep a directory of the container's name, runsc files that begin with it. */
function isStateOf(name: string, id: string): boolean {
  return name === id || name.startsWith(`${id}_sandbox:`);
}
