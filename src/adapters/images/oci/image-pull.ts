/** One pull from reference to unpacked layers. Layers load side by side, and each unpacks when it has come. */
import { defined } from "../../../model/assert.ts";
import { ImageError, type PullProgress } from "../../../ports/image-store.ts";
import type { Logger } from "../../../ports/logger.ts";
import type { BlobStore } from "./blob-store.ts";
import type { DiskSpace } from "./disk-space.ts";
import { Gate } from "./gate.ts";
import type { Holds } from "./holds.ts";
import type { ImageRecord } from "./image-index.ts";
import type { ImageSource } from "./image-source.ts";
import { KeyedLock } from "./keyed-lock.ts";
import { diskFull, layerNames, type LayerPlace, type LayerStore } from "./layer-store.ts";
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
import { sha256 } from "./registry-client.ts";

export interface ImagePullPorts {
  readonly blobs: BlobStore;
  readonly layers: LayerStore;
  readonly holds: Holds;
  readonly disk: DiskSpace;
  /** Removes unused images until there is room for so many bytes, or none are left. */
  readonly makeRoom: (bytes: number) => Promise<void>;
  readonly wallMs: () => number;
  readonly log: Logger;
}

export interface ImagePullOptions {
  readonly root: string;
  readonly platform: Platform;
  readonly parallelDownloads: number;
}

export interface PullRequest {
  readonly reference: ImageReference;
  readonly source: ImageSource;
  /** Where to begin instead of at the reference's tag or digest. */
  readonly digest?: string;
  readonly report: (progress: PullProgress) => void;
  /** Makes the image known. */
  readonly commit: (record: ImageRecord) => Promise<void>;
}

