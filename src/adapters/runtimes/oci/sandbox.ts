/**
 * What the containers of one sandbox share beside their network: an IPC namespace, held by a bind mount of its name, and a
 * /dev/shm.
 *
 *   <root>/sandboxes/<name>/ipc   the namespace
 *                           shm   a tmpfs
 *
 * It is made with its first container and goes with its last. After a power loss the directory is there and the mounts
 * are not; they are made anew.
 */
import { existsSync, mkdirSync, rmSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { listIds } from "./bundle.ts";
import type { KernelMounts } from "./kernel-mounts.ts";

export interface Sandbox {
  /** A path that the OCI runtime joins. */
  readonly ipcNamespace: string;
  readonly sharedMemory: string;
}

/** statfs(2): the file system of namespaces. */
const namespaceType = 0x6e73_6673;
const sharedMemoryBytes = 64 * 1024 * 1024;
const unshareTimeoutMs = 5_000;

export interface SandboxesPorts {
  readonly mounts: KernelMounts;
  /** Whether a container of this sandbox is left on the machine. */
  readonly isUsed: (name: string) => boolean;
}

export class Sandboxes {
  readonly #ports: SandboxesPorts;
  readonly #directory: string;
  /** The last step for each name: the steps of one sandbox come one after another. */
  readonly #steps = new Map<string, Promise<unknown>>();

  constructor(ports: SandboxesPorts, options: { readonly directory: string }) {
    this.#ports = ports;
    this.#directory = options.directory;
  }

  /** Makes what is missing of it. Its first container has to be on disk already, or a removal may take it away. */
  ensure(name: string): Promise<Sandbox> {
    return this.#inTurn(name, async () => {
      const directory = join(this.#directory, name);
      const ipcNamespace = join(directory, "ipc");
      const sharedMemory = join(directory, "shm");
      mkdirSync(sharedMemory, { recursive: true, mode: 0o711 });
      if (!existsSync(ipcNamespace)) writeFileSync(ipcNamespace, "", { mode: 0o600 });
      // Its own file system, not merely one of that kind: the whole data directory may be in memory.
      if (statSync(sharedMemory).dev === statSync(directory).dev)
        this.#ports.mounts.tmpfs(sharedMemory, `mode=1777,size=${sharedMemoryBytes}`);
      if (statfsSync(ipcNamespace).type !== namespaceType) await makeIpcNamespace(ipcNamespace);
      return { ipcNamespace, sharedMemory };
    });
  }

  /** Takes it away when its last container has gone. */
  release(name: string): Promise<void> {
    return this.#inTurn(name, async () => {
      const directory = join(this.#directory, name);
      if (this.#ports.isUsed(name) || !existsSync(directory)) return;
      this.#ports.mounts.unmount(join(directory, "ipc"));
      this.#ports.mounts.unmount(join(directory, "shm"));
      rmSync(directory, { recursive: true, force: true });
    });
  }

  /** Takes away what a crash left behind. */
  async sweep(): Promise<void> {
    for (const name of listIds(this.#directory)) await this.release(name);
  }

  #inTurn<T>(name: string, step: () => Promise<T>): Promise<T> {
    const before = this.#steps.get(name) ?? Promise.resolve();
    const mine = before.then(step, step);
    const settled = mine.then(
      () => {},
      () => {},
    );
    this.#steps.set(name, settled);
    void settled.then(() => {
      if (this.#steps.get(name) === settled) this.#steps.delete(name);
    });
    return mine;
  }
}

async function makeIpcNamespace(path: string): Promise<void> {
  const child = Bun.spawn(["unshare", `--ipc=${path}`, "true"], {
    stdio: ["ignore", "ignore", "pipe"],
    timeout: unshareTimeoutMs,
  });
  const said = await new Response(child.stderr).text();
  if ((await child.exited) !== 0) throw new Error(`no IPC namespace could be made: ${said.trim()}`);
}
