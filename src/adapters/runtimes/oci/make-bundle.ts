/** Makes all that the OCI runtime needs for one container: its directory, its root, its files and its configuration. */
import { chownSync, writeFileSync } from "node:fs";
import type { LogLimits } from "../../../model/spec.ts";
import type { ContainerMount, ContainerSpec } from "../../../ports/container-runtime.ts";
import { createBundle, type BundlePaths } from "./bundle.ts";
import { grantCapabilities } from "./capabilities.ts";
import { writeContainerFiles } from "./container-files.ts";
import { freeIdRange, idRange, type IdRange } from "./id-ranges.ts";
import { resolveImageUser } from "./image-user.ts";
import { MountError } from "./kernel-mounts.ts";
import type { Machine } from "./machine.ts";
import { mountProblem } from "./mount-check.ts";
import { lastGroup, networkSettings, ociConfig } from "./oci-config.ts";
import { mountOverlay } from "./overlay.ts";
import { badCommand, badSpec } from "./runtime-failure.ts";
import type { RuntimeProgram } from "./runtime-program.ts";
import type { Sandboxes } from "./sandbox.ts";
import { ShiftedMounts, shiftedDirectory, withUserNamespace } from "./shifted-mounts.ts";

export interface BundlePorts {
  readonly machine: Machine;
  readonly sandboxes: Sandboxes;
  /** First ids of the ranges in use: of the sandbox's containers, and all of them. */
  readonly idsOf: (sandbox: string | undefined) => {
    readonly sandbox: number | undefined;
    readonly all: ReadonlySet<number>;
  };
}

const settingsTimeoutMs = 5_000;

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
  { machine, sandboxes, idsOf }: BundlePorts,
  { program, cgroup, pidsMax, logs }: BundleOptions,
): Promise<void> {
  const problem = mountProblem(spec);
  if (problem !== undefined) throw badSpec(spec.id, problem);
  const grantable = machine.capabilities.difference(new Set(program.unknownCapabilities));
  const capabilities = grantCapabilities(spec.capabilities, grantable);
  if (!capabilities.ok) throw badSpec(spec.id, capabilities.detail);
  const range = spec.userNamespace === true ? rangeFor(spec, program, idsOf) : undefined;

  createBundle(paths, spec, cgroup, {
    runtime: program.name,
    logs,
    ...(range === undefined ? {} : { idBase: range.base }),
  });
  const sandbox = spec.sandbox === undefined ? undefined : await sandboxes.ensure(spec.sandbox);
  const tree =
    range === undefined ? plainTree(spec, paths, machine) : await shiftedTree(spec, paths, machine, range);
  if (range !== undefined && spec.networkNamespace !== undefined)
    await applyNetworkSettings(spec.networkNamespace);
  const user = resolveImageUser(paths.merged, spec.user);
  if (!user.ok) throw badCommand(spec.id, user.detail);
  const config = ociConfig({
    spec,
    ...tree,
    user: user.user,
    cgroup,
    capabilities: capabilities.names,
    pidsMax,
    filesMax: machine.filesMax,
    oomScoreAdj: Math.max(0, machine.oomScoreAdj),
    hasSwapLimit: machine.hasSwapLimit,
    files: writeContainerFiles(paths, spec, range?.base ?? 0),
    sandbox,
    idRange: range,
    knowsRecursiveReadOnly: program.knowsRecursiveReadOnly,
  });
  writeFileSync(paths.config, JSON.stringify(config), { mode: 0o600 });
}

/** Containers of one sandbox have one range: what they share belongs to the same users. */
function rangeFor(spec: ContainerSpec, program: RuntimeProgram, idsOf: BundlePorts["idsOf"]): IdRange {
  if (!program.sharesKernel)
    throw badSpec(spec.id, `${program.name} has users of its own and makes no user namespaces`);
  const { sandbox, all } = idsOf(spec.sandbox);
  const range = sandbox === undefined ? freeIdRange(all) : idRange(sandbox);
  if (range === undefined) throw badSpec(spec.id, "all user ids for containers are in use on this node");
  return range;
}

interface Tree {
  readonly root: string;
  readonly mounts: readonly ContainerMount[];
}

function plainTree(spec: ContainerSpec, paths: BundlePaths, { mounts }: Machine): Tree {
  mountOverlay(mounts, paths.merged, { layers: spec.layers, upper: paths.upper, work: paths.work });
  return { root: paths.merged, mounts: spec.mounts ?? [] };
}

function shiftedTree(
  spec: ContainerSpec,
  paths: BundlePaths,
  { mounts }: Machine,
  range: IdRange,
): Promise<Tree> {
  // What is written carries the machine's ids; only what was there before is shown shifted.
  chownSync(paths.upper, range.base, range.base);
  return withUserNamespace(range, (namespaceFd) => {
    const shifted = new ShiftedMounts({ mounts }, shiftedDirectory(paths.directory), namespaceFd);
    shifted.prepare();
    try {
      shifted.withLayers(spec.layers, (layers) =>
        mountOverlay(mounts, paths.merged, { layers, upper: paths.upper, work: paths.work }),
      );
      const own = (spec.mounts ?? []).map((mount, index) =>
        mount.kind === "bind" ? { ...mount, source: shifted.source(mount.source, index) } : mount,
      );
      return { root: shifted.root(paths.merged), mounts: own };
    } catch (error) {
      if (!(error instanceof MountError)) throw error;
      const detail = `no user namespace here (Linux 5.19 and a file system with ID-mapped mounts are needed): ${error.message}`;
      throw badSpec(spec.id, detail);
    }
  });
}

/** The kernel lets only the owner of a network namespace set these, which a container of other users is not. */
async function applyNetworkSettings(namespace: string): Promise<void> {
  const settings = Object.entries(networkSettings(lastGroup)).map(([name, value]) => `${name}=${value}`);
  const child = Bun.spawn(["nsenter", `--net=${namespace}`, "sysctl", "-q", "-w", ...settings], {
    stdio: ["ignore", "ignore", "pipe"],
    timeout: settingsTimeoutMs,
  });
  const said = await new Response(child.stderr).text();
  if ((await child.exited) !== 0) throw new Error(`network settings were refused: ${said.trim()}`);
}
