/** Images in and out by archives and pushes. What comes in goes the way of every pull: nothing is taken on trust. */
import { ImageError, type PullProgress } from "../../../ports/image-store.ts";
import { type ArchivedImage, ImageArchive } from "./image-archive.ts";
import { openArchive } from "./archive-open.ts";
import type { BlobStore } from "./blob-store.ts";
import type { Holds } from "./holds.ts";
import { readManifest } from "./image-details.ts";
import type { ImageIndex, ImageRecord } from "./image-index.ts";
import type { ImagePull } from "./image-pull.ts";
import { writeImages } from "./image-writer.ts";
import type { Manifest } from "./manifest.ts";
import { type ImageReference, parseReference } from "./reference.ts";
import type { RegistryPush } from "./registry-push.ts";

export interface ImageExchangePorts {
  readonly index: ImageIndex;
  readonly blobs: BlobStore;
  readonly holds: Holds;
  readonly puller: ImagePull;
  readonly pusher: RegistryPush;
}

export interface ImageExchangeOptions {
  readonly staging: string;
  /** Bound on a compressed archive, unpacked. */
  readonly archiveBytesMax: number;
}

export class OciImageExchange {
  readonly #ports: ImageExchangePorts;
  readonly #options: ImageExchangeOptions;

  constructor(ports: ImageExchangePorts, options: ImageExchangeOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  async load(
    path: string,
    name: string | undefined,
    signal: AbortSignal,
    report: (progress: PullProgress) => void,
  ): Promise<readonly ImageRecord[]> {
    const { index, puller } = this.#ports;
    const files = await openArchive(path, this.#options.staging, this.#options.archiveBytesMax, signal);
    try {
      const source = new ImageArchive(path, files);
      const images = await source.images();
      const loads = images.flatMap((image) =>
        referencesOf(image, images.length, path, name).map((reference) => ({ reference, image })),
      );
      const records: ImageRecord[] = [];
      for (const { reference, image } of loads) {
        const commit = (record: ImageRecord) => index.put(record);
        const request = { reference, source, digest: image.digest, report, commit };
        records.push(await puller.pull(request, signal));
      }
      return records;
    } finally {
      await files.close();
    }
  }

  async *save(records: readonly ImageRecord[], signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const { blobs, holds } = this.#ports;
    const manifests = await Promise.all(records.map((record) => readManifest(blobs, record)));
    const release = holds.hold(records.flatMap((record, at) => blobsOf(record, manifests[at])));
    try {
      yield* writeImages(blobs, records, signal);
    } finally {
      release();
    }
  }

  async push(
    record: ImageRecord,
    destination: ImageReference,
    signal: AbortSignal,
    report: (progress: PullProgress) => void,
  ): Promise<void> {
    const { blobs, holds, pusher } = this.#ports;
    if (destination.isDigest && destination.version !== record.digest)
      throw new ImageError(
        `${destination.written} names another digest than that of ${record.written}: ${record.digest}`,
        { code: "bad-reference", reference: destination.written, detail: "another image's digest" },
      );
    const manifest = await readManifest(blobs, record);
    const release = holds.hold(blobsOf(record, manifest));
    try {
      const image = {
        manifest,
        manifestBytes: await blobs.read(record.digest),
        digest: record.digest,
        pathOf: (digest: string) => blobs.path(digest),
        repositoryWith: await this.#repositories(destination),
      };
      await pusher.push(destination, image, signal, report);
    } catch (error) {
      if (error instanceof ImageError) throw error;
      signal.throwIfAborted();
      throw new ImageError(
        `pushing ${record.written} to ${destination.written} failed: ${String(error)}`,
        { code: "failed", detail: String(error) },
        { cause: error },
      );
    } finally {
      release();
    }
  }

  /** Which repositories of the destination's registry have a blob, as far as this node has pulled from them. */
  async #repositories(destination: ImageReference): Promise<(digest: string) => string | undefined> {
    const { index, blobs } = this.#ports;
    const found = new Map<string, string>();
    for (const record of index.all()) {
      const { registry, repository } = parseReference(record.canonical);
      if (registry !== destination.registry || repository === destination.repository) continue;
      const manifest = await readManifest(blobs, record).catch(() => undefined);
      for (const digest of blobsOf(record, manifest)) found.set(digest, repository);
    }
    return (digest) => found.get(digest);
  }
}

function blobsOf(record: ImageRecord, manifest: Manifest | undefined): readonly string[] {
  if (manifest === undefined) return [record.digest];
  return [record.digest, manifest.config.digest, ...manifest.layers.map(({ digest }) => digest)];
}

/** Under which references an archived image goes into the index. */
function referencesOf(
  image: ArchivedImage,
  images: number,
  path: string,
  name: string | undefined,
): readonly ImageReference[] {
  const whole = image.names.filter((one) => /[/:]/.test(one));
  if (name === undefined) {
    if (whole.length > 0) return whole.map(parseReference);
    throw new ImageError(
      `${path} does not say what its image ${image.names[0] ?? image.digest} is called: give it a name, as in --name registry.example/app:1`,
      { code: "bad-reference", reference: "", detail: "the archive has no name for it" },
    );
  }
  const hasVersion = /@sha256:|:[^/]*$/.test(name);
  if (images === 1 && hasVersion) return [parseReference(name)];
  if (hasVersion)
    throw new ImageError(`${path} has ${images} images: a name for all of them has no tag`, {
      code: "bad-reference",
      reference: name,
      detail: "a tag for several images",
    });
  const tags = image.names.map((one) => one.replace(/^.*[/:]/, ""));
  return (tags.length === 0 ? ["latest"] : tags).map((tag) => parseReference(`${name}:${tag}`));
}
