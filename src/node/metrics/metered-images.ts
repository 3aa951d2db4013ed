import type { MetricFamily } from "../../model/metric.ts";
import { single } from "../../model/metric.ts";
import type { Image, ImageExchange, ImageStore, ImageUse } from "../../ports/image-store.ts";

type Images = ImageStore & ImageExchange;

/** An image store that knows how often it pulled, and how much came. */
export class MeteredImages implements Images {
  readonly #images: Images;
  #pulled = 0;
  #failed = 0;
  #bytes = 0;

  constructor(images: Images) {
    this.#images = images;
  }

  async ensure(reference: string, options: Parameters<Images["ensure"]>[1]): Promise<Image> {
    // The store speaks of progress only when it brings something.
    let bytes: number | undefined;
    const onProgress: typeof options.onProgress = (progress) => {
      this.#bytes += Math.max(0, progress.bytes - (bytes ?? 0));
      bytes = Math.max(bytes ?? 0, progress.bytes);
      options.onProgress?.(progress);
    };
    try {
      const image = await this.#images.ensure(reference, { ...options, onProgress });
      if (bytes !== undefined) this.#pulled += 1;
      return image;
    } catch (error) {
      // Who gives a pull up has seen no failure.
      if (!options.signal.aborted) this.#failed += 1;
      throw error;
    }
  }

  find(reference: string): ReturnType<Images["find"]> {
    return this.#images.find(reference);
  }

  list(): ReturnType<Images["list"]> {
    return this.#images.list();
  }

  inspect(reference: string): ReturnType<Images["inspect"]> {
    return this.#images.inspect(reference);
  }

  protect(inUse: () => ImageUse): void {
    this.#images.protect(inUse);
  }

  remove(reference: string): ReturnType<Images["remove"]> {
    return this.#images.remove(reference);
  }

  prune(options: Parameters<Images["prune"]>[0]): ReturnType<Images["prune"]> {
    return this.#images.prune(options);
  }

  load(...given: Parameters<Images["load"]>): ReturnType<Images["load"]> {
    return this.#images.load(...given);
  }

  save(...given: Parameters<Images["save"]>): ReturnType<Images["save"]> {
    return this.#images.save(...given);
  }

  push(...given: Parameters<Images["push"]>): ReturnType<Images["push"]> {
    return this.#images.push(...given);
  }

  families(): readonly MetricFamily[] {
    return [
      {
        type: "counter",
        name: "muster_image_pulls_total",
        help: "Images brought from registries, by outcome.",
        samples: [
          { labels: { outcome: "done" }, value: this.#pulled },
          { labels: { outcome: "failed" }, value: this.#failed },
        ],
      },
      single("counter", "muster_image_pull_bytes_total", "Bytes of images that pulls brought.", this.#bytes),
    ];
  }
}
