/** Reads what an image says of itself from the manifest and configuration that the store keeps. */
import type { ImageDetails, StoredImage } from "../../../ports/image-store.ts";
import { defined } from "../../../model/assert.ts";
import type { BlobStore } from "./blob-store.ts";
import type { ImageRecord } from "./image-index.ts";
import { badManifest, type Manifest, parseConfig, parseManifest } from "./manifest.ts";
import { formatPlatform } from "./platform.ts";

/** Rejects with ImageError `bad-manifest` when the store has lost it. */
export async function readManifest(blobs: BlobStore, record: ImageRecord): Promise<Manifest> {
  const lost = () => badManifest(record.written, "its manifest is lost on this node; pull it again");
  const bytes = await blobs.read(record.digest).catch(() => {
    throw lost();
  });
  const parsed = parseManifest(bytes, record.written);
  if (parsed.kind !== "manifest") throw lost();
  return parsed.manifest;
}

export async function readDetails(
  blobs: BlobStore,
  record: ImageRecord,
): Promise<Omit<ImageDetails, keyof StoredImage>> {
  const manifest = await readManifest(blobs, record);
  const bytes = await blobs.read(manifest.config.digest).catch(() => {
    throw badManifest(record.written, "its configuration is lost on this node; pull it again");
  });
  const { platform, about, diffIds } = parseConfig(bytes, manifest, record.written);
  return {
    platform: formatPlatform(platform),
    ...about,
    layerDetails: manifest.layers.map(({ digest, size }, at) => ({
      digest,
      diffId: defined(diffIds[at], "a diff id for each layer"),
      sizeBytes: size,
    })),
  };
}
