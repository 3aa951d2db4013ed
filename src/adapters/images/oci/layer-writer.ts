/**
 * Writes the entries of one layer below one directory, in the form overlayfs reads: a whiteout becomes a
 * character device 0:0, an opaque directory gets `trusted.overlay.opaque`.
 *
 * Invariant: nothing outside the root is read or changed, whatever the archive says. Each name is created
 * by a call relative to a handle of its parent; the handle comes from openat2 with RESOLVE_BENEATH, so the
 * kernel refuses parents (and hard link targets) that lead outside through symbolic links; the last
 * component is never followed. Links that stay inside are followed, since merged-usr images need that.
 */
import { constants } from "node:os";
import { blameArchive, hasErrno } from "./blame.ts";
import { type LayerPath, parseLayerPath, parseWhiteout } from "./layer-path.ts";
import { type Libc, nodeTypes, openFlags } from "./libc.ts";
import type { LowerLayers } from "./lower-layers.ts";
import { ArchiveError, displayName, type TarEntry, type TarSink } from "./tar-reader.ts";

export interface LayerLimits {
  readonly bytesMax: number;
  readonly entriesMax: number;
}

const { EEXIST, ENOENT, ENOTDIR, ELOOP, EPERM, ENOTSUP, EAGAIN } = constants.errno;
/** EAGAIN from openat2 means that a `..` raced with a rename somewhere; bounded so that nothing hangs. */
const openAttemptsMax = 100;
const opaqueAttribute = {
  name: "trusted.overlay.opaque",
  value: Buffer.from("y"),
};
/** The kernel's "leave it as it is" for owners. */
const idMax = 0xffff_fffe;
/** The overlay's own bookkeeping must not come from an image; SELinux labels are the runtime's to set. */
const refusedAttributes = ["trusted.overlay.", "user.overlay."];
const skippedAttributes: ReadonlySet<string> = new Set(["security.selinux"]);

export interface LayerWriterPorts {
  readonly libc: Libc;
  readonly lowerLayers: LowerLayers;
}

export class LayerWriter implements TarSink {
  readonly #libc: Libc;
  readonly #root: number;
  readonly #limits: LayerLimits;
  readonly #lowerLayers: LowerLayers;
  #bytes = 0;
  #entries = 0;
  #entry: TarEntry | undefined;
  #place: LayerPath | undefined;
  #fileFd = -1;
  #parentPath: string | undefined;
  #parentFd = -1;
  /** Whiteouts written so far; a directory that takes the place of one hides what is below it. */
  readonly #whiteouts = new Set<string>();
  /** Children change a directory's time, so directories get theirs at the end. */
  readonly #directoryTimes = new Map<string, bigint>();

  /** `root` is an open directory handle, empty, and stays the caller's. */
  constructor(ports: LayerWriterPorts, root: number, limits: LayerLimits) {
    this.#libc = ports.libc;
    this.#lowerLayers = ports.lowerLayers;
    this.#root = root;
    this.#limits = limits;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get entries(): number {
    return this.#entries;
  }

  entry(entry: TarEntry): void {
    const shown = displayName(entry.path);
    this.#entry = entry;
    this.#count(1, entry.sizeBytes, shown);
    try {
      this.#create(entry, shown);
    } catch (error) {
      throw blameArchive(error, shown);
    }
  }

