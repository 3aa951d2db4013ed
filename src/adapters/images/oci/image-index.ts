/** Which reference is which image, and which layers it has: in memory, and in `index.json`, replaced in one step. */
import { readFile } from "node:fs/promises";
import * as v from "valibot";
import type { Logger } from "../../../ports/logger.ts";
import { writeDurably } from "./durable-file.ts";

const recordSchema = v.object({
  /** One spelling for all that mean the same (formatReference). */
  canonical: v.string(),
  /** As the user who had it pulled wrote it. */
  written: v.string(),
  digest: v.string(),
  /** What the registry said the reference stands for: the manifest, or the index that led to it. */
  sourceDigest: v.optional(v.string(), ""),
  /** Names in the layer store, lowest first. */
  layers: v.array(v.string()),
  sizeBytes: v.number(),
  pulledAtMs: v.optional(v.number(), 0),
  /** Its name has moved on to another image. */
  isReplaced: v.optional(v.boolean(), false),
  config: v.object({
    entrypoint: v.array(v.string()),
    command: v.array(v.string()),
    env: v.array(v.string()),
    workingDirectory: v.string(),
    user: v.string(),
    stopSignal: v.optional(v.string()),
  }),
});

const fileSchema = v.object({
  version: v.literal(1),
  images: v.array(recordSchema),
});

export type ImageRecord = v.InferOutput<typeof recordSchema>;

export class ImageIndex {
  readonly #path: string;
  readonly #log: Logger;
  #records: ReadonlyMap<string, ImageRecord> = new Map();
  #writing: Promise<unknown> = Promise.resolve();

  constructor(ports: { readonly log: Logger }, path: string) {
    this.#log = ports.log;
    this.#path = path;
  }

  /** Reads what is on disk; images with a layer that is gone are as good as never pulled. */
  async open(hasLayer: (name: string) => boolean): Promise<void> {
    const whole = (await this.#read()).filter((record) => record.layers.every(hasLayer));
    this.#records = new Map(whole.map((record) => [record.canonical, record]));
  }

  get(canonical: string): ImageRecord | undefined {
    return this.#records.get(canonical);
  }

  all(): readonly ImageRecord[] {
    return [...this.#records.values()];
  }

  /** Durable when it returns; not found before. An image that had the name before stays under its digest. */
  put(record: ImageRecord): Promise<void> {
    return this.exclusively(async (write) => {
      const records = new Map(this.#records);
      const before = records.get(record.canonical);
      if (before !== undefined && before.digest !== record.digest) {
        const canonical = byDigest(before);
        if (!records.has(canonical)) records.set(canonical, { ...before, canonical, isReplaced: true });
      }
      records.set(record.canonical, record);
      await write([...records.values()]);
    });
  }

  /** Runs `work` while nobody else changes the index; `write` replaces all records, durable when it returns. */
  async exclusively<T>(
    work: (write: (records: readonly ImageRecord[]) => Promise<void>) => Promise<T>,
  ): Promise<T> {
    const turn = this.#writing.then(() =>
      work(async (images) => {
        await writeDurably(this.#path, JSON.stringify({ version: 1, images }));
        this.#records = new Map(images.map((record) => [record.canonical, record]));
      }),
    );
    // A change that failed is its caller's trouble, not the next one's.
    this.#writing = turn.catch(() => {});
    return turn;
  }

  async #read(): Promise<readonly ImageRecord[]> {
    let text: string;
    try {
      text = await readFile(this.#path, "utf8");
    } catch (error) {
      const isAbsent = error instanceof Error && "code" in error && error.code === "ENOENT";
      if (isAbsent) return [];
      throw error;
    }
    try {
      return v.parse(fileSchema, JSON.parse(text)).images;
    } catch (error) {
      // Images can be pulled again; an agent that does not start for this would be worse.
      this.#log.error("the image index cannot be read and starts over", {
        path: this.#path,
        error: String(error),
      });
      return [];
    }
  }
}

function byDigest(record: ImageRecord): string {
  const repository = record.canonical.replace(/(?:@sha256:[0-9a-f]{64}|:[^:/]+)$/, "");
  return `${repository}@${record.digest}`;
}
