/** A real OCI runtime over a temporary directory and a control group of its own, for tests and benchmarks. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import {
  OciRuntime,
  ociRuntimeDefaults,
  type OciRuntimeOptions,
} from "../../src/adapters/runtimes/oci/oci-runtime.ts";
import { SystemClock } from "../../src/adapters/system/system-clock.ts";
import type { ContainerSpec } from "../../src/ports/container-runtime.ts";
import type { LogFields, Logger } from "../../src/ports/logger.ts";
import { makeBusyboxLayer } from "./machine-needs.ts";

const program = new URL("../../src/main.ts", import.meta.url).pathname;

export interface OciRig {
  readonly directory: string;
  readonly layer: string;
  readonly options: OciRuntimeOptions;
  /** Over the same directory, with other options where `changes` says so. */
  open(changes?: Partial<OciRuntimeOptions>): OciRuntime;
  /** What runs `args` in the busybox image. */
  spec(id: string, args: readonly string[]): ContainerSpec;
  dispose(): Promise<void>;
}

export function makeOciRig(changes: Partial<OciRuntimeOptions> = {}): OciRig {
  const directory = mkdtempSync(join(tmpdir(), "muster-oci-"));
  const layer = makeBusyboxLayer(join(directory, "layer"));
  const options: OciRuntimeOptions = {
    ...ociRuntimeDefaults,
    root: join(directory, "oci"),
    cgroupParent: `/${basename(directory)}`,
    copyCommand: [process.execPath, program, "internal-copy"],
    scanIntervalMs: 100,
    diskPauseMs: 100,
    logPauseMs: 40,
    ...changes,
  };
  const open = (other: Partial<OciRuntimeOptions> = {}): OciRuntime =>
    new OciRuntime({ clock: new SystemClock(), log: silentLogger }, { ...options, ...other });
  return {
    directory,
    layer,
    options,
    open,
    spec: (id, args) => ({
      id,
      labels: {},
      layers: [layer],
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

/** Tells only of trouble. */
export const silentLogger: Logger = {
  error: (message: string, fields?: LogFields) => console.error(message, fields),
  warn: (message: string, fields?: LogFields) => console.warn(message, fields),
  info: () => {},
  debug: () => {},
  child: () => silentLogger,
};
