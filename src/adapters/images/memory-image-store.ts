/** An image store that pulls from a map: for the simulator and for tests. */
import { createHash } from "node:crypto";
import {
  ImageError,
  type Image,
  type ImageConfig,
  type ImageStore,
  type PullProgress,
} from "../../ports/image-store.ts";

/** Where images come from; shared by all nodes of a simulated world. */
export class MemoryRegistry {
  readonly #configs = new Map<string, ImageConfig>();
  isReachable = true;

  publish(reference: string, config: ImageConfig): void {
    this.#configs.set(reference, config);
  }

  /** Rejects with ImageError `not-found` or `registry-unreachable`. */
  pull(reference: string): ImageConfig {
    if (!this.isReachable)
      throw new ImageError(`cannot pull ${reference}: the registry is unreachable`, {
        code: "registry-unreachable",
        registry: "memory",
        detail: "unreachable",
      });
    const config = this.#configs.get(reference);
    if (config !== undefined) return config;
    throw new ImageError(`there is no image ${reference}`, {
      code: "not-found",
      reference,
    });
  }
}

/** Name with an optional registry, tag and digest, as the distribution specification's reference grammar has it. */
const referencePattern =
  /^(?:(?:\[[0-9a-f:]+\]|[a-z0-9.-]+)(?::\d+)?\/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/;

export class MemoryImageStore implements ImageStore {
  readonly #registry: MemoryRegistry;
  readonly #images: Map<string, Image>;

  /** `images` is the machine's disk: whoever plays the machine keeps it while agents come and go. */
  constructor(ports: { readonly registry: MemoryRegistry; readonly images: Map<string, Image> }) {
    this.#registry = ports.registry;
    this.#images = ports.images;
  }

  async find(reference: string): Promise<Image | undefined> {
    return this.#images.get(reference);
  }

  async ensure(
    reference: string,
    options: {
      readonly signal: AbortSignal;
      readonly onProgress?: (progress: PullProgress) => void;
    },
  ): Promise<Image> {
    if (!referencePattern.test(reference))
      throw new ImageError(`${JSON.stringify(reference)} names no image`, {
        code: "bad-reference",
        reference,
        detail: "not of the form name[:tag][@sha256:digest]",
      });
    const known = this.#images.get(reference);
    if (known !== undefined) return known;
    if (options.signal.aborted)
      throw new ImageError(`pull of ${reference} was given up`, {
        code: "failed",
        detail: "aborted",
      });
    const image = unpacked(reference, this.#registry.pull(reference));
    options.onProgress?.({
      bytes: image.sizeBytes,
      bytesTotal: image.sizeBytes,
    });
    this.#images.set(reference, image);
    return image;
  }

  async list(): Promise<readonly Image[]> {
    return [...this.#images.values()];
  }
}

function unpacked(reference: string, config: ImageConfig): Image {
  const text = JSON.stringify([reference, config]);
  const hash = createHash("sha256").update(text).digest("hex");
  return {
    reference,
    digest: `sha256:${hash}`,
    layers: [`/memory/layers/${hash}`],
    config,
    sizeBytes: text.length,
  };
}
