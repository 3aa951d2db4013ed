/** Writes a file or directory with all below it as a tar archive. Links and devices are told of, never followed or read. */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  type Stats,
} from "node:fs";
import { basename, posix } from "node:path";
import { PathRefusal } from "./copy-request.ts";
import { insideId } from "./owner-ids.ts";
import { tarEnd, tarHeader, tarPadding, type TarKind } from "./tar-writer.ts";

export interface ArchiveSink {
  write(bytes: Uint8Array): number | Promise<number>;
  flush(): number | Promise<number>;
}

/** The name of the whole tree in its archive. */
const wholeTreeName = "rootfs";
const chunkBytes = 256 * 1024;

/** Written at once as far as this; then the reader's pace counts. */
const writtenBytesMax = 256 * 1024;

interface Packing {
  readonly ownerBase: number;
  readonly sink: ArchiveSink;
  waitingBytes: number;
  /** First names of files that have several, by device and number. */
  readonly firstNames: Map<string, string>;
}

/** `path` is absolute. Throws PathRefusal before the first byte when there is nothing. */
export async function packTree(path: string, ownerBase: number, sink: ArchiveSink): Promise<void> {
  const clean = posix.normalize(path).replace(/(.)\/+$/, "$1");
  if (!clean.startsWith("/")) throw new PathRefusal(`${path} is not an absolute path`);
  if (lstatSync(clean, { throwIfNoEntry: false }) === undefined) throw new PathRefusal(`there is no ${path}`);
  const name = clean === "/" ? wholeTreeName : basename(clean);
  const packing: Packing = { sink, waitingBytes: 0, ownerBase, firstNames: new Map() };
  await pack(packing, bytesOf(clean), bytesOf(name));
  write(packing, tarEnd);
  await sink.flush();
}

function write(packing: Packing, bytes: Uint8Array): void {
  packing.sink.write(bytes);
  packing.waitingBytes += bytes.length;
}

/** Waits when much has been written that nobody has read. */
async function keepPace(packing: Packing): Promise<void> {
  if (packing.waitingBytes < writtenBytesMax) return;
  packing.waitingBytes = 0;
  await packing.sink.flush();
}

/** One character per byte. */
function bytesOf(text: string): string {
  return Buffer.from(text).toString("latin1");
}

async function pack(packing: Packing, path: string, name: string): Promise<void> {
  await keepPace(packing);
  const file = Buffer.from(path, "latin1");
  const stat = lstatSync(file, { throwIfNoEntry: false });
  // What is gone since its directory was read is not in the archive; a socket cannot be.
  if (stat === undefined || stat.isSocket()) return;
  const first = firstNameOf(packing, stat, name);
  if (first !== undefined) {
    put(packing, stat, { kind: "hard-link", name, linkPath: first, sizeBytes: 0 });
    return;
  }
  if (stat.isFile()) {
    await packFile(packing, file, name);
    return;
  }
  if (stat.isSymbolicLink()) {
    const linkPath = readlinkSync(file, { encoding: "buffer" }).toString("latin1");
    put(packing, stat, { kind: "symlink", name, linkPath, sizeBytes: 0 });
    return;
  }
  if (!stat.isDirectory()) {
    put(packing, stat, { kind: kindOf(stat), name, linkPath: "", sizeBytes: 0 });
    return;
  }
  put(packing, stat, { kind: "directory", name: `${name}/`, linkPath: "", sizeBytes: 0 });
  for (const entry of readdirSync(file, { encoding: "buffer" }).toSorted(Buffer.compare)) {
    const child = entry.toString("latin1");
    await pack(packing, path === "/" ? `/${child}` : `${path}/${child}`, `${name}/${child}`);
  }
}

function firstNameOf({ firstNames }: Packing, stat: Stats, name: string): string | undefined {
  if (stat.nlink < 2 || stat.isDirectory()) return undefined;
  const key = `${stat.dev}:${stat.ino}`;
  const first = firstNames.get(key);
  if (first === undefined) firstNames.set(key, name);
  return first;
}

function kindOf(stat: Stats): TarKind {
  if (stat.isCharacterDevice()) return "character-device";
  return stat.isBlockDevice() ? "block-device" : "fifo";
}

function put(
  packing: Packing,
  stat: Stats,
  entry: {
    readonly kind: TarKind;
    readonly name: string;
    readonly linkPath: string;
    readonly sizeBytes: number;
  },
): void {
  const { kind, name: path, linkPath, sizeBytes } = entry;
  const isDevice = kind === "character-device" || kind === "block-device";
  const { ownerBase } = packing;
  write(
    packing,
    tarHeader({
      kind,
      path,
      linkPath,
      sizeBytes,
      mode: stat.mode & 0o7777,
      uid: insideId(stat.uid, ownerBase),
      gid: insideId(stat.gid, ownerBase),
      mtimeMs: Math.floor(stat.mtimeMs),
      deviceMajor: isDevice ? (stat.rdev >> 8) & 0xfff : 0,
      deviceMinor: isDevice ? (stat.rdev & 0xff) | ((stat.rdev >> 12) & 0xfff00) : 0,
    }),
  );
}

/** As many bytes as the header says, whatever the file becomes while it is read. */
async function packFile(packing: Packing, file: Buffer, name: string): Promise<void> {
  let fd: number;
  try {
    // Without waiting, should a pipe have taken the file's place.
    fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return;
    throw error;
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return;
    put(packing, stat, { kind: "file", name, linkPath: "", sizeBytes: stat.size });
    for (let left = stat.size; left > 0;) {
      const chunk = Buffer.alloc(Math.min(chunkBytes, left));
      const bytes = readSync(fd, chunk, 0, chunk.length, null);
      // Shorter than it was: zeros stand for what is gone.
      const piece = bytes === 0 ? chunk : chunk.subarray(0, bytes);
      write(packing, piece);
      left -= piece.length;
      await keepPace(packing);
    }
    write(packing, tarPadding(stat.size));
  } finally {
    closeSync(fd);
  }
}
