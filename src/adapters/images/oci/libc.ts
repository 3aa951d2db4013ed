/**
 * The system calls that unpacking needs and node:fs lacks: everything relative to a directory handle, devices,
 * extended attributes, and openat2, by which the kernel itself refuses a path that leaves a directory.
 * Names are byte strings (one character per byte). Used in the unpacking child only.
 */
import { dlopen, read } from "bun:ffi";
import { constants } from "node:os";

export class SystemCallError extends Error {
  override readonly name = "SystemCallError";
  readonly errno: number;
  constructor(call: string, errno: number) {
    super(`${call}: ${errnoName(errno)}`);
    this.errno = errno;
  }
}

function errnoName(errno: number): string {
  for (const [name, value] of Object.entries(constants.errno)) if (value === errno) return name;
  return `errno ${errno}`;
}

/** From the kernel's headers; the same on x86-64 and arm64 except where chosen below. */
const openat2Number = 437;
const resolveNoMagicLinks = 0x02n;
const resolveBeneath = 0x08n;
const atSymlinkNoFollow = 0x100;
const parentDeathSignal = 1;
const noFollow = process.arch === "arm64" ? 0o100000 : 0o400000;
const directoryOnly = process.arch === "arm64" ? 0o40000 : 0o200000;

export const openFlags = {
  writeOnly: 0o1,
  create: 0o100,
  exclusive: 0o200,
  closeOnExec: 0o2000000,
  pathOnly: 0o10000000,
  noFollow,
  directoryOnly,
} as const;

export const nodeTypes = {
  fifo: 0o010000,
  characterDevice: 0o020000,
  blockDevice: 0o060000,
} as const;

function loadSymbols() {
  const musl = process.arch === "arm64" ? "aarch64" : "x86_64";
  const signatures = {
    __errno_location: { args: [], returns: "ptr" },
    syscall: { args: ["i64", "i64", "ptr", "ptr", "u64"], returns: "i64" },
    openat: { args: ["i32", "ptr", "i32", "u32"], returns: "i32" },
    close: { args: ["i32"], returns: "i32" },
    write: { args: ["i32", "ptr", "u64"], returns: "i64" },
    mkdirat: { args: ["i32", "ptr", "u32"], returns: "i32" },
    unlinkat: { args: ["i32", "ptr", "i32"], returns: "i32" },
    symlinkat: { args: ["ptr", "i32", "ptr"], returns: "i32" },
    linkat: { args: ["i32", "ptr", "i32", "ptr", "i32"], returns: "i32" },
    mknodat: { args: ["i32", "ptr", "u32", "u64"], returns: "i32" },
    fchownat: { args: ["i32", "ptr", "u32", "u32", "i32"], returns: "i32" },
    fchmodat: { args: ["i32", "ptr", "u32", "i32"], returns: "i32" },
    utimensat: { args: ["i32", "ptr", "ptr", "i32"], returns: "i32" },
    fchdir: { args: ["i32"], returns: "i32" },
    lsetxattr: { args: ["ptr", "ptr", "ptr", "u64", "i32"], returns: "i32" },
    syncfs: { args: ["i32"], returns: "i32" },
    chroot: { args: ["ptr"], returns: "i32" },
    prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  } as const;
  try {
    return dlopen("libc.so.6", signatures).symbols;
  } catch {
    return dlopen(`libc.musl-${musl}.so.1`, signatures).symbols;
  }
}

function text(bytes: string): Buffer {
  return Buffer.from(`${bytes}\0`, "latin1");
}

export class Libc {
  readonly #symbols = loadSymbols();

  /** Opens `path` (relative) below `directory`; EXDEV when any part of it, links included, leads outside. */
  openBeneath(directory: number, path: string, flags: number): number {
    const how = new BigUint64Array([
      BigInt(flags | openFlags.closeOnExec),
      0n,
      resolveBeneath | resolveNoMagicLinks,
    ]);
    const fd = this.#symbols.syscall(openat2Number, directory, text(path), how, how.byteLength);
    return this.#check("openat2", Number(fd));
  }

