/** A real process runtime over a temporary directory and a control group of its own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import {
  ProcessRuntime,
  processRuntimeDefaults,
  type ProcessRuntimeOptions,
} from "../../src/adapters/runtimes/process/process-runtime.ts";
import { SystemClock } from "../../src/adapters/system/system-clock.ts";
import type { ContainerSpec } from "../../src/ports/container-runtime.ts";

export const processPrograms = ["conmon", "sh"];

export interface ProcessRig {
  readonly directory: string;
  readonly options: ProcessRuntimeOptions;
  open(): ProcessRuntime;
  spec(id: string, args: readonly string[]): ContainerSpec;
  dispose(): Promise<void>;
}

const program = new URL("../../src/main.ts", import.meta.url).pathname;

export function makeProcessRig(): ProcessRig {
  const directory = mkdtempSync(join(tmpdir(), "muster-process-"));
  const options: ProcessRuntimeOptions = {
    ...processRuntimeDefaults,
    root: join(directory, "processes"),
    launchCommand: [process.execPath, program, "internal-launch"],
    cgroupParent: `/${basename(directory)}`,
    scanIntervalMs: 100,
    logPauseMs: 20,
  };
  const open = (): ProcessRuntime => new ProcessRuntime({ clock: new SystemClock() }, options);
  return {
    directory,
    options,
    open,
    spec: (id, args) => ({
      id,
      labels: {},
      layers: [],
      args,
      env: [],
      workingDirectory: "/",
      user: "",
      hostname: "rig",
      cpuMillis: 0,
      memoryBytes: 0,
    }),
    dispose: async () => {
      const runtime = open();
      for (const { id } of await runtime.list()) await runtime.remove(id);
      await runtime.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
