/** An image store that pulls from a map: for the simulator and for tests. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { PullPolicy } from "../../model/spec.ts";
import {
  ImageError,
  type Image,
  type ImageConfig,
  type ImageDetails,
  type ImageExchange,
  type ImageStore,
  type ImageUse,
  type PruneReport,
  type PullProgress,
  type StoredImage,
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

/** A machine's images by reference; one that lost its name is under its name at its digest. */
export type MemoryImages = Map<string, MemoryImage>;

export interface MemoryImage extends Image {
  readonly isReplaced: boolean;
}

export class MemoryImageStore implements ImageStore, ImageExchange {
  readonly #registry: MemoryRegistry;
  readonly #images: MemoryImages;
  #use: () => ImageUse = () => ({ references: [], digests: [] });

  /** `images` is the machine's disk: whoever plays the machine keeps it while agents come and go. */
  constructor(ports: { readonly registry: MemoryRegistry; readonly images: MemoryImages }) {
    this.#registry = ports.registry;
    this.#images = ports.images;
  }

  async find(reference: string): Promise<Image | undefined> {
    const known = this.#images.get(reference);
    return known === undefined ? undefined : imageOf(known);
  }

  async ensure(
    reference: string,
    options: {
      readonly signal: AbortSignal;
      readonly pull?: PullPolicy;
      readonly onProgress?: (progress: PullProgress) => void;
    },
  ): Promise<Image> {
    if (!referencePattern.test(reference))
      throw new ImageError(`${JSON.stringify(reference)} names no image`, {
        code: "bad-reference",
        reference,
        detail: "not of the form name[:tag][@sha256:digest]",
      });
    const { pull = "missing" } = options;
    const known = this.#images.get(reference);
    if (known !== undefined && pull !== "always") return imageOf(known);
    if (pull === "never") throw notHere(reference);
    if (options.signal.aborted)
      throw new ImageError(`pull of ${reference} was given up`, {
        code: "failed",
        detail: "aborted",
      });
    const image = unpacked(reference, this.#registry.pull(reference));
    if (known?.digest === image.digest) return imageOf(known);
    if (known !== undefined) {
      const moved = `${reference.replace(/:[^:/]+$/, "")}@${known.digest}`;
      this.#images.set(moved, { ...known, reference: moved, isReplaced: true });
    }
    const { sizeBytes } = image;
    options.onProgress?.({ bytes: sizeBytes, bytesTotal: sizeBytes, layersDone: 1, layersTotal: 1 });
    this.#images.set(reference, { ...image, isReplaced: false });
    return image;
  }

  async list(): Promise<readonly StoredImage[]> {
    return [...this.#images.values()].map((image) => this.#stored(image));
  }

  async inspect(reference: string): Promise<ImageDetails> {
    const image = this.#images.get(reference);
    if (image === undefined) throw notHere(reference);
    return {
      ...this.#stored(image),
      platform: "memory/any",
      labels: {},
      exposedPorts: [],
      volumes: [],
      layerDetails: [{ digest: image.digest, diffId: image.digest, sizeBytes: image.sizeBytes }],
    };
  }

  protect(use: () => ImageUse): void {
    this.#use = use;
  }

  async remove(reference: string): Promise<PruneReport> {
    const image = this.#images.get(reference);
    if (image === undefined) throw notHere(reference);
    if (this.#isInUse(image))
      throw new ImageError(`the image ${reference} is in use`, { code: "in-use", reference });
    this.#images.delete(reference);
    return { images: [reference], bytes: image.sizeBytes };
  }

  async prune({ all }: { readonly all: boolean }): Promise<PruneReport> {
    const gone = [...this.#images.values()].filter(
      (image) => (all || image.isReplaced) && !this.#isInUse(image),
    );
    for (const { reference } of gone) this.#images.delete(reference);
    return {
      images: gone.map(({ reference }) => reference),
      bytes: gone.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    };
  }

  /** Archives of its own making only. */
  async load(
    path: string,
    options: { readonly signal: AbortSignal; readonly name?: string },
  ): Promise<readonly Image[]> {
    const bad = (detail: string): ImageError =>
      new ImageError(`${path} is no image archive: ${detail}`, {
        code: "bad-archive",
        layer: path,
        entry: "",
        detail,
      });
    const text = await readFile(path, "utf8").catch((error: unknown) => {
      throw new ImageError(`${path} cannot be read: ${String(error)}`, { code: "not-here", reference: path });
    });
    if (!text.startsWith(archiveMark)) throw bad("it was not saved by this store");
    const archived: readonly { reference: string; config: ImageConfig }[] = JSON.parse(
      text.slice(archiveMark.length),
    );
    return archived.map(({ reference, config }) => {
      const image = unpacked(options.name ?? reference, config);
      this.#images.set(image.reference, { ...image, isReplaced: false });
      return image;
    });
  }

  async *save(references: readonly string[]): AsyncGenerator<Uint8Array> {
    const images = references.map((reference) => {
      const image = this.#images.get(reference);
      if (image === undefined) throw notHere(reference);
      return { reference, config: image.config };
    });
    yield Buffer.from(archiveMark + JSON.stringify(images));
  }

  async push(reference: string, destination: string): Promise<Image> {
    const image = this.#images.get(reference);
    if (image === undefined) throw notHere(reference);
    this.#registry.publish(destination, image.config);
    return { ...imageOf(image), reference: destination };
  }

  #stored(image: MemoryImage): StoredImage {
    return { ...image, pulledAtMs: 0, isInUse: this.#isInUse(image) };
  }

  #isInUse({ reference, digest }: Image): boolean {
    const { references, digests } = this.#use();
    return new Set(references).has(reference) || new Set(digests).has(digest);
  }
}

const archiveMark = "muster memory images\n";

function imageOf({ isReplaced: _isReplaced, ...image }: MemoryImage): Image {
  return image;
}

function notHere(reference: string): ImageError {
  return new ImageError(`the image ${reference} is not on this node`, { code: "not-here", reference });
}

function unpacked(reference: string, config: ImageConfig): Image {
  const text = JSON.stringify(config);
  const hash = createHash("sha256").update(text).digest("hex");
  return {
    reference,
    digest: `sha256:${hash}`,
    layers: [`/memory/layers/${hash}`],
    config,
    sizeBytes: text.length,
  };
}
