/**
 * Blobs by digest, as registries serve them: `blobs/sha256/<hex>`. A blob is written to a name of its own,
 * hashed on the way, synced and renamed; so what has a digest's name has that digest.
 */
import { renameSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { renameDurably } from "./durable-file.ts";
import type { Descriptor } from "./manifest.ts";
import type { BlobSink } from "./image-source.ts";
import { digestMismatch } from "./registry-client.ts";

export class BlobStore {
  readonly #directory: string;
  readonly #staging: string;
  readonly #trash: string[] = [];

  /** `staging` is on the same filesystem, and emptied by its owner after a crash. */
  constructor(directory: string, staging: string) {
    this.#directory = join(directory, "sha256");
    this.#staging = staging;
  }

  async open(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
  }

  path(digest: string): string {
    return join(this.#directory, digest.replace("sha256:", ""));
  }

  async has(descriptor: Descriptor): Promise<boolean> {
    try {
      const { size } = await stat(this.path(descriptor.digest));
      return size === descriptor.size;
    } catch {
      return false;
    }
  }

  read(digest: string): Promise<Uint8Array> {
    return readFile(this.path(digest));
  }

  async digests(): Promise<readonly string[]> {
    const names = await readdir(this.#directory);
    return names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((name) => `sha256:${name}`);
  }

  /** At once nobody finds it any more; `emptyTrash` frees its space. */
  discard(digest: string): void {
    const away = join(this.#staging, Bun.randomUUIDv7());
    renameSync(this.path(digest), away);
    this.#trash.push(away);
  }

  async emptyTrash(): Promise<void> {
    for (let path = this.#trash.pop(); path !== undefined; path = this.#trash.pop())
      await rm(path, { force: true });
  }

  /** Fills a blob by `fill`, and shows it when its size and digest are right. */
  async write(
    descriptor: Descriptor,
    fill: (sink: BlobSink) => Promise<void>,
    onBytes: (bytes: number) => void,
  ): Promise<void> {
    const part = join(this.#staging, `${Bun.randomUUIDv7()}.part`);
    const file = await open(part, "wx", 0o600);
    try {
      const writer = new BlobWriter(file, onBytes);
      await fill(writer);
      const actual = writer.digest();
      if (actual !== descriptor.digest || writer.received !== descriptor.size)
        throw digestMismatch(descriptor.digest, `${actual} (${writer.received} of ${descriptor.size} bytes)`);
      await file.sync();
      await renameDurably(part, this.path(descriptor.digest));
    } catch (error) {
      await rm(part, { force: true });
      throw error;
    } finally {
      await file.close();
    }
  }
}

class BlobWriter implements BlobSink {
  readonly #file: FileHandle;
  readonly #onBytes: (bytes: number) => void;
  #hasher = new Bun.CryptoHasher("sha256");
  #received = 0;

  constructor(file: FileHandle, onBytes: (bytes: number) => void) {
    this.#file = file;
    this.#onBytes = onBytes;
  }

  get received(): number {
    return this.#received;
  }

  async restart(): Promise<void> {
    this.#onBytes(-this.#received);
    this.#received = 0;
    this.#hasher = new Bun.CryptoHasher("sha256");
    await this.#file.truncate(0);
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#hasher.update(chunk);
    let written = 0;
    while (written < chunk.length) {
      const { bytesWritten } = await this.#file.write(
        chunk,
        written,
        chunk.length - written,
        this.#received + written,
      );
      written += bytesWritten;
    }
    this.#received += chunk.length;
    this.#onBytes(chunk.length);
  }

  digest(): string {
    return `sha256:${this.#hasher.digest("hex")}`;
  }
}
