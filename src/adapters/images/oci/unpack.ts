/**
 * `muster internal-unpack`: unpacks one layer in a process of its own, so that the agent's event loop never
 * waits for an archive, the memory goes back to the system afterwards, and the process can lock itself into
 * the layer's directory (chroot) before it reads the first byte.
 *
 * Argument: an UnpackRequest as JSON. Prints one line of JSON, an UnpackReport. Exit status 0 when the layer
 * is complete and durable, 1 when it is not.
 */
import { createReadStream, openSync, readSync, writeSync } from "node:fs";
import { constants, setPriority } from "node:os";
import type { Readable } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import * as v from "valibot";
import { LayerWriter } from "./layer-writer.ts";
import { Libc, openFlags, SystemCallError } from "./libc.ts";
import { LowerLayers, LowerLayersNeeded } from "./lower-layers.ts";
import { ArchiveError, displayName, TarReader } from "./tar-reader.ts";

export const unpackReportSchema = v.variant("outcome", [
  v.object({
    outcome: v.literal("done"),
    bytes: v.number(),
    entries: v.number(),
    /** Good for this stack of layers only. */
    dependsOnLower: v.boolean(),
  }),
  v.object({
    outcome: v.literal("bad-archive"),
    entry: v.string(),
    detail: v.string(),
  }),
  v.object({ outcome: v.literal("digest-mismatch"), actual: v.string() }),
  v.object({ outcome: v.literal("lower-layers-needed") }),
  v.object({ outcome: v.literal("disk-full") }),
  v.object({ outcome: v.literal("failed"), detail: v.string() }),
]);

export type UnpackReport = v.InferOutput<typeof unpackReportSchema>;

const unpackRequestSchema = v.object({
  blobPath: v.string(),
  /** Exists and is empty. */
  directory: v.string(),
  diffId: v.string(),
  bytesMax: v.number(),
  entriesMax: v.number(),
  /** Directories of the layers below, lowest first; absent while they are not known. */
  lowerLayers: v.optional(v.array(v.string())),
});

export type UnpackRequest = v.InferOutput<typeof unpackRequestSchema>;

const chunkBytes = 256 * 1024;
/** Lets the agent and the workloads go first. */
const niceness = 5;

/** Entry of the child process. Returns the exit status. */
export async function unpackMain(args: readonly string[]): Promise<number> {
  const request = parseRequest(args[0] ?? "");
  if (request === undefined) {
    writeSync(2, "internal-unpack is for the agent's own use\n");
    return 2;
  }
  const report = await unpackReporting(request);
  writeSync(1, `${JSON.stringify(report)}\n`);
  return report.outcome === "done" ? 0 : 1;
}

function parseRequest(text: string): UnpackRequest | undefined {
  try {
    const json: unknown = JSON.parse(text);
    const result = v.safeParse(unpackRequestSchema, json);
    return result.success ? result.output : undefined;
  } catch {
    return undefined;
  }
}

async function unpackReporting(request: UnpackRequest): Promise<UnpackReport> {
  try {
    return await unpackLayer(request);
  } catch (error) {
    if (error instanceof LowerLayersNeeded) return { outcome: "lower-layers-needed" };
    if (error instanceof ArchiveError)
      return {
        outcome: "bad-archive",
        entry: displayName(error.entry),
        detail: error.message,
      };
    if (error instanceof SystemCallError) {
      const { ENOSPC, EDQUOT } = constants.errno;
      if (error.errno === ENOSPC || error.errno === EDQUOT) return { outcome: "disk-full" };
    }
    return { outcome: "failed", detail: String(error) };
  }
}

async function unpackLayer(request: UnpackRequest): Promise<UnpackReport> {
  const libc = new Libc();
  libc.dieWithParent(constants.signals.SIGKILL);
  setPriority(niceness);
  process.umask(0);
  const blob = openSync(request.blobPath, "r");
  const flags = openFlags.directoryOnly | openFlags.pathOnly;
  const lowerRoots = request.lowerLayers?.map((path) => libc.openAt(-1, path, flags, 0));
  const lowerLayers = new LowerLayers(libc, lowerRoots);
  libc.changeRoot(request.directory);
  process.chdir("/");
  const root = libc.openAt(-1, "/", openFlags.directoryOnly | openFlags.closeOnExec, 0);
  // Whatever the umask of the agent was; an archive may say otherwise.
  libc.changeMode(root, ".", 0o755);
  const limits = { bytesMax: request.bytesMax, entriesMax: request.entriesMax };
  const writer = new LayerWriter({ libc, lowerLayers }, root, limits);
  try {
    const actual = await readArchive(blob, writer, request.bytesMax);
    if (actual !== request.diffId) return { outcome: "digest-mismatch", actual };
    writer.finish();
    libc.syncFilesystem(root);
    return {
      outcome: "done",
      bytes: writer.bytes,
      entries: writer.entries,
      dependsOnLower: lowerLayers.wasAsked,
    };
  } finally {
    writer.close();
    libc.close(root);
  }
}

/** Feeds the archive to `writer`; the digest of the uncompressed archive. */
async function readArchive(blob: number, writer: LayerWriter, bytesMax: number): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  const reader = new TarReader(writer);
  let archiveBytes = 0;
  // Headers and padding come on top of the data; an archive of nothing but those is bounded too.
  const archiveBytesMax = bytesMax * 2 + chunkBytes;
  for await (const chunk of decompress(blob)) {
    archiveBytes += chunk.length;
    if (archiveBytes > archiveBytesMax)
      throw new ArchiveError("", `more than ${bytesMax} bytes when unpacked`);
    hasher.update(chunk);
    reader.push(chunk);
  }
  reader.end();
  return `sha256:${hasher.digest("hex")}`;
}

/** By its first bytes, not by its media type: registries hold layers whose type says another compression. */
async function* decompress(blob: number): AsyncGenerator<Uint8Array> {
  const magic = Buffer.alloc(4);
  readSync(blob, magic, 0, magic.length, 0);
  const source = createReadStream("", {
    fd: blob,
    start: 0,
    highWaterMark: chunkBytes,
  });
  const isGzip = magic[0] === 0x1f && magic[1] === 0x8b;
  const first = magic.readUInt32LE(0);
  const isZstd = first === 0xfd2fb528 || (first & 0xfffffff0) >>> 0 === 0x184d2a50;
  const decoder = isGzip
    ? createGunzip({ chunkSize: chunkBytes })
    : isZstd
      ? createZstdDecompress({ chunkSize: chunkBytes })
      : undefined;
  let readError: Error | undefined;
  source.on("error", (error) => {
    readError = error;
    decoder?.destroy(error);
  });
  try {
    const stream: Readable = decoder === undefined ? source : source.pipe(decoder);
    for await (const chunk of stream) {
      if (!(chunk instanceof Uint8Array)) throw new TypeError("bytes expected");
      yield chunk;
    }
  } catch (error) {
    // The blob is the one its digest names, so what cannot be decompressed was packed that way.
    if (readError !== undefined || decoder?.errored !== error) throw error;
    throw new ArchiveError("", `broken compression: ${String(error)}`);
  }
}
