/**
 * Images as one archive: an OCI layout (image-spec image-layout.md) with the list that `docker load` looks for, too.
 * A blob that several images have is written once.
 */
import { type FileHandle, open } from "node:fs/promises";
import type { BlobStore } from "./blob-store.ts";
import { readManifest } from "./image-details.ts";
import type { ImageRecord } from "./image-index.ts";
import { type Descriptor, type Manifest, mediaTypeOf } from "./manifest.ts";
import { tarEnd, tarHeader, tarPadding } from "./tar-writer.ts";

const chunkBytes = 256 * 1024;

interface WrittenImage {
  readonly record: ImageRecord;
  readonly manifest: Manifest;
  readonly manifestBytes: Uint8Array;
}

/** The archive, piece by piece. Rejects with ImageError before the first piece when an image is not whole. */
export async function* writeImages(
  blobs: BlobStore,
  records: readonly ImageRecord[],
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const images: WrittenImage[] = [];
  for (const record of records) {
    const manifest = await readManifest(blobs, record);
    images.push({ record, manifest, manifestBytes: await blobs.read(record.digest) });
  }
  yield* file("oci-layout", JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  const written = new Set<string>();
  for (const { record, manifest, manifestBytes } of images) {
    const own = { mediaType: "", digest: record.digest, size: manifestBytes.length };
    for (const blob of [own, manifest.config, ...manifest.layers]) {
      if (written.has(blob.digest)) continue;
      written.add(blob.digest);
      yield* blobFile(blobs, blob, signal);
    }
  }
  yield* file("manifest.json", JSON.stringify(images.map(dockerEntry)));
  yield* file("index.json", JSON.stringify(layoutIndex(images)));
  yield tarEnd();
}

function layoutIndex(images: readonly WrittenImage[]): object {
  return {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: images.map(({ record, manifestBytes }) => {
      const tag = /:([^:/@]+)$/.exec(record.canonical)?.[1];
      return {
        mediaType: mediaTypeOf(manifestBytes),
        digest: record.digest,
        size: manifestBytes.length,
        annotations: {
          "io.containerd.image.name": record.canonical,
          ...(record.canonical.includes("@") || tag === undefined
            ? {}
            : { "org.opencontainers.image.ref.name": tag }),
        },
      };
    }),
  };
}

function dockerEntry({ record, manifest }: WrittenImage): object {
  return {
    Config: blobName(manifest.config.digest),
    RepoTags: record.canonical.includes("@") ? [] : [record.canonical],
    Layers: manifest.layers.map(({ digest }) => blobName(digest)),
  };
}

function blobName(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}

async function* file(name: string, content: string): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(content);
  yield tarHeader(name, bytes.length);
  yield bytes;
  yield tarPadding(bytes.length);
}

async function* blobFile(
  blobs: BlobStore,
  { digest, size }: Descriptor,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const handle = await open(blobs.path(digest), "r");
  try {
    yield tarHeader(blobName(digest), size);
    yield* contentOf(handle, size, signal);
    yield tarPadding(size);
  } finally {
    await handle.close();
  }
}

async function* contentOf(handle: FileHandle, size: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  let at = 0;
  while (at < size) {
    signal.throwIfAborted();
    const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, size - at));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) throw new Error(`a blob is shorter than the ${size} bytes it should have`);
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}
