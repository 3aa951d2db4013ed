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
import type { PullPolicy } from "../../../model/spec.ts";
import {
  type Image,
  type ImageDetails,
  ImageError,
  type ImageExchange,
  type ImageStore,
  type ImageUse,
  type PruneReport,
  type PullProgress,
  type StoredImage,
} from "../../../ports/image-store.ts";
import type { Logger } from "../../../ports/logger.ts";
import { BlobStore } from "./blob-store.ts";
import { DockerCredentials } from "./credentials.ts";
import { DiskSpace } from "./disk-space.ts";
import { Holds } from "./holds.ts";
import { readDetails } from "./image-details.ts";
import { OciImageExchange } from "./image-exchange.ts";
import { ImageIndex, type ImageRecord } from "./image-index.ts";
import { ImagePull } from "./image-pull.ts";
import { ImageSweep, inUse, nameOf, notHere } from "./image-sweep.ts";
import { LayerStore, sweepStaging } from "./layer-store.ts";
import type { Platform } from "./manifest.ts";
import { MirroredSource } from "./mirrored-source.ts";
import { formatReference, type ImageReference, parseReference } from "./reference.ts";
import { RegistryClient } from "./registry-client.ts";
import { RegistryCertificates, systemBundlesDefault } from "./registry-certificates.ts";
import { RegistryPush } from "./registry-push.ts";
import { RegistryHttp } from "./registry-http.ts";
import { RegistrySession } from "./registry-session.ts";
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
  /** `host:port` of mirrors by the registry's name in references; asked in this order, the registry last. */
  readonly mirrors: Readonly<Record<string, readonly string[]>>;
  /** Percent of the disk in use above which nothing is pulled, and down to which unused images make room then. */
  readonly diskHighPercent: number;
  readonly diskLowPercent: number;
  /** Docker's config.json with registry passwords; undefined for none. */
  readonly credentialsPath: string | undefined;
  /** Certificates by registry, as Docker lays them out; undefined for none. */
  readonly certificatesDirectory: string | undefined;
  /** Program and first arguments that lead to `unpackMain`: `[muster, "internal-unpack"]`. */
  readonly unpackCommand: readonly string[];
  /** Bounds on one layer, unpacked. */
  readonly layerBytesMax: number;
  readonly layerEntriesMax: number;
  readonly parallelDownloads: number;
  readonly parallelUnpacks: number;
  readonly parallelUploads: number;
  /** A longer blob is pushed in pieces of so many bytes. */
  readonly uploadChunkBytes: number;
  readonly stallTimeoutMs: number;
  /** How often one request is tried while its failures are of the passing kind. */
  readonly attemptsMax: number;
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
}

/** What the edge starts from; the rest has to be said. */
export const ociImageStoreDefaults = {
  plainHttpRegistries: [],
  mirrors: {},
  certificatesDirectory: "/etc/docker/certs.d",
  diskHighPercent: 95,
  diskLowPercent: 85,
  layerBytesMax: 20 * 1024 ** 3,
  layerEntriesMax: 1_000_000,
  parallelDownloads: 3,
  parallelUnpacks: 2,
  parallelUploads: 3,
  uploadChunkBytes: 16 * 1024 * 1024,
  stallTimeoutMs: 30_000,
  attemptsMax: 5,
  backoffBaseMs: 250,
  backoffMaxMs: 10_000,
} as const satisfies Partial<OciImageStoreOptions>;

type Pull = SharedTask<ImageRecord, PullProgress>;

export class OciImageStore implements ImageStore, ImageExchange {
  readonly #options: OciImageStoreOptions;
  readonly #index: ImageIndex;
  readonly #blobs: BlobStore;
  readonly #layers: LayerStore;
  readonly #puller: ImagePull;
  readonly #registries: MirroredSource;
  readonly #sweeper: ImageSweep;
  readonly #exchange: OciImageExchange;
  readonly #pulls = new Map<string, Pull>();
  #use: () => ImageUse = () => ({ references: [], digests: [] });
  #opening: Promise<void> | undefined;

