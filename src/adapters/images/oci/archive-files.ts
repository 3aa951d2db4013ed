/** The files of an image archive, be it a directory or a tar file: found by name, read in pieces. Nothing is unpacked. */
import { type FileHandle, open, realpath, stat } from "node:fs/promises";
import { join, posix, sep } from "node:path";
import { ImageError } from "../../../ports/image-store.ts";
import { ArchiveError, displayName, type TarEntry, TarReader, type TarSink } from "./tar-reader.ts";

export interface ArchiveFiles {
  /** Undefined when there is no such file. */
  size(name: string): Promise<number | undefined>;
  /** Up to `length` bytes from `offset`; fewer at the end of the file. */
  read(name: string, offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

const headerBytes = 512;
/** An image archive has some files for each layer. */
const entriesMax = 100_000;
/** Links that lead to links; `docker save` writes single ones. */
const linksMax = 8;

/** Names, and links on their way, that lead out of the directory are as good as missing. */
export class DirectoryFiles implements ArchiveFiles {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  async size(name: string): Promise<number | undefined> {
    try {
      const status = await stat(await this.#inside(name));
      return status.isFile() ? status.size : undefined;
    } catch {
      return undefined;
    }
  }

  async read(name: string, offset: number, length: number): Promise<Uint8Array> {
    const file = await open(await this.#inside(name), "r");
    try {
      return await readFully(file, offset, length);
    } finally {
      await file.close();
    }
  }

  async close(): Promise<void> {}

  async #inside(name: string): Promise<string> {
    const root = await realpath(this.#root);
    const path = await realpath(join(root, name));
    if (path.startsWith(root.endsWith(sep) ? root : root + sep)) return path;
    throw new Error(`${name} leads out of ${this.#root}`);
  }
}

interface Place {
  readonly offset: number;
  readonly sizeBytes: number;
}

export class TarFiles implements ArchiveFiles {
  readonly #file: FileHandle;
  readonly #places: ReadonlyMap<string, Place>;

  private constructor(file: FileHandle, places: ReadonlyMap<string, Place>) {
    this.#file = file;
    this.#places = places;
  }

  /** Reads the headers only. Rejects with ImageError `bad-archive`. */
  static async open(path: string): Promise<TarFiles> {
    const file = await open(path, "r");
    try {
      return new TarFiles(file, await placesIn(file));
    } catch (error) {
      await file.close();
      if (!(error instanceof ArchiveError)) throw error;
      const entry = displayName(error.entry);
      const where = entry === "" ? "" : ` at "${entry}"`;
      throw new ImageError(
        `${path} is no image archive${where}: ${error.message}`,
        { code: "bad-archive", layer: path, entry, detail: error.message },
        { cause: error },
      );
    }
  }

  async size(name: string): Promise<number | undefined> {
    return this.#places.get(name)?.sizeBytes;
  }

  async read(name: string, offset: number, length: number): Promise<Uint8Array> {
    const place = this.#places.get(name);
    if (place === undefined) return new Uint8Array(0);
    const left = Math.max(0, place.sizeBytes - offset);
    return readFully(this.#file, place.offset + offset, Math.min(length, left));
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

async function placesIn(file: FileHandle): Promise<ReadonlyMap<string, Place>> {
  const scan = new Scan();
  const reader = new TarReader(scan);
  let at = 0;
  for (;;) {
    const block = await readFully(file, at, headerBytes);
    if (block.length === 0) break;
    reader.push(block);
    at += block.length;
    const entry = scan.take();
    if (entry === undefined) continue;
    scan.keep(entry, at);
    at += reader.skip();
  }
  reader.end();
  return scan.places();
}

/** Notes where each file's data begins. */
class Scan implements TarSink {
  readonly #places = new Map<string, Place>();
  readonly #links = new Map<string, string>();
  #fresh: TarEntry | undefined;

  entry(entry: TarEntry): void {
    this.#fresh = entry;
  }

  data(): void {}

  entryEnd(): void {}

  /** The entry whose header was the last thing read. */
  take(): TarEntry | undefined {
    const entry = this.#fresh;
    this.#fresh = undefined;
    return entry;
  }

  keep(entry: TarEntry, offset: number): void {
    if (this.#places.size + this.#links.size >= entriesMax)
      throw new ArchiveError(entry.path, `more than ${entriesMax} entries`);
    const name = posix.normalize(entry.path);
    if (entry.kind === "file") this.#places.set(name, { offset, sizeBytes: entry.sizeBytes });
    else if (entry.kind === "symlink")
      this.#links.set(name, posix.normalize(posix.join(posix.dirname(name), entry.linkPath)));
    else if (entry.kind === "hard-link") this.#links.set(name, posix.normalize(entry.linkPath));
  }

  places(): ReadonlyMap<string, Place> {
    const places = new Map(this.#places);
    for (const [name, first] of this.#links) {
      let target: string | undefined = first;
      for (let hop = 0; hop < linksMax && target !== undefined; hop += 1) {
        const place = this.#places.get(target);
        if (place !== undefined) places.set(name, place);
        target = place === undefined ? this.#links.get(target) : undefined;
      }
    }
    return places;
  }
}

async function readFully(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const buffer = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}
