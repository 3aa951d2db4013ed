/**
 * Writes the entries of an archive into the tree that is this process's root. Directories that are there keep
 * their owner and mode; anything else of the same name is replaced, as cp and docker cp do.
 */
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fsyncSync,
  ftruncateSync,
  futimesSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { posix } from "node:path";
import { ArchiveError, displayName, type TarEntry, type TarSink } from "../../images/oci/tar-reader.ts";
import { PathRefusal } from "./copy-request.ts";
import { outsideId } from "./owner-ids.ts";

export class TreeWriter implements TarSink {
  /** Byte string; where the first names of the archive go. */
  readonly #directory: string;
  /** Takes the place of the first name; undefined keeps it. */
  readonly #name: string | undefined;
  readonly #ownerBase: number;
  #firstName: string | undefined;
  #entry: TarEntry | undefined;
  #fd = -1;
  /** Of directories made here: writing into one changes its time, and its mode may forbid it. */
  readonly #made: { readonly path: Buffer; readonly entry: TarEntry }[] = [];

  constructor(path: string, ownerBase: number) {
    this.#ownerBase = ownerBase;
    const isDirectory = statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
    const clean = posix.normalize(path).replace(/(.)\/+$/, "$1");
    if (!clean.startsWith("/")) throw new PathRefusal(`${path} is not an absolute path`);
    if (isDirectory) {
      this.#directory = bytesOf(clean);
      return;
    }
    if (path.endsWith("/")) throw new PathRefusal(`there is no directory ${path}`);
    const parent = posix.dirname(clean);
    if (statSync(parent, { throwIfNoEntry: false })?.isDirectory() !== true)
      throw new PathRefusal(`there is no directory ${parent}`);
    this.#directory = bytesOf(parent);
    this.#name = bytesOf(posix.basename(clean));
  }

  entry(given: TarEntry): void {
    const path = this.#place(given.path);
    const base = this.#ownerBase;
    const entry = { ...given, uid: outsideId(given.uid, base), gid: outsideId(given.gid, base) };
    this.#entry = entry;
    switch (entry.kind) {
      case "directory":
        return this.#makeDirectory(path, entry);
      case "file":
        this.#fd = openFile(path);
        return;
      case "symlink":
        clear(path);
        symlinkSync(Buffer.from(entry.linkPath, "latin1"), path);
        return setOwnAndTime(path, entry);
      case "hard-link":
        clear(path);
        return linkSync(this.#place(entry.linkPath), path);
      case "fifo":
      case "character-device":
      case "block-device":
        throw new ArchiveError(entry.path, `${displayName(entry.path)} is a device or pipe: not copied`);
    }
  }

  data(chunk: Uint8Array): void {
    for (let rest = chunk; this.#fd !== -1 && rest.length > 0;)
      rest = rest.subarray(writeSync(this.#fd, rest));
  }

  entryEnd(): void {
    const entry = this.#entry;
    if (this.#fd === -1 || entry === undefined) return;
    fchownSync(this.#fd, entry.uid, entry.gid);
    fchmodSync(this.#fd, entry.mode);
    const seconds = Number(entry.mtimeNs) / 1e9;
    futimesSync(this.#fd, seconds, seconds);
    closeSync(this.#fd);
    this.#fd = -1;
  }

  /** After the last entry. */
  finish(): void {
    for (const { path, entry } of this.#made.toReversed()) {
      lchownSync(path, entry.uid, entry.gid);
      chmodSync(path, entry.mode);
      setTime(path, entry);
    }
    const fd = openSync(Buffer.from(this.#directory, "latin1"), constants.O_RDONLY);
    fsyncSync(fd);
    closeSync(fd);
  }

  close(): void {
    if (this.#fd !== -1) closeSync(this.#fd);
    this.#fd = -1;
  }

  #makeDirectory(path: Buffer, entry: TarEntry): void {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
    if (lstatSync(path, { throwIfNoEntry: false }) !== undefined)
      throw new ArchiveError(entry.path, `${path.toString()} is there and is not a directory`);
    mkdirSync(path, { mode: 0o700 });
    this.#made.push({ path, entry });
  }

  /** Where a name of the archive goes. */
  #place(name: string): Buffer {
    const parts = name.split("/").filter((part) => part !== "" && part !== ".");
    const shown = displayName(name);
    if (parts.includes("..") || name.includes("\0")) throw new ArchiveError(name, `${shown} leads elsewhere`);
    const [first, ...rest] = parts;
    if (first === undefined) return Buffer.from(this.#directory, "latin1");
    this.#firstName ??= first;
    if (this.#name !== undefined && first !== this.#firstName)
      throw new ArchiveError(name, "several things cannot become one: give a directory that exists");
    return Buffer.from([this.#directory, this.#name ?? first, ...rest].join("/"), "latin1");
  }
}

function bytesOf(text: string): string {
  return Buffer.from(text).toString("latin1");
}

/** A new file; what is mounted cannot be replaced, so its contents are. */
function openFile(path: Buffer): number {
  const flags = constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  if (clear(path)) return openSync(path, flags | constants.O_CREAT | constants.O_EXCL, 0o600);
  const fd = openSync(path, flags);
  ftruncateSync(fd, 0);
  return fd;
}

/** False when it is there and has to stay. */
function clear(path: Buffer): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOENT") return true;
    if (code === "EBUSY") return false;
    if (code === "EISDIR" || code === "EPERM")
      throw new PathRefusal(`${path.toString()} is a directory, and what is copied is not`, { cause: error });
    throw error;
  }
}

function setOwnAndTime(path: Buffer, entry: TarEntry): void {
  lchownSync(path, entry.uid, entry.gid);
  setTime(path, entry);
}

function setTime(path: Buffer, entry: TarEntry): void {
  const seconds = Number(entry.mtimeNs) / 1e9;
  lutimesSync(path, seconds, seconds);
}
