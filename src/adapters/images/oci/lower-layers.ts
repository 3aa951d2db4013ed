/**
 * A directory that an archive leaves out (`a/b` without `a/`) has no metadata of its own: in the image it is
 * the directory of the layers below. Overlayfs would show the upper one's, so it takes after the lower one;
 * and a layer with such a directory is good for one stack of layers only.
 */
import { fstatSync } from "node:fs";
import { constants } from "node:os";
import { hasErrno } from "./blame.ts";
import { type Libc, openFlags } from "./libc.ts";

/** The layers below have to be known to go on. */
export class LowerLayersNeeded extends Error {
  override readonly name = "LowerLayersNeeded";
}

export interface DirectoryMetadata {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
}

export class LowerLayers {
  readonly #libc: Libc;
  readonly #roots: readonly number[] | undefined;
  #wasAsked = false;

  /** `roots` are open directories, lowest first; undefined while the layers below are not known. */
  constructor(libc: Libc, roots: readonly number[] | undefined) {
    this.#libc = libc;
    this.#roots = roots;
  }

  /** Whether the layer depends on the ones below. */
  get wasAsked(): boolean {
    return this.#wasAsked;
  }

  /** Of the uppermost directory at `path`; undefined when there is none. Throws LowerLayersNeeded. */
  find(path: string): DirectoryMetadata | undefined {
    this.#wasAsked = true;
    if (this.#roots === undefined) throw new LowerLayersNeeded();
    const flags = openFlags.pathOnly | openFlags.directoryOnly | openFlags.noFollow;
    for (const root of this.#roots.toReversed()) {
      let fd: number;
      try {
        fd = this.#libc.openBeneath(root, path, flags);
      } catch (error) {
        if (hasErrno(error, constants.errno.ENOENT)) continue;
        // A whiteout, a file or a link there hides what is below it.
        return undefined;
      }
      try {
        const { mode, uid, gid, mtimeNs } = fstatSync(fd, { bigint: true });
        return {
          mode: Number(mode) & 0o7777,
          uid: Number(uid),
          gid: Number(gid),
          mtimeNs,
        };
      } finally {
        this.#libc.close(fd);
      }
    }
    return undefined;
  }
}