  /** Opens a single name in `directory`. */
  openAt(directory: number, name: string, flags: number, mode: number): number {
    const all = flags | openFlags.closeOnExec | openFlags.noFollow;
    const fd = this.#symbols.openat(directory, text(name), all, mode);
    return this.#check("openat", fd);
  }

  close(fd: number): void {
    this.#symbols.close(fd);
  }

  writeAll(fd: number, bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0) {
      const written = Number(this.#symbols.write(fd, rest, rest.length));
      this.#check("write", written);
      rest = rest.subarray(written);
    }
  }

  makeDirectory(directory: number, name: string): void {
    const status = this.#symbols.mkdirat(directory, text(name), 0o755);
    this.#check("mkdirat", status);
  }

  /** Removes anything but a directory. */
  unlink(directory: number, name: string): void {
    this.#check("unlinkat", this.#symbols.unlinkat(directory, text(name), 0));
  }

  symlink(target: string, directory: number, name: string): void {
    const status = this.#symbols.symlinkat(text(target), directory, text(name));
    this.#check("symlinkat", status);
  }

  /** A second name for `fromName`; a symbolic link is linked itself, never followed. */
  link(from: number, fromName: string, to: { readonly directory: number; readonly name: string }): void {
    const status = this.#symbols.linkat(from, text(fromName), to.directory, text(to.name), 0);
    this.#check("linkat", status);
  }

  makeNode(
    directory: number,
    name: string,
    node: { readonly type: number; readonly major: number; readonly minor: number },
  ): void {
    const major = BigInt(node.major);
    const minor = BigInt(node.minor);
    const device =
      (minor & 0xffn) | ((major & 0xfffn) << 8n) | ((minor & ~0xffn) << 12n) | ((major & ~0xfffn) << 32n);
    const status = this.#symbols.mknodat(directory, text(name), node.type | 0o600, device);
    this.#check("mknodat", status);
  }

  /** Of the name itself, were it a symbolic link. */
  changeOwner(directory: number, name: string, owner: { readonly uid: number; readonly gid: number }): void {
    const status = this.#symbols.fchownat(directory, text(name), owner.uid, owner.gid, atSymlinkNoFollow);
    this.#check("fchownat", status);
  }

  /** Follows symbolic links: only for names known to be none. */
  changeMode(directory: number, name: string, mode: number): void {
    const status = this.#symbols.fchmodat(directory, text(name), mode, 0);
    this.#check("fchmodat", status);
  }

  setTimes(directory: number, name: string, timeNs: bigint): void {
    const billion = 1_000_000_000n;
    const nanoseconds = ((timeNs % billion) + billion) % billion;
    const seconds = (timeNs - nanoseconds) / billion;
    const times = new BigInt64Array([seconds, nanoseconds, seconds, nanoseconds]);
    const status = this.#symbols.utimensat(directory, text(name), times, atSymlinkNoFollow);
    this.#check("utimensat", status);
  }

  /** Of the name itself. Changes the working directory: there is no lsetxattrat in the kernels we run on. */
  setAttribute(
    directory: number,
    name: string,
    attribute: { readonly name: string; readonly value: Uint8Array },
  ): void {
    this.#check("fchdir", this.#symbols.fchdir(directory));
    // An empty view has no address to pass.
    const value = attribute.value.length === 0 ? Buffer.alloc(1) : attribute.value;
    const status = this.#symbols.lsetxattr(
      text(name),
      text(attribute.name),
      value,
      attribute.value.length,
      0,
    );
    this.#check("lsetxattr", status);
  }

  /** Everything written to the filesystem of `fd` is durable. */
  syncFilesystem(fd: number): void {
    this.#check("syncfs", this.#symbols.syncfs(fd));
  }

  changeRoot(path: string): void {
    this.#check("chroot", this.#symbols.chroot(text(path)));
  }

  /** The kernel sends `signal` to this process when the one that started it is gone. */
  dieWithParent(signal: number): void {
    const status = this.#symbols.prctl(parentDeathSignal, signal, 0, 0, 0);
    this.#check("prctl", status);
  }

  #check(call: string, status: number): number {
    if (status >= 0) return status;
    const location = this.#symbols.__errno_location();
    const errno = location === null ? 0 : read.i32(location, 0);
    throw new SystemCallError(call, errno);
  }
}