  data(chunk: Uint8Array): void {
    if (this.#fileFd !== -1) this.#libc.writeAll(this.#fileFd, chunk);
  }

  entryEnd(): void {
    const entry = this.#entry;
    const place = this.#place;
    if (this.#fileFd === -1 || entry === undefined || place === undefined) return;
    this.#libc.close(this.#fileFd);
    this.#fileFd = -1;
    try {
      this.#applyMetadata(entry, place);
    } catch (error) {
      throw blameArchive(error, displayName(entry.path));
    }
  }

  /** After the last entry. */
  finish(): void {
    for (const [full, timeNs] of this.#directoryTimes) {
      const place = parseLayerPath(full, full);
      try {
        if (full === "") this.#libc.setTimes(this.#root, ".", timeNs);
        else {
          const parent = this.#openParent(place, full);
          this.#libc.setTimes(parent, place.name, timeNs);
        }
      } catch (error) {
        throw blameArchive(error, displayName(full));
      }
    }
    this.#forgetParent();
  }

  /** Closes what is open, also after an error. */
  close(): void {
    if (this.#fileFd !== -1) this.#libc.close(this.#fileFd);
    this.#fileFd = -1;
    this.#forgetParent();
  }

  #count(entries: number, bytes: number, shown: string): void {
    this.#entries += entries;
    this.#bytes += bytes;
    if (this.#entries > this.#limits.entriesMax)
      throw new ArchiveError(shown, `more than ${this.#limits.entriesMax} entries`);
    if (this.#bytes > this.#limits.bytesMax)
      throw new ArchiveError(shown, `more than ${this.#limits.bytesMax} bytes when unpacked`);
  }

  #create(entry: TarEntry, shown: string): void {
    const place = parseLayerPath(entry.path, shown);
    this.#place = place;
    if (place.full === "") {
      if (entry.kind !== "directory") throw new ArchiveError(shown, "the root must be a directory");
      this.#applyMetadata(entry, place);
      return;
    }
    const whiteout = parseWhiteout(place.name, shown);
    const parent = this.#openParent(place, shown);
    if (whiteout?.kind === "opaque") this.#libc.setAttribute(parent, ".", opaqueAttribute);
    else if (whiteout?.kind === "hide") this.#hide(parent, place, whiteout.name);
    else if (whiteout === undefined) this.#materialize(entry, place, shown);
  }

  /** A whiteout speaks of the layers below only: what this layer itself has under that name stays. */
  #hide(parent: number, place: LayerPath, name: string): void {
    const full = place.parent === "" ? name : `${place.parent}/${name}`;
    try {
      const node = { type: nodeTypes.characterDevice, major: 0, minor: 0 };
      this.#libc.makeNode(parent, name, node);
      this.#whiteouts.add(full);
    } catch (error) {
      if (!hasErrno(error, EEXIST)) throw error;
      if (this.#isDirectory(parent, name)) this.#libc.setAttribute(parent, name, opaqueAttribute);
    }
  }

  #materialize(entry: TarEntry, place: LayerPath, shown: string): void {
    if (entry.kind === "directory") {
      this.#makeDirectory(place, shown, true);
      this.#applyMetadata(entry, place);
      return;
    }
    const parent = this.#openParent(place, shown);
    try {
      this.#createOnce(entry, place, shown);
    } catch (error) {
      if (!hasErrno(error, EEXIST)) throw error;
      if (this.#isDirectory(parent, place.name))
        throw new ArchiveError(shown, "it would replace a directory");
      // The later of two entries of one name counts.
      this.#libc.unlink(parent, place.name);
      this.#forgetParent();
      this.#createOnce(entry, place, shown);
    }
    this.#whiteouts.delete(place.full);
    // A hard link shares the metadata of the first name; a file gets its own after its data.
    if (entry.kind !== "hard-link" && entry.kind !== "file") this.#applyMetadata(entry, place);
  }

  #createOnce(entry: TarEntry, place: LayerPath, shown: string): void {
    const parent = this.#openParent(place, shown);
    const { name } = place;
    const { deviceMajor: major, deviceMinor: minor } = entry;
    switch (entry.kind) {
      case "file": {
        const flags = openFlags.writeOnly | openFlags.create | openFlags.exclusive;
        this.#fileFd = this.#libc.openAt(parent, name, flags, 0o600);
        return;
      }
      case "symlink":
        if (entry.linkPath.includes("\0")) throw new ArchiveError(shown, "a NUL in a link target");
        return this.#libc.symlink(entry.linkPath, parent, name);
      case "hard-link":
        return this.#link(entry, place, shown);
      case "fifo":
        return this.#node(parent, name, nodeTypes.fifo, 0, 0);
      case "character-device":
        return this.#node(parent, name, nodeTypes.characterDevice, major, minor);
      case "block-device":
        return this.#node(parent, name, nodeTypes.blockDevice, major, minor);
      case "directory":
        throw new ArchiveError(shown, "directories are made elsewhere");
    }
  }

  #node(parent: number, name: string, type: number, major: number, minor: number): void {
    this.#libc.makeNode(parent, name, { type, major, minor });
  }

  #link(entry: TarEntry, place: LayerPath, shown: string): void {
    const target = parseLayerPath(entry.linkPath, shown);
    const shownTarget = displayName(entry.linkPath);
    if (target.full === "" || target.full === place.full)
      throw new ArchiveError(shown, `a hard link to "${shownTarget}"`);
    const parent = this.#openParent(place, shown);
    const flags = openFlags.pathOnly | openFlags.directoryOnly;
    let from: number | undefined;
    try {
      from = this.#openBeneath(target.parent, flags);
      this.#libc.link(from, target.name, { directory: parent, name: place.name });
    } catch (error) {
      if (hasErrno(error, ENOENT, ENOTDIR))
        throw new ArchiveError(shown, `its hard link target "${shownTarget}" is not in this layer`);
      if (hasErrno(error, EPERM)) throw new ArchiveError(shown, `"${shownTarget}" cannot be linked`);
      throw error;
    } finally {
      if (from !== undefined) this.#libc.close(from);
    }
  }

