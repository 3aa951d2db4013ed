/**
 * mount(2) and its younger relatives, called in this process: the mount namespace of the agent holds what is mounted, and
 * a spawned `mount` would cost two milliseconds more for each container.
 */
import { closeSync } from "node:fs";
import { dlopen, FFIType, ptr, read } from "bun:ffi";

const detach = 2;
const errnoNames: ReadonlyMap<number, string> = new Map([
  [1, "EPERM"],
  [2, "ENOENT"],
  [16, "EBUSY"],
  [20, "ENOTDIR"],
  [22, "EINVAL"],
  [38, "ENOSYS"],
]);
const ENOENT = 2;
const EINVAL = 22;

const bindFlag = 0x1000;
/** nosuid, nodev, noexec. */
const sealedFlags = 0x2 | 0x4 | 0x8;

/** System calls without a function in older C libraries; their numbers are the same on every processor. */
const openTreeCall = 428;
const moveMountCall = 429;
const mountSetattrCall = 442;
const currentDirectory = -100;
/** OPEN_TREE_CLONE and OPEN_TREE_CLOEXEC. */
const cloneTree = 0x1 | 0x8_0000;
const moveEmptyPath = 0x4;
const emptyPath = 0x1000;
const idMapAttribute = 0x10_0000n;

export class MountError extends Error {
  override readonly name = "MountError";
  readonly errno: number;
  constructor(call: string, target: string, errno: number) {
    super(`${call} ${target}: ${errnoNames.get(errno) ?? `errno ${errno}`}`);
    this.errno = errno;
  }
}

export class KernelMounts {
  readonly #libc = dlopen("libc.so.6", {
    mount: {
      args: [FFIType.ptr, FFIType.ptr, FFIType.ptr, FFIType.u64, FFIType.ptr],
      returns: FFIType.i32,
    },
    umount2: { args: [FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
    syscall: {
      args: [FFIType.i64, FFIType.i64, FFIType.ptr, FFIType.i64, FFIType.ptr, FFIType.i64],
      returns: FFIType.i64,
    },
    __errno_location: { args: [], returns: FFIType.ptr },
  });

  /** 0, or the error number. */
  mountFileSystem(type: string, target: string, data: string, flags = 0): number {
    const typeName = cString(type);
    const path = cString(target);
    const options = cString(data);
    const result = this.#libc.symbols.mount(ptr(typeName), ptr(path), ptr(typeName), flags, ptr(options));
    return result === 0 ? 0 : this.#errno();
  }

  tmpfs(target: string, options: string): void {
    const errno = this.mountFileSystem("tmpfs", target, options, sealedFlags);
    if (errno !== 0) throw new MountError("mount tmpfs on", target, errno);
  }

  bind(source: string, target: string): void {
    const from = cString(source);
    const path = cString(target);
    if (this.#libc.symbols.mount(ptr(from), ptr(path), null, bindFlag, null) !== 0)
      throw new MountError(`bind ${source} to`, target, this.#errno());
  }

  /**
   * Binds `source`, with users and groups shifted as the user namespace behind `namespaceFd` maps them
   * (mount_setattr(2), "ID-mapped mounts"): Linux 5.12, and a file system that can.
   */
  bindShifted(source: string, target: string, namespaceFd: number): void {
    const from = cString(source);
    const path = cString(target);
    const nothing = cString("");
    const fd = this.#call(openTreeCall, currentDirectory, from, cloneTree, null, 0);
    if (fd < 0) throw new MountError("open the tree", source, this.#errno());
    try {
      // struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
      const attributes = new BigUint64Array([idMapAttribute, 0n, 0n, BigInt(namespaceFd)]);
      if (this.#call(mountSetattrCall, fd, nothing, emptyPath, attributes, attributes.byteLength) !== 0)
        throw new MountError("map the users of", source, this.#errno());
      if (this.#call(moveMountCall, fd, nothing, currentDirectory, path, moveEmptyPath) !== 0)
        throw new MountError(`bind ${source} to`, target, this.#errno());
    } finally {
      closeSync(fd);
    }
  }

  /** All that is mounted there, however often; harmless when nothing is. */
  unmount(target: string): void {
    const path = cString(target);
    for (;;) {
      if (this.#libc.symbols.umount2(ptr(path), detach) === 0) continue;
      const errno = this.#errno();
      if (errno === EINVAL || errno === ENOENT) return;
      throw new MountError("unmount", target, errno);
    }
  }

  close(): void {
    this.#libc.close();
  }

  /** All calls of this kind: a directory, a path in it, a number, a pointer, a number. */
  #call(
    call: number,
    directory: number,
    path: Buffer,
    third: number,
    pointed: Buffer | BigUint64Array | null,
    last: number,
  ): number {
    const pointer = pointed === null ? null : ptr(pointed);
    return Number(this.#libc.symbols.syscall(call, directory, ptr(path), third, pointer, last));
  }

  #errno(): number {
    const location = this.#libc.symbols.__errno_location();
    return location === null ? -1 : read.i32(location);
  }
}

function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}
