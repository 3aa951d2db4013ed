/** Network namespaces with a name: each is held by a file that it is mounted on, in a directory of ours. */
import { closeSync, mkdirSync, openSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { ptr } from "bun:ffi";
import { assert } from "../../../model/assert.ts";
import type { LibC } from "./libc.ts";
import { cString, errnoOf } from "./netlink.ts";

const newNetworkNamespace = 0x4000_0000;
const bind = 4096;
const detach = 2;
const EINVAL = 22;
const ENOENT = 2;
const ownNamespace = "/proc/thread-self/ns/net";

export class NetworkNamespaces {
  readonly #libc: LibC;
  readonly #home: number;

  constructor(libc: LibC) {
    this.#libc = libc;
    this.#home = openSync(ownNamespace, "r");
  }

  /**
   * Makes a namespace, names it `path`, and calls `inside` in it. This thread is in the new namespace
   * for the length of the call, which is therefore synchronous: nothing else of the agent can run there.
   */
  create<T>(path: string, inside: () => T): T {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeFileSync(path, "");
    this.#check("unshare", this.#libc.symbols.unshare(newNetworkNamespace));
    try {
      const source = cString(ownNamespace);
      const target = cString(path);
      this.#check(
        `mount a namespace on ${path}`,
        this.#libc.symbols.mount(ptr(source), ptr(target), null, bind, null),
      );
      return inside();
    } finally {
      // An agent in a replica's network could neither be reached nor repair anything.
      assert(
        this.#libc.symbols.setns(this.#home, newNetworkNamespace) === 0,
        "return to the own network namespace",
      );
    }
  }

  /** Harmless when there is none. The namespace itself ends with the last process in it. */
  remove(path: string): void {
    const target = cString(path);
    while (this.#libc.symbols.umount2(ptr(target), detach) === 0);
    const errno = errnoOf(this.#libc);
    if (errno !== EINVAL && errno !== ENOENT) throw new Error(`unmount ${path}: errno ${errno}`);
    rmSync(path, { force: true });
  }

  /** Whether `path` holds a namespace: then it is on the kernel's own file system. */
  exists(path: string): boolean {
    const file = statSync(path, { throwIfNoEntry: false });
    return file !== undefined && file.dev !== statSync(dirname(path)).dev;
  }

  close(): void {
    closeSync(this.#home);
  }

  #check(call: string, result: number): void {
    if (result !== 0) throw new Error(`${call}: errno ${errnoOf(this.#libc)}`);
  }
}
