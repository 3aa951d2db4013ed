/**
 * Takes images away, and then what no image leads to any more: layers and blobs are counted by the images that
 * have them. What a pull is at work with is held and stays; the index changes first, so a crash in the middle
 * leaves only what the next sweep finds.
 */
import { readFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { ImageError, type PruneReport } from "../../../ports/image-store.ts";
import type { Logger } from "../../../ports/logger.ts";
import type { BlobStore } from "./blob-store.ts";
import type { DiskSpace } from "./disk-space.ts";
import type { Holds } from "./holds.ts";
import type { ImageIndex, ImageRecord } from "./image-index.ts";
import type { LayerStore } from "./layer-store.ts";
import { parseManifest } from "./manifest.ts";

export interface ImageSweepPorts {
  readonly index: ImageIndex;
  readonly blobs: BlobStore;
  readonly layers: LayerStore;
  readonly holds: Holds;
  readonly disk: DiskSpace;
  readonly log: Logger;
}

export class ImageSweep {
  readonly #ports: ImageSweepPorts;

  constructor(ports: ImageSweepPorts) {
    this.#ports = ports;
  }

  /** Removes the images that `choose` picks of all there are, and what nothing leads to then. */
  async sweep(choose: (records: readonly ImageRecord[]) => readonly ImageRecord[]): Promise<PruneReport> {
    const { index, layers, blobs, disk, log } = this.#ports;
    const before = await disk.free();
    const gone = await index.exclusively(async (write) => {
      const all = index.all();
      const chosen = new Set(choose(all));
      const kept = all.filter((record) => !chosen.has(record));
      if (chosen.size > 0) await write(kept);
      await this.#discardUnused(kept);
      return [...chosen];
    });
    // Outside of the exclusive part: removing a large tree takes its time.
    await Promise.all([layers.emptyTrash(), blobs.emptyTrash()]);
    const bytes = Math.max(0, (await disk.free()) - before);
    for (const record of gone) log.info("removed an image", { image: record.written, digest: record.digest });
    return { images: gone.map(nameOf), bytes };
  }

  /** Removes unused images one after the other, the oldest first, until there is room for `bytes`. */
  async makeRoom(bytes: number, isUnused: (record: ImageRecord) => boolean): Promise<void> {
    const { disk, log } = this.#ports;
    const before = await disk.free();
    await this.sweep((records) => records.filter((one) => one.isReplaced && isUnused(one)));
    while (!(await disk.isRelieved(bytes))) {
      const { images } = await this.sweep((records) =>
        records
          .filter(isUnused)
          .toSorted((a, b) => a.pulledAtMs - b.pulledAtMs)
          .slice(0, 1),
      );
      if (images.length === 0) break;
    }
    log.warn("the disk was full; unused images were removed", { bytes: (await disk.free()) - before });
  }

  async #discardUnused(records: readonly ImageRecord[]): Promise<void> {
    const { layers, blobs, holds } = this.#ports;
    const mounted = await mountedLayers(layers.directory);
    const blobsInUse = new Set((await Promise.all(records.map((one) => this.#blobsOf(one)))).flat());
    const blobsHere = await blobs.digests();
    const layersInUse = new Set(records.flatMap((record) => record.layers));
    // Looking and taking in one go: a pull that begins meanwhile finds either all of it or nothing.
    for (const name of layers.names())
      if (!layersInUse.has(name) && !holds.has(name) && !mounted.has(name)) layers.discard(name);
    for (const digest of blobsHere) if (!blobsInUse.has(digest) && !holds.has(digest)) blobs.discard(digest);
  }

  async #blobsOf(record: ImageRecord): Promise<readonly string[]> {
    const { blobs, log } = this.#ports;
    try {
      const parsed = parseManifest(await blobs.read(record.digest), record.written);
      if (parsed.kind !== "manifest") return [record.digest];
      const { config, layers } = parsed.manifest;
      return [record.digest, config.digest, ...layers.map(({ digest }) => digest)];
    } catch (error) {
      log.warn("the manifest of an image cannot be read", { image: record.written, error: String(error) });
      return [record.digest];
    }
  }
}

export function nameOf(record: ImageRecord): string {
  return record.isReplaced ? record.canonical : record.written;
}

export function notHere(reference: string): ImageError {
  return new ImageError(`the image ${reference} is not on this node`, { code: "not-here", reference });
}

export function inUse(reference: string): ImageError {
  return new ImageError(`the image ${reference} is in use: a deployment of this node runs it`, {
    code: "in-use",
    reference,
  });
}

/**
 * Names of layers below a mount: a second fence for containers that outlive what the node knows of them. Mounts
 * whose layers are given by descriptors do not tell.
 */
async function mountedLayers(directory: string): Promise<ReadonlySet<string>> {
  const names = new Set<string>();
  const text = await readFile("/proc/self/mountinfo", "utf8").catch(() => "");
  for (const [, lower = ""] of text.matchAll(/ - overlay .*?\blowerdir=([^,\n]*)/g))
    for (const path of lower.split(":")) if (dirname(path) === directory) names.add(basename(path));
  return names;
}