  constructor(ports: OciImageStorePorts, options: OciImageStoreOptions) {
    this.#options = options;
    const { root } = options;
    const { log } = ports;
    const staging = join(root, "staging");
    const holds = new Holds();
    const disk = new DiskSpace(root, options);
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
    const certificates = new RegistryCertificates({
      directory: options.certificatesDirectory,
      systemBundles: systemBundlesDefault,
    });
    const http = new RegistryHttp({ ...ports, certificates }, options);
    const credentials = new DockerCredentials(ports, options.credentialsPath);
    const session = new RegistrySession({ http, credentials });
    const client = new RegistryClient({ session });
    this.#registries = new MirroredSource({ client, log }, options.mirrors);
    const stores = { index: this.#index, blobs: this.#blobs, layers: this.#layers, holds, disk, log };
    this.#sweeper = new ImageSweep(stores);
    const makeRoom = (bytes: number) => this.#sweeper.makeRoom(bytes, this.#unused());
    this.#puller = new ImagePull({ ...stores, makeRoom, wallMs: () => ports.clock.wallMs() }, options);
    const { parallelUploads, uploadChunkBytes: chunkBytes, layerBytesMax: archiveBytesMax } = options;
    const pusher = new RegistryPush({ session }, { parallelUploads, chunkBytes });
    this.#exchange = new OciImageExchange(
      { ...stores, puller: this.#puller, pusher },
      { staging, archiveBytesMax },
    );
  }

  async find(reference: string): Promise<Image | undefined> {
    const canonical = formatReference(parseReference(reference));
    await this.#open();
    const record = this.#index.get(canonical);
    return record === undefined ? undefined : this.#image(record, reference);
  }

  async list(): Promise<readonly StoredImage[]> {
    await this.#open();
    const isUnused = this.#unused();
    return this.#index.all().map((record) => this.#stored(record, !isUnused(record)));
  }

  async inspect(reference: string): Promise<ImageDetails> {
    const record = await this.#record(reference);
    const stored = this.#stored(record, !this.#unused()(record));
    return { ...stored, ...(await readDetails(this.#blobs, record)) };
  }

  async ensure(
    reference: string,
    options: {
      readonly signal: AbortSignal;
      readonly pull?: PullPolicy;
      readonly onProgress?: (progress: PullProgress) => void;
    },
  ): Promise<Image> {
    const parsed = parseReference(reference);
    const canonical = formatReference(parsed);
    const { pull: policy = "missing" } = options;
    await this.#open();
    const known = this.#index.get(canonical);
    // What a digest stands for cannot change.
    if (known !== undefined && (policy !== "always" || parsed.isDigest)) return this.#image(known, reference);
    if (policy === "never") throw notHere(reference);
    let pull = this.#pulls.get(canonical);
    if (pull === undefined || pull.isAbandoned) {
      const started: Pull = new SharedTask(async (signal, report) => {
        try {
          return await this.#pull(parsed, signal, report);
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

  protect(use: () => ImageUse): void {
    this.#use = use;
  }

  async remove(reference: string): Promise<PruneReport> {
    const record = await this.#record(reference);
    if (!this.#unused()(record)) throw inUse(reference);
    return this.#sweeper.sweep((records) => records.filter((one) => one === record));
  }

  async prune({ all }: { readonly all: boolean }): Promise<PruneReport> {
    await this.#open();
    const isUnused = this.#unused();
    return this.#sweeper.sweep((records) =>
      records.filter((one) => (all || one.isReplaced) && isUnused(one)),
    );
  }

  async load(
    path: string,
    options: {
      readonly signal: AbortSignal;
      readonly name?: string;
      readonly onProgress?: (progress: PullProgress) => void;
    },
  ): Promise<readonly Image[]> {
    const { signal, name, onProgress = () => {} } = options;
    await this.#open();
    const records = await this.#exchange.load(path, name, signal, onProgress);
    return records.map((record) => this.#image(record, record.written));
  }

  async *save(
    references: readonly string[],
    { signal }: { readonly signal: AbortSignal },
  ): AsyncGenerator<Uint8Array> {
    const records = await Promise.all(references.map((reference) => this.#record(reference)));
    yield* this.#exchange.save(records, signal);
  }

  async push(
    reference: string,
    destination: string,
    options: { readonly signal: AbortSignal; readonly onProgress?: (progress: PullProgress) => void },
  ): Promise<Image> {
    const to = parseReference(destination);
    const record = await this.#record(reference);
    await this.#exchange.push(record, to, options.signal, options.onProgress ?? (() => {}));
    return this.#image(record, destination);
  }

  async #pull(
    reference: ImageReference,
    signal: AbortSignal,
    report: (progress: PullProgress) => void,
  ): Promise<ImageRecord> {
    const known = this.#index.get(formatReference(reference));
    if (known !== undefined) {
      const digest = await this.#registries.digestOf(reference, signal);
      if (digest === known.sourceDigest) return known;
    }
    const commit = (record: ImageRecord) => this.#index.put(record);
    return this.#puller.pull({ reference, source: this.#registries, report, commit }, signal);
  }

  async #record(reference: string): Promise<ImageRecord> {
    const canonical = formatReference(parseReference(reference));
    await this.#open();
    const record = this.#index.get(canonical);
    if (record === undefined) throw notHere(reference);
    return record;
  }

  /** Tells the images that nobody needs, as of now. */
  #unused(): (record: ImageRecord) => boolean {
    const { references, digests } = this.#use();
    const names = new Set([...references].map(canonicalOf));
    const numbers = new Set(digests);
    return (record) =>
      !names.has(record.canonical) && !(numbers.has(record.digest) && this.#isLastOf(record, names));
  }

  /** A digest in use keeps its image under one name at least: under those in use, or under every one there is. */
  #isLastOf(record: ImageRecord, names: ReadonlySet<string>): boolean {
    const twins = this.#index.all().filter(({ digest }) => digest === record.digest);
    return !twins.some(({ canonical }) => names.has(canonical));
  }

  #stored(record: ImageRecord, isInUse: boolean): StoredImage {
    const { pulledAtMs, isReplaced } = record;
    return { ...this.#image(record, nameOf(record)), pulledAtMs, isReplaced, isInUse };
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

/** Of a reference that is none, the words themselves: they stand for no image. */
function canonicalOf(reference: string): string {
  try {
    return formatReference(parseReference(reference));
  } catch {
    return reference;
  }
}

function abandoned(reference: string): ImageError {
  return new ImageError(`the pull of ${reference} was given up`, {
    code: "failed",
    detail: "aborted",
  });
}
