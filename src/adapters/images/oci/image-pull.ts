/** One pull from reference to unpacked layers. Layers load side by side, and each unpacks when it has come. */
import { defined } from "../../../model/assert.ts";
import { ImageError, type PullProgress } from "../../../ports/image-store.ts";
import type { Logger } from "../../../ports/logger.ts";
import type { BlobStore } from "./blob-store.ts";
import type { ImageRecord } from "./image-index.ts";
import { Gate } from "./gate.ts";
import { KeyedLock } from "./keyed-lock.ts";
import { diskFull, type LayerPlace, type LayerStore } from "./layer-store.ts";
import {
  badManifest,
  type Descriptor,
  type Manifest,
  parseConfig,
  parseManifest,
  type ParsedConfig,
  type Platform,
} from "./manifest.ts";
import { choosePlatform, formatPlatform, platformRank } from "./platform.ts";
import { formatReference, type ImageReference } from "./reference.ts";
import { type RegistryClient, sha256 } from "./registry-client.ts";

export interface ImagePullPorts {
  readonly client: RegistryClient;
  readonly blobs: BlobStore;
  readonly layers: LayerStore;
  readonly log: Logger;
}

export interface ImagePullOptions {
  readonly root: string;
  readonly platform: Platform;
  readonly parallelDownloads: number;
}

/** An index may name an index; more nesting than this is a joke. */
const indexDepthMax = 3;

export class ImagePull {
  readonly #ports: ImagePullPorts;
  readonly #options: ImagePullOptions;
  readonly #downloads: Gate;
  readonly #blobLock = new KeyedLock();

  constructor(ports: ImagePullPorts, options: ImagePullOptions) {
    this.#ports = ports;
    this.#options = options;
    this.#downloads = new Gate(options.parallelDownloads);
  }

  /** Everything the record names is durable and visible when this returns. Rejects with ImageError. */
  async pull(
    reference: ImageReference,
    signal: AbortSignal,
    report: (progress: PullProgress) => void,
  ): Promise<ImageRecord> {
    // One failed layer ends the others.
    const controller = new AbortController();
    const both = AbortSignal.any([signal, controller.signal]);
    try {
      return await this.#pull(reference, both, controller, report);
    } catch (error) {
      throw this.#explain(error, reference);
    }
  }

