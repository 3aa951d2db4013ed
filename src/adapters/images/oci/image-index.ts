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
  /** Names in the layer store, lowest first. */
  layers: v.array(v.string()),
  sizeBytes: v.number(),
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
  readonly #records = new Map<string, ImageRecord>();
  #writing: Promise<void> = Promise.resolve();

  constructor(ports: { readonly log: Logger }, path: string) {
    this.#log = ports.log;
    this.#path = path;
  }

  /** Reads what is on disk; images with a layer that is gone are as good as never pulled. */
  async open(hasLayer: (name: string) => boolean): Promise<void> {
    for (const record of await this.#read())
      if (record.layers.every(hasLayer)) this.#records.set(record.canonical, record);
  }

  get(canonical: string): ImageRecord | undefined {
    return this.#records.get(canonical);
  }

  all(): readonly ImageRecord[] {
    return [...this.#records.values()];
  }

  /** Durable when it returns; not found before. */
  async put(record: ImageRecord): Promise<void> {
    const write = this.#writing.then(async () => {
      const others = this.all().filter((r) => r.canonical !== record.canonical);
      const images = [...others, record];
      await writeDurably(this.#path, JSON.stringify({ version: 1, images }));
      this.#records.set(record.canonical, record);
    });
    // A write that failed is its caller's trouble, not the next one's.
    this.#writing = write.catch(() => {});
    await write;
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
