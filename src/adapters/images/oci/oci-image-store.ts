/**
 * Images pulled from registries with no daemon: distribution client, blobs, unpacked layers, index.
 *
 *     <root>/index.json             references and their images
 *     <root>/blobs/sha256/<hex>     manifests, configurations and layers as registries serve them
 *     <root>/layers/<hex>/          layers unpacked, shared by all images that have them
 *     <root>/staging/               what is in the making; emptied when the store opens
 *
 * The root is closed to all but its owner: layers hold setuid programs and devices.
 * A store is the only user of its root; the agent holds one.
 */
import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../../ports/clock.ts";
import type { Entropy } from "../../../ports/entropy.ts";
import { type Image, ImageError, type ImageStore, type PullProgress } from "../../../ports/image-store.ts";
import type { Logger } from "../../../ports/logger.ts";
import { BlobStore } from "./blob-store.ts";
import { DockerCredentials } from "./credentials.ts";
import { ImageIndex, type ImageRecord } from "./image-index.ts";
import { ImagePull } from "./image-pull.ts";
import { LayerStore, sweepStaging } from "./layer-store.ts";
import type { Platform } from "./manifest.ts";
import { formatReference, parseReference } from "./reference.ts";
import { RegistryClient } from "./registry-client.ts";
import { RegistryHttp } from "./registry-http.ts";
import { SharedTask } from "./shared-task.ts";

export interface OciImageStorePorts {
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly log: Logger;
}

export interface OciImageStoreOptions {
  /** Directory of the store; made when missing. */
  readonly root: string;
  readonly platform: Platform;
  /** `host:port` of registries without TLS; loopback is always allowed. */
  readonly plainHttpRegistries: readonly string[];
  /** Docker's config.json with registry passwords; undefined for none. */
  readonly credentialsPath: string | undefined;
  /** Program and first arguments that lead to `unpackMain`: `[muster, "internal-unpack"]`. */
  readonly unpackCommand: readonly string[];
  /** Bounds on one layer, unpacked. */
  readonly layerBytesMax: number;
  readonly layerEntriesMax: number;
  readonly parallelDownloads: number;
  readonly parallelUnpacks: number;
  readonly stallTimeoutMs: number;
  /** How often one request is tried while its failures are of the passing kind. */
  readonly attemptsMax: number;
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
}

/** What the edge starts from; the rest has to be said. */
export const ociImageStoreDefaults = {
  plainHttpRegistries: [],
  layerBytesMax: 20 * 1024 ** 3,
  layerEntriesMax: 1_000_000,
  parallelDownloads: 3,
  parallelUnpacks: 2,
  stallTimeoutMs: 30_000,
  attemptsMax: 5,
  backoffBaseMs: 250,
  backoffMaxMs: 10_000,
} as const satisfies Partial<OciImageStoreOptions>;

type Pull = SharedTask<ImageRecord, PullProgress>;

export class OciImageStore implements ImageStore {
  readonly #options: OciImageStoreOptions;
  readonly #index: ImageIndex;
  readonly #blobs: BlobStore;
  readonly #layers: LayerStore;
  readonly #puller: ImagePull;
  readonly #pulls = new Map<string, Pull>();
  #opening: Promise<void> | undefined;

  constructor(ports: OciImageStorePorts, options: OciImageStoreOptions) {
    this.#options = options;
    const { root } = options;
    const staging = join(root, "staging");
    this.#index = new ImageIndex(ports, join(root, "index.json"));
    this.#blobs = new BlobStore(join(root, "blobs"), staging);
    this.#layers = new LayerStore({
      directory: join(root, "layers"),
      staging,
      unpackCommand: options.unpackCommand,
      bytesMax: options.layerBytesMax,
      entriesMax: options.layerEntriesMax,
      parallelUnpacks: options.parallelUnpacks,
    });
    const client = new RegistryClient({
      http: new RegistryHttp(ports, options),
      credentials: new DockerCredentials(ports, options.credentialsPath),
    });
    this.#puller = new ImagePull(
      { client, blobs: this.#blobs, layers: this.#layers, log: ports.log },
      options,
    );
  }

  async find(reference: string): Promise<Image | undefined> {
    const canonical = formatReference(parseReference(reference));
    await this.#open();
    const record = this.#index.get(canonical);
    return record === undefined ? undefined : this.#image(record, reference);
  }

  async list(): Promise<readonly Image[]> {
    await this.#open();
    return this.#index.all().map((record) => this.#image(record, record.written));
  }

  /** What is here is not asked for again, also for tags that move (such as `latest`). */
  async ensure(
    reference: string,
    options: {
      readonly signal: AbortSignal;
      readonly onProgress?: (progress: PullProgress) => void;
    },
  ): Promise<Image> {
    const parsed = parseReference(reference);
    const canonical = formatReference(parsed);
    await this.#open();
    const known = this.#index.get(canonical);
    if (known !== undefined) return this.#image(known, reference);
    let pull = this.#pulls.get(canonical);
    if (pull === undefined || pull.isAbandoned) {
      const started: Pull = new SharedTask(async (signal, report) => {
        try {
          const record = await this.#puller.pull(parsed, signal, report);
          await this.#index.put(record);
          return record;
        } finally {
          if (this.#pulls.get(canonical) === started) this.#pulls.delete(canonical);
        }
      });
      pull = started;
      this.#pulls.set(canonical, started);
    }
    const record = await pull.join(options.signal, () => abandoned(reference), options.onProgress);
    return this.#image(record, reference);
  }

  #image(record: ImageRecord, reference: string): Image {
    const { stopSignal, ...config } = record.config;
    return {
      reference,
      digest: record.digest,
      layers: distinctLayers(record.layers).map((name) => this.#layers.path(name)),
      config: stopSignal === undefined ? config : { ...config, stopSignal },
      sizeBytes: record.sizeBytes,
    };
  }

  /** Once, at first use; tried again when it failed. */
  #open(): Promise<void> {
    this.#opening ??= this.#prepare().catch((error: unknown) => {
      this.#opening = undefined;
      throw new ImageError(
        `the image store in ${this.#options.root} cannot be used: ${String(error)}`,
        { code: "failed", detail: String(error) },
        { cause: error },
      );
    });
    return this.#opening;
  }

  async #prepare(): Promise<void> {
    const { root } = this.#options;
    await mkdir(root, { recursive: true, mode: 0o700 });
    await chmod(root, 0o700);
    await sweepStaging(join(root, "staging"));
    await this.#blobs.open();
    await this.#layers.open();
    await this.#index.open((name) => this.#layers.has(name));
  }
}

/**
 * Overlayfs refuses a directory that stands in the stack twice. Of a layer that does, the upper place
 * alone gives the same tree: all it holds covers what its lower place showed.
 */
function distinctLayers(names: readonly string[]): readonly string[] {
  return names.filter((name, at) => names.lastIndexOf(name) === at);
}

function abandoned(reference: string): ImageError {
  return new ImageError(`the pull of ${reference} was given up`, {
    code: "failed",
    detail: "aborted",
  });
}