  async #pull(
    reference: ImageReference,
    signal: AbortSignal,
    controller: AbortController,
    report: (progress: PullProgress) => void,
  ): Promise<ImageRecord> {
    const { log } = this.#ports;
    const resolved = await this.#resolve(reference, signal);
    const { manifest, digest } = resolved;
    const parsed = await this.#config(reference, manifest, signal);
    const wanted = layersOf(manifest, parsed);
    const progress = new ProgressCount(
      manifest.layers.reduce((sum, layer) => sum + layer.size, 0),
      report,
    );
    log.info("pulling an image", {
      image: reference.written,
      digest,
      layers: wanted.length,
      bytes: progress.bytesTotal,
    });
    const names: Promise<string>[] = [];
    for (const [at, layer] of wanted.entries()) {
      const lower = names.slice(0, at);
      const name = this.#layer(reference, layer, () => Promise.all(lower), progress, signal);
      // The first to fail ends the others, so its reason is the one to tell.
      name.catch((error: unknown) => controller.abort(error));
      names.push(name);
    }
    const outcomes = await Promise.allSettled(names);
    if (outcomes.some((outcome) => outcome.status === "rejected")) throw signal.reason;
    const blobs = [manifest.config, ...manifest.layers];
    return {
      canonical: formatReference(reference),
      written: reference.written,
      digest,
      layers: await Promise.all(names),
      sizeBytes: blobs.reduce((sum, blob) => sum + blob.size, 0),
      config: {
        ...parsed.config,
        entrypoint: [...parsed.config.entrypoint],
        command: [...parsed.config.command],
        env: [...parsed.config.env],
      },
    };
  }

  /** From the reference to the manifest of this machine's platform. */
  async #resolve(
    reference: ImageReference,
    signal: AbortSignal,
  ): Promise<{ readonly manifest: Manifest; readonly digest: string }> {
    const { client } = this.#ports;
    const { platform } = this.#options;
    let version = reference.version;
    for (let depth = 0; depth <= indexDepthMax; depth += 1) {
      const { bytes, digest } = await client.manifest(reference, version, signal);
      const parsed = parseManifest(bytes, reference.written);
      if (parsed.kind === "manifest") {
        await this.#keep({ mediaType: "", digest, size: bytes.length }, bytes);
        return { manifest: parsed.manifest, digest };
      }
      const chosen = choosePlatform(parsed.index, platform);
      if (chosen === undefined)
        throw noPlatform(
          reference,
          platform,
          parsed.index.manifests.flatMap((entry) => (entry.platform === undefined ? [] : [entry.platform])),
        );
      version = chosen.digest;
    }
    throw badManifest(reference.written, "its index names indexes without end");
  }

  async #config(reference: ImageReference, manifest: Manifest, signal: AbortSignal): Promise<ParsedConfig> {
    const { blobs } = this.#ports;
    await this.#fetch(reference, manifest.config, () => {}, signal);
    const bytes = await blobs.read(manifest.config.digest);
    const parsed = parseConfig(bytes, manifest, reference.written);
    const { platform } = this.#options;
    if (platformRank(parsed.platform, platform) === undefined)
      throw noPlatform(reference, platform, [parsed.platform]);
    return parsed;
  }

  /** Loads and unpacks one layer; its name in the layer store. */
  async #layer(
    reference: ImageReference,
    layer: WantedLayer,
    lowerNames: () => Promise<readonly string[]>,
    progress: ProgressCount,
    signal: AbortSignal,
  ): Promise<string> {
    const { blobs, layers } = this.#ports;
    const { descriptor } = layer;
    const known = layers.nameOf(layer);
    if (known !== undefined) {
      progress.add(descriptor.size);
      return known;
    }
    await this.#downloads.run(() =>
      this.#fetch(reference, descriptor, (bytes) => progress.add(bytes), signal),
    );
    const blobPath = blobs.path(descriptor.digest);
    return layers.unpack(layer, blobPath, lowerNames, signal);
  }

  /** Loads a blob unless it is here. Of two at a time for one blob, the second waits and finds it. */
  #fetch(
    reference: ImageReference,
    descriptor: Descriptor,
    onBytes: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { blobs, client } = this.#ports;
    return this.#blobLock.run(descriptor.digest, async () => {
      signal.throwIfAborted();
      if (await blobs.has(descriptor)) return onBytes(descriptor.size);
      await blobs.write(descriptor, (sink) => client.blob(reference, descriptor, sink, signal), onBytes);
    });
  }

  /** Keeps the manifest beside the blobs: other nodes can be served from here. */
  async #keep(descriptor: Descriptor, bytes: Uint8Array): Promise<void> {
    const { blobs } = this.#ports;
    if (await blobs.has(descriptor)) return;
    await blobs.write(
      descriptor,
      (sink) => sink.write(bytes),
      () => {},
    );
  }

  #explain(error: unknown, reference: ImageReference): ImageError {
    if (error instanceof ImageError) return error;
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOSPC" || code === "EDQUOT") return diskFull(this.#options.root);
    return new ImageError(
      `pulling ${reference.written} failed: ${String(error)}`,
      { code: "failed", detail: String(error) },
      { cause: error },
    );
  }
}

interface WantedLayer extends LayerPlace {
  readonly descriptor: Descriptor;
}

function layersOf(manifest: Manifest, parsed: ParsedConfig): readonly WantedLayer[] {
  const layers: WantedLayer[] = [];
  let chainId = "";
  for (const [at, descriptor] of manifest.layers.entries()) {
    const diffId = defined(parsed.diffIds[at], "a diff id for each layer");
    chainId = at === 0 ? diffId : sha256(Buffer.from(`${chainId} ${diffId}`));
    layers.push({ descriptor, diffId, chainId });
  }
  return layers;
}

/** Counts bytes over all layers. A restarted transfer takes bytes away; what is reported never goes back. */
class ProgressCount {
  readonly bytesTotal: number;
  readonly #report: (progress: PullProgress) => void;
  #bytes = 0;
  #reported = 0;

  constructor(bytesTotal: number, report: (progress: PullProgress) => void) {
    this.bytesTotal = bytesTotal;
    this.#report = report;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes <= this.#reported) return;
    this.#reported = this.#bytes;
    this.#report({ bytes: this.#bytes, bytesTotal: this.bytesTotal });
  }
}

function noPlatform(reference: ImageReference, wanted: Platform, platforms: readonly Platform[]): ImageError {
  const offered = platforms.map(formatPlatform).filter((text) => !text.startsWith("unknown"));
  const text = formatPlatform(wanted);
  return new ImageError(`${reference.written} has no image for ${text}; it has ${offered.join(", ")}`, {
    code: "no-platform",
    reference: reference.written,
    wanted: text,
    offered,
  });
}
