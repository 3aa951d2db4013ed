/** Opens an image archive: a directory, a tar file, or a compressed one, which is unpacked aside for as long as it is open. */
import { createReadStream, createWriteStream } from "node:fs";
import { open, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Transform, type TransformCallback } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { ImageError } from "../../../ports/image-store.ts";
import { type ArchiveFiles, DirectoryFiles, TarFiles } from "./archive-files.ts";

const zstdMagic = 0xfd2fb528;

/** Rejects with ImageError `bad-archive`, `not-here` when there is no such file. `bytesMax` bounds what is compressed. */
export async function openArchive(
  path: string,
  staging: string,
  bytesMax: number,
  signal: AbortSignal,
): Promise<ArchiveFiles> {
  const status = await stat(path).catch((error: unknown) => {
    throw new ImageError(
      `${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      { code: "not-here", reference: path },
      { cause: error },
    );
  });
  if (status.isDirectory()) return new DirectoryFiles(path);
  // A pipe or a device has no places to go back to.
  if (!status.isFile()) throw notAnArchive(path, "it is neither a file nor a directory");
  const decoder = decoderOf(await firstBytes(path));
  if (decoder === undefined) return TarFiles.open(path);
  const plain = join(staging, `${Bun.randomUUIDv7()}.tar`);
  try {
    const source = createReadStream(path);
    const target = createWriteStream(plain, { mode: 0o600, flags: "wx" });
    await pipeline(source, decoder, new Bound(path, bytesMax), target, { signal });
    const files = await TarFiles.open(plain);
    return {
      size: (name) => files.size(name),
      read: (name, offset, length) => files.read(name, offset, length),
      close: async () => {
        await files.close();
        await rm(plain, { force: true });
      },
    };
  } catch (error) {
    await rm(plain, { force: true });
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (/^(Z_|ERR_ZSTD|ZSTD)/.test(code)) throw notAnArchive(path, `broken compression: ${code}`);
    throw error;
  }
}

async function firstBytes(path: string): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const magic = Buffer.alloc(4);
    await file.read(magic, 0, magic.length, 0);
    return magic;
  } finally {
    await file.close();
  }
}

function decoderOf(magic: Buffer): Transform | undefined {
  if (magic[0] === 0x1f && magic[1] === 0x8b) return createGunzip();
  return magic.readUInt32LE(0) === zstdMagic ? createZstdDecompress() : undefined;
}

/** Lets so many bytes through and fails at the next. */
class Bound extends Transform {
  readonly #path: string;
  #left: number;

  constructor(path: string, bytesMax: number) {
    super();
    this.#path = path;
    this.#left = bytesMax;
  }

  override _transform(chunk: Uint8Array, _encoding: string, done: TransformCallback): void {
    this.#left -= chunk.length;
    if (this.#left < 0) done(notAnArchive(this.#path, "it unpacks to more than an archive may have"));
    else done(null, chunk);
  }
}

function notAnArchive(path: string, detail: string): ImageError {
  return new ImageError(`${path} is no image archive: ${detail}`, {
    code: "bad-archive",
    layer: path,
    entry: "",
    detail,
  });
}
