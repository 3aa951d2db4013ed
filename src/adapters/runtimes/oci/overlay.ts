/** The root of a container: image layers below, a writable layer of its own on top (overlayfs). */
import { closeSync, openSync } from "node:fs";
import { MountError, type KernelMounts } from "./kernel-mounts.ts";

export interface OverlayLayers {
  /** Lowest first. */
  readonly layers: readonly string[];
  readonly upper: string;
  readonly work: string;
}

/** mount(2) takes one page of options (mount(2), NOTES); the rest of the page is left for its terminator. */
const optionBytesMax = 4_000;
const EINVAL = 22;

/**
 * Mounts at `target`. The writable layer never outlives its container, so it is `volatile`: no
 * flush of it is ever waited for, least of all at unmount (overlayfs documentation, "Volatile mount").
 */
export function mountOverlay(mounts: KernelMounts, target: string, overlay: OverlayLayers): void {
  const opened: number[] = [];
  try {
    const options = overlayOptions(overlay, (path) => {
      const fd = openSync(path, "r");
      opened.push(fd);
      return `/proc/self/fd/${fd}`;
    });
    let errno = mounts.mountFileSystem("overlay", target, `${options},volatile`);
    // Kernels before 5.10 do not know `volatile`.
    if (errno === EINVAL) errno = mounts.mountFileSystem("overlay", target, options);
    if (errno !== 0) throw new MountError("mount overlay on", target, errno);
  } finally {
    for (const fd of opened) closeSync(fd);
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
