/**
 * The root of a container: image layers below, a writable layer of its own on top (overlayfs).
 *
 * Mounted by mount(2) in this process: the mount namespace of the agent holds it, and a spawned
 * `mount` would cost two milliseconds more for each container.
 */
import { closeSync, openSync } from "node:fs";
import { dlopen, FFIType, ptr, read } from "bun:ffi";

export interface OverlayLayers {
  /** Lowest first. */
  readonly layers: readonly string[];
  readonly upper: string;
  readonly work: string;
}

/** mount(2) takes one page of options (mount(2), NOTES); the rest of the page is left for its terminator. */
const optionBytesMax = 4_000;
const detach = 2;
const errnoNames: ReadonlyMap<number, string> = new Map([
  [1, "EPERM"],
  [2, "ENOENT"],
  [16, "EBUSY"],
  [20, "ENOTDIR"],
  [22, "EINVAL"],
]);
const ENOENT = 2;
const EINVAL = 22;

export class MountError extends Error {
  override readonly name = "MountError";
  readonly errno: number;
  constructor(call: string, target: string, errno: number) {
    super(`${call} ${target}: ${errnoNames.get(errno) ?? `errno ${errno}`}`);
    this.errno = errno;
  }
}

export class OverlayMounts {
  readonly #libc = dlopen("libc.so.6", {
    mount: {
      args: [FFIType.ptr, FFIType.ptr, FFIType.ptr, FFIType.u64, FFIType.ptr],
      returns: FFIType.i32,
    },
    umount2: { args: [FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
    __errno_location: { args: [], returns: FFIType.ptr },
  });

  /**
   * Mounts at `target`. The writable layer never outlives its container, so it is `volatile`: no
   * flush of it is ever waited for, least of all at unmount (overlayfs documentation, "Volatile mount").
   */
  mount(target: string, overlay: OverlayLayers): void {
    const opened: number[] = [];
    try {
      const options = overlayOptions(overlay, (path) => {
        const fd = openSync(path, "r");
        opened.push(fd);
        return `/proc/self/fd/${fd}`;
      });
      let errno = this.#mount(target, `${options},volatile`);
      // Kernels before 5.10 do not know `volatile`.
      if (errno === EINVAL) errno = this.#mount(target, options);
      if (errno !== 0) throw new MountError("mount overlay on", target, errno);
    } finally {
      for (const fd of opened) closeSync(fd);
    }
  }

  /** Harmless when nothing is mounted there. */
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

  #mount(target: string, options: string): number {
    const type = cString("overlay");
    const path = cString(target);
    const data = cString(options);
    const result = this.#libc.symbols.mount(ptr(type), ptr(path), ptr(type), 0, ptr(data));
    return result === 0 ? 0 : this.#errno();
  }

  #errno(): number {
    const location = this.#libc.symbols.__errno_location();
    return location === null ? -1 : read.i32(location);
  }
}

/** Long lists and paths that overlayfs would read as separators go by open directories instead of names. */
function overlayOptions(overlay: OverlayLayers, byDescriptor: (path: string) => string): string {
  const lower = overlay.layers.toReversed();
  const paths = [...lower, overlay.upper, overlay.work];
  const plain = format(lower, overlay.upper, overlay.work);
  if (plain.length <= optionBytesMax && !paths.some((p) => /[:,\\]/.test(p))) return plain;
  return format(lower.map(byDescriptor), byDescriptor(overlay.upper), byDescriptor(overlay.work));
}

function format(lower: readonly string[], upper: string, work: string): string {
  return `lowerdir=${lower.join(":")},upperdir=${upper},workdir=${work}`;
}

function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}