type Hold = (names: Iterable<string>) => void;

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

  /**
   * Everything the record names is durable and visible when `commit` is called with it, and nothing of it
   * is swept away before `commit` has returned. Rejects with ImageError.
   */
  async pull(request: PullRequest, signal: AbortSignal): Promise<ImageRecord> {
    // One failed layer ends the others.
    const controller = new AbortController();
    const both = AbortSignal.any([signal, controller.signal]);
    const releases: (() => void)[] = [];
    const hold: Hold = (names) => void releases.push(this.#ports.holds.hold(names));
    try {
      const record = await this.#pull(request, both, controller, hold);
      await request.commit(record);
      return record;
    } catch (error) {
      throw this.#explain(error, request.reference);
    } finally {
      for (const release of releases) release();
    }
  }

  async #pull(
    request: PullRequest,
    signal: AbortSignal,
    controller: AbortController,
    hold: Hold,
  ): Promise<ImageRecord> {
    const { log } = this.#ports;
    const { reference } = request;
    const { manifest, digest, sourceDigest } = await this.#resolve(request, signal, hold);
    const blobs = [manifest.config, ...manifest.layers];
    hold(blobs.map((blob) => blob.digest));
    await this.#requireRoom(blobs);
    const parsed = await this.#config(request, manifest, signal);
    const wanted = layersOf(manifest, parsed);
    hold(wanted.flatMap(layerNames));
    const progress = new ProgressCount(manifest.layers, request.report);
    log.info("pulling an image", {
      image: reference.written,
      digest,
      layers: wanted.length,
      bytes: progress.bytesTotal,
    });
    const names: Promise<string>[] = [];
    for (const [at, layer] of wanted.entries()) {
      const lower = names.slice(0, at);
      const name = this.#layer(request, layer, () => Promise.all(lower), progress, signal);
      // The first to fail ends the others, so its reason is the one to tell.
      name.catch((error: unknown) => controller.abort(error));
      names.push(name);
    }
    const outcomes = await Promise.allSettled(names);
    if (outcomes.some((outcome) => outcome.status === "rejected")) throw signal.reason;
    return {
      canonical: formatReference(reference),
      written: reference.written,
      digest,
      sourceDigest,
      layers: await Promise.all(names),
      sizeBytes: blobs.reduce((sum, blob) => sum + blob.size, 0),
      pulledAtMs: this.#ports.wallMs(),
      isReplaced: false,
      config: {
        ...parsed.config,
        entrypoint: [...parsed.config.entrypoint],
        command: [...parsed.config.command],
        env: [...parsed.config.env],
      },
    };
  }

  /** What is to come takes its size at least twice: as it comes, and unpacked. */
  async #requireRoom(blobs: readonly Descriptor[]): Promise<void> {
    const { disk, makeRoom } = this.#ports;
    const isHere = await Promise.all(blobs.map((blob) => this.#ports.blobs.has(blob)));
    const bytes = blobs.reduce((sum, blob, at) => sum + (isHere[at] === true ? 0 : blob.size), 0) * 2;
    if (!(await disk.wouldOverflow(bytes))) return;
    await makeRoom(bytes);
    if (await disk.wouldOverflow(bytes)) throw await disk.refusal(bytes);
  }

  /** From the reference to the manifest of this machine's platform. */
  async #resolve(
    { reference, source, digest: begin }: PullRequest,
    signal: AbortSignal,
    hold: Hold,
  ): Promise<{ readonly manifest: Manifest; readonly digest: string; readonly sourceDigest: string }> {
    const { platform } = this.#options;
    let version = begin ?? reference.version;
    let sourceDigest: string | undefined;
    for (let depth = 0; depth <= indexDepthMax; depth += 1) {
      const { bytes, digest } = await source.manifest(reference, version, signal);
      sourceDigest ??= digest;
      const parsed = parseManifest(bytes, reference.written);
      if (parsed.kind === "manifest") {
        hold([digest]);
        await this.#keep({ mediaType: "", digest, size: bytes.length }, bytes);
        return { manifest: parsed.manifest, digest, sourceDigest };
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

  async #config(request: PullRequest, manifest: Manifest, signal: AbortSignal): Promise<ParsedConfig> {
    const { blobs } = this.#ports;
    const { reference } = request;
    await this.#fetch(request, manifest.config, () => {}, signal);
    const bytes = await blobs.read(manifest.config.digest);
    const parsed = parseConfig(bytes, manifest, reference.written);
    const { platform } = this.#options;
    if (platformRank(parsed.platform, platform) === undefined)
      throw noPlatform(reference, platform, [parsed.platform]);
    return parsed;
  }

  /** Loads and unpacks one layer; its name in the layer store. */
  async #layer(
    request: PullRequest,
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
      progress.layerDone();
      return known;
    }
    await this.#downloads.run(() => this.#fetch(request, descriptor, (bytes) => progress.add(bytes), signal));
    const blobPath = blobs.path(descriptor.digest);
    const name = await layers.unpack(layer, blobPath, lowerNames, signal);
    progress.layerDone();
    return name;
  }

  /** Loads a blob unless it is here. Of two at a time for one blob, the second waits and finds it. */
  #fetch(
    { reference, source }: PullRequest,
    descriptor: Descriptor,
    onBytes: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { blobs } = this.#ports;
    return this.#blobLock.run(descriptor.digest, async () => {
      signal.throwIfAborted();
      if (await blobs.has(descriptor)) return onBytes(descriptor.size);
      await blobs.write(descriptor, (sink) => source.blob(reference, descriptor, sink, signal), onBytes);
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
  readonly #layersTotal: number;
  readonly #report: (progress: PullProgress) => void;
  #bytes = 0;
  #reported = 0;
  #layersDone = 0;

  constructor(layers: readonly Descriptor[], report: (progress: PullProgress) => void) {
    this.bytesTotal = layers.reduce((sum, layer) => sum + layer.size, 0);
    this.#layersTotal = layers.length;
    this.#report = report;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes <= this.#reported) return;
    this.#reported = this.#bytes;
    this.#tell();
  }

  layerDone(): void {
    this.#layersDone += 1;
    this.#tell();
  }

  #tell(): void {
    this.#report({
      bytes: this.#reported,
      bytesTotal: this.bytesTotal,
      layersDone: this.#layersDone,
      layersTotal: this.#layersTotal,
    });
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
