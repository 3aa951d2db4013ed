/**
 * What a container with a user namespace needs mounted on the machine: its root where an unprivileged user can get at
 * it, and its layers and directories with their owners shifted (mount_setattr(2), "ID-mapped mounts"). Nothing is
 * copied or changed: on disk every file keeps its owner, and layers stay shared with containers of other ranges.
 *
 *   /run/muster-roots/<runtime>/<id>/layers/0 ..   only while the overlay is being made
 *                                    root          the overlay: what is under the data directory is for root alone
 *                                    binds/0 ..    directories and files that the user mounts
 *
 * They are outside the container's own directory, so that no removal of that can ever reach into them.
 */
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { isErrno } from "./bundle.ts";
import type { IdRange } from "./id-ranges.ts";
import type { KernelMounts } from "./kernel-mounts.ts";

const rootsDirectory = "/run/muster-roots";
const holderTimeoutMs = 10_000;

/** Of the container whose directory this is; runtimes on one machine do not meet. */
export function shiftedDirectory(container: string): string {
  const runtime = Bun.hash(dirname(container)).toString(16).padStart(16, "0");
  return join(rootsDirectory, runtime, basename(container));
}

export class ShiftedMounts {
  readonly #mounts: KernelMounts;
  readonly #directory: string;
  readonly #namespaceFd: number;

  constructor(ports: { readonly mounts: KernelMounts }, directory: string, namespaceFd: number) {
    this.#mounts = ports.mounts;
    this.#directory = directory;
    this.#namespaceFd = namespaceFd;
  }

  /** Makes the directory, and lets everybody pass through it. */
  prepare(): void {
    mkdirSync(this.#directory, { recursive: true });
    for (const path of [rootsDirectory, join(this.#directory, ".."), this.#directory]) chmodSync(path, 0o711);
  }

  /** The layers as `use` may mount them; they are taken away afterwards. */
  withLayers(layers: readonly string[], use: (shifted: readonly string[]) => void): void {
    const directory = this.#makeDirectory("layers");
    try {
      use(layers.map((layer, index) => this.#bind(layer, join(directory, String(index)))));
    } finally {
      unmountAll(this.#mounts, directory);
    }
  }

  /** Where the container's own root can be reached by its users. */
  root(merged: string): string {
    const target = this.#makeDirectory("root");
    this.#mounts.bind(merged, target);
    return target;
  }

  /** What stands for `source` in the container's mounts. */
  source(source: string, index: number): string {
    return this.#bind(source, join(this.#makeDirectory("binds"), String(index)));
  }

  #makeDirectory(name: string): string {
    const path = join(this.#directory, name);
    mkdirSync(path, { recursive: true, mode: 0o711 });
    return path;
  }

  #bind(source: string, target: string): string {
    if (isDirectory(source)) mkdirSync(target, { mode: 0o711 });
    else writeFileSync(target, "", { mode: 0o600 });
    this.#mounts.bindShifted(source, target, this.#namespaceFd);
    return target;
  }
}

/** Unmounts and removes all that a container has here; throws when something cannot be. */
export function removeShifted(mounts: Pick<KernelMounts, "unmount">, directory: string): void {
  if (!existsSync(directory)) return;
  for (const name of ["layers", "binds"]) unmountAll(mounts, join(directory, name));
  unmountAt(mounts, join(directory, "root"));
  removeEmpty(directory);
  removeEmpty(dirname(directory));
}

function unmountAll(mounts: Pick<KernelMounts, "unmount">, directory: string): void {
  for (const name of namesIn(directory)) unmountAt(mounts, join(directory, name));
  removeEmpty(directory);
}

/** Never recursive: a mount that is still there must not be walked into. */
function unmountAt(mounts: Pick<KernelMounts, "unmount">, path: string): void {
  mounts.unmount(path);
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat?.isDirectory() === true) rmdirSync(path);
  else if (stat !== undefined) unlinkSync(path);
}

function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENOTEMPTY")) throw error;
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
}

function isDirectory(path: string): boolean {
  return lstatSync(path).isDirectory();
}

/** Lends a user namespace of this range, for as long as `use` takes. */
export async function withUserNamespace<T>(range: IdRange, use: (namespaceFd: number) => T): Promise<T> {
  const holder = Bun.spawn(["unshare", "--user", "sh", "-c", "echo; read -r end"], {
    stdio: ["pipe", "pipe", "ignore"],
    timeout: holderTimeoutMs,
  });
  try {
    // The first line says that it is in the new namespace.
    await holder.stdout.getReader().read();
    const namespace = `/proc/${holder.pid}/ns/user`;
    if (readlinkSync(namespace) === readlinkSync("/proc/self/ns/user"))
      throw new Error("this machine makes no user namespaces");
    for (const map of ["uid_map", "gid_map"])
      writeFileSync(`/proc/${holder.pid}/${map}`, `0 ${range.base} ${range.size}\n`);
    const fd = openSync(namespace, "r");
    try {
      return use(fd);
    } finally {
      closeSync(fd);
    }
  } finally {
    await holder.stdin.end();
    await holder.exited;
  }
}