  /** `isNamed`: by an entry of the archive, and not just as the parent of one. */
  #makeDirectory(place: LayerPath, shown: string, isNamed: boolean): void {
    const parent = this.#openParent(place, shown);
    try {
      this.#libc.makeDirectory(parent, place.name);
    } catch (error) {
      if (!hasErrno(error, EEXIST)) throw error;
      if (this.#isDirectory(parent, place.name)) return;
      if (!isNamed && !this.#whiteouts.has(place.full)) throw error;
      this.#libc.unlink(parent, place.name);
      this.#forgetParent();
      this.#libc.makeDirectory(this.#openParent(place, shown), place.name);
    }
    if (this.#whiteouts.delete(place.full)) {
      const again = this.#openParent(place, shown);
      this.#libc.setAttribute(again, place.name, opaqueAttribute);
    } else if (!isNamed) this.#inherit(this.#openParent(place, shown), place);
  }

  /** A directory that the archive does not describe is as the layers below have it. */
  #inherit(parent: number, place: LayerPath): void {
    const metadata = this.#lowerLayers.find(place.full);
    if (metadata === undefined) return;
    this.#libc.changeOwner(parent, place.name, metadata);
    this.#libc.changeMode(parent, place.name, metadata.mode);
    this.#directoryTimes.set(place.full, metadata.mtimeNs);
  }

  #applyMetadata(entry: TarEntry, place: LayerPath): void {
    const isRoot = place.full === "";
    const shown = displayName(entry.path);
    const parent = isRoot ? this.#root : this.#openParent(place, shown);
    const name = isRoot ? "." : place.name;
    const { uid, gid } = entry;
    if (!(uid >= 0 && uid <= idMax && gid >= 0 && gid <= idMax))
      throw new ArchiveError(shown, `an impossible owner: ${uid}:${gid}`);
    // In this order: a change of owner clears setuid bits and file capabilities.
    this.#libc.changeOwner(parent, name, { uid, gid });
    if (entry.kind !== "symlink") this.#libc.changeMode(parent, name, entry.mode);
    for (const [key, value] of entry.attributes)
      this.#setAttribute(parent, name, { name: key, value }, shown);
    if (entry.kind === "directory") this.#directoryTimes.set(place.full, entry.mtimeNs);
    else this.#libc.setTimes(parent, name, entry.mtimeNs);
  }

  #setAttribute(
    parent: number,
    name: string,
    attribute: { readonly name: string; readonly value: Uint8Array },
    shown: string,
  ): void {
    if (refusedAttributes.some((prefix) => attribute.name.startsWith(prefix)))
      throw new ArchiveError(shown, `the attribute ${displayName(attribute.name)} is not an image's to set`);
    if (skippedAttributes.has(attribute.name) || attribute.name.includes("\0")) return;
    try {
      this.#libc.setAttribute(parent, name, attribute);
    } catch (error) {
      // Links and devices cannot hold user attributes, and not every filesystem holds every kind.
      const isOptional = attribute.name.startsWith("user.");
      if (!(isOptional && hasErrno(error, EPERM, ENOTSUP))) throw error;
    }
  }

  #isDirectory(parent: number, name: string): boolean {
    const flags = openFlags.pathOnly | openFlags.directoryOnly;
    try {
      this.#libc.close(this.#libc.openAt(parent, name, flags, 0));
      return true;
    } catch (error) {
      if (hasErrno(error, ENOTDIR, ELOOP)) return false;
      throw error;
    }
  }

  /** A handle of the parent of `place`, made with its ancestors where the archive left them out. */
  #openParent(place: LayerPath, shown: string): number {
    if (this.#parentPath === place.parent) return this.#parentFd;
    this.#forgetParent();
    const flags = openFlags.pathOnly | openFlags.directoryOnly;
    try {
      this.#parentFd = this.#openBeneath(place.parent, flags);
    } catch (error) {
      if (!hasErrno(error, ENOENT, ENOTDIR)) throw error;
      if (hasErrno(error, ENOTDIR) && !this.#leadsThroughWhiteout(place.parent)) throw error;
      const missing = parseLayerPath(place.parent, shown);
      this.#count(1, 0, shown);
      this.#makeDirectory(missing, shown, false);
      this.#forgetParent();
      this.#parentFd = this.#openBeneath(place.parent, flags);
    }
    this.#parentPath = place.parent;
    return this.#parentFd;
  }

  #leadsThroughWhiteout(path: string): boolean {
    for (let at = path.length; at > 0; at = path.lastIndexOf("/", at - 1))
      if (this.#whiteouts.has(path.slice(0, at))) return true;
    return false;
  }

  #openBeneath(path: string, flags: number): number {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return this.#libc.openBeneath(this.#root, path === "" ? "." : path, flags);
      } catch (error) {
        if (!hasErrno(error, EAGAIN) || attempt >= openAttemptsMax) throw error;
      }
    }
  }

  #forgetParent(): void {
    if (this.#parentPath !== undefined) this.#libc.close(this.#parentFd);
    this.#parentPath = undefined;
    this.#parentFd = -1;
  }
}
