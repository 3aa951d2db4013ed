/** Makes all that the OCI runtime needs for one container: its directory, its root, its files and its configuration. */
import { writeFileSync } from "node:fs";
import type { LogLimits } from "../../../model/spec.ts";
import type { ContainerSpec } from "../../../ports/container-runtime.ts";
import { createBundle, type BundlePaths } from "./bundle.ts";
import { grantCapabilities } from "./capabilities.ts";
import { writeContainerFiles } from "./container-files.ts";
import { resolveImageUser } from "./image-user.ts";
import type { Machine } from "./machine.ts";
import { mountProblem } from "./mount-check.ts";
import { ociConfig } from "./oci-config.ts";
import { mountOverlay } from "./overlay.ts";
import { badCommand, badSpec } from "./runtime-failure.ts";
import type { RuntimeProgram } from "./runtime-program.ts";
import type { Sandboxes } from "./sandbox.ts";

export interface BundlePorts {
  readonly machine: Machine;
  readonly sandboxes: Sandboxes;
}

export interface BundleOptions {
  readonly program: RuntimeProgram;
  readonly cgroup: string;
  readonly pidsMax: number;
  readonly logs: LogLimits;
}

/** Rejects with RuntimeError when the node cannot carry the specification out; what was made by then is left for teardown. */
export async function makeBundle(
  spec: ContainerSpec,
  paths: BundlePaths,
  { machine, sandboxes }: BundlePorts,
  { program, cgroup, pidsMax, logs }: BundleOptions,
): Promise<void> {
  const problem = mountProblem(spec);
  if (problem !== undefined) throw badSpec(spec.id, problem);
  if (spec.userNamespace === true) throw badSpec(spec.id, "this runtime makes no user namespaces");
  const capabilities = grantCapabilities(spec.capabilities, machine.capabilities);
  if (!capabilities.ok) throw badSpec(spec.id, capabilities.detail);

  createBundle(paths, spec, cgroup, { runtime: program.name, logs });
  const sandbox = spec.sandbox === undefined ? undefined : await sandboxes.ensure(spec.sandbox);
  mountOverlay(machine.mounts, paths.merged, { layers: spec.layers, upper: paths.upper, work: paths.work });
  const user = resolveImageUser(paths.merged, spec.user);
  if (!user.ok) throw badCommand(spec.id, user.detail);
  const config = ociConfig({
    spec,
    root: paths.merged,
    user: user.user,
    cgroup,
    capabilities: capabilities.names,
    pidsMax,
    filesMax: machine.filesMax,
    hasSwapLimit: machine.hasSwapLimit,
    files: writeContainerFiles(paths, spec, 0),
    sandbox,
    idRange: undefined,
    knowsRecursiveReadOnly: program.knowsRecursiveReadOnly,
  });
  writeFileSync(paths.config, JSON.stringify(config), { mode: 0o600 });
}
