/**
 * The images in an archive: an OCI layout (image-spec image-layout.md), or what `docker save` wrote before it
 * wrote such layouts. Of the latter a manifest is made, so that both are pulled from like a registry.
 */
import * as v from "valibot";
import { defined } from "../../../model/assert.ts";
import { ImageError } from "../../../ports/image-store.ts";
import type { ArchiveFiles } from "./archive-files.ts";
import type { BlobSink, ImageSource } from "./image-source.ts";
import { configBytesMax, type Descriptor, diffIdsOf, manifestBytesMax, ociTypes } from "./manifest.ts";
import type { ImageReference } from "./reference.ts";
import { digestMismatch, sha256 } from "./registry-client.ts";

export interface ArchivedImage {
  /** Of the manifest, or of an index of several platforms. */
  readonly digest: string;
  /** As the archive has them, whole or just a tag. */
  readonly names: readonly string[];
}

const layoutIndexSchema = v.object({
  manifests: v.array(
    v.object({
      digest: v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/)),
      annotations: v.optional(v.record(v.string(), v.string()), {}),
    }),
  ),
});

const dockerIndexSchema = v.array(
  v.object({
    Config: v.string(),
    RepoTags: v.nullish(v.array(v.string()), []),
    Layers: v.array(v.string()),
  }),
);

const wholeName = "io.containerd.image.name";
const refName = "org.opencontainers.image.ref.name";
const chunkBytes = 256 * 1024;

export class ImageArchive implements ImageSource {
  readonly #path: string;
  readonly #files: ArchiveFiles;
  /** What the archive does not hold as a blob of its own, by digest. */
  readonly #made = new Map<string, Uint8Array>();
  /** Files of the archive that are not named by their digest. */
  readonly #fileNames = new Map<string, string>();

  /** `path` is for messages. */
  constructor(path: string, files: ArchiveFiles) {
    this.#path = path;
    this.#files = files;
  }

  /** Rejects with ImageError `bad-archive`. */
  async images(): Promise<readonly ArchivedImage[]> {
    if ((await this.#files.size("index.json")) !== undefined) return this.#layoutImages();
    if ((await this.#files.size("manifest.json")) !== undefined) return this.#dockerImages();
    throw this.#bad("", 'it has neither "index.json" (OCI layout) nor "manifest.json" (docker save)');
  }

  async manifest(
    _reference: ImageReference,
    version: string,
  ): Promise<{ readonly bytes: Uint8Array; readonly digest: string }> {
    const bytes = this.#made.get(version) ?? (await this.#bytes(this.#nameOf(version), manifestBytesMax));
    const digest = sha256(bytes);
    if (digest !== version) throw digestMismatch(version, digest);
    return { bytes, digest };
  }

  async blob(
    _reference: ImageReference,
    { digest, size }: Descriptor,
    sink: BlobSink,
    signal: AbortSignal,
  ): Promise<void> {
    const name = this.#nameOf(digest);
    if ((await this.#files.size(name)) === undefined) throw this.#bad(name, "it is missing");
    while (sink.received < size) {
      signal.throwIfAborted();
      const chunk = await this.#files.read(name, sink.received, Math.min(chunkBytes, size - sink.received));
      // What is too short has the wrong digest, and is told so.
      if (chunk.length === 0) return;
      await sink.write(chunk);
    }
  }

  async #layoutImages(): Promise<readonly ArchivedImage[]> {
    const bytes = await this.#bytes("index.json", manifestBytesMax);
    const { manifests } = this.#parse(layoutIndexSchema, bytes, "index.json");
    const named = manifests.map(({ digest, annotations }) => {
      const names = [annotations[wholeName], annotations[refName]].filter((name) => name !== undefined);
      return { digest, names: names.slice(0, 1) };
    });
    // Several without a name are one image for several platforms.
    if (named.length > 1 && named.every(({ names }) => names.length === 0)) {
      const digest = sha256(bytes);
      this.#made.set(digest, bytes);
      return [{ digest, names: [] }];
    }
    return named;
  }

  async #dockerImages(): Promise<readonly ArchivedImage[]> {
    const bytes = await this.#bytes("manifest.json", manifestBytesMax);
    const images: ArchivedImage[] = [];
    for (const image of this.#parse(dockerIndexSchema, bytes, "manifest.json")) {
      const config = await this.#bytes(image.Config, configBytesMax);
      const configDigest = sha256(config);
      this.#fileNames.set(configDigest, image.Config);
      const diffIds = diffIdsOf(config, this.#path);
      if (diffIds.length !== image.Layers.length)
        throw this.#bad(
          "manifest.json",
          `${image.Layers.length} layers, and ${diffIds.length} in ${image.Config}`,
        );
      const layers: object[] = [];
      for (const [at, name] of image.Layers.entries())
        layers.push(await this.#layer(name, defined(diffIds[at], "a diff id for each layer")));
      const manifest = Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: ociTypes.manifest,
          config: { mediaType: ociTypes.config, digest: configDigest, size: config.length },
          layers,
        }),
      );
      const digest = sha256(manifest);
      this.#made.set(digest, manifest);
      images.push({ digest, names: image.RepoTags ?? [] });
    }
    return images;
  }

  async #layer(name: string, diffId: string): Promise<object> {
    const size = await this.#files.size(name);
    if (size === undefined) throw this.#bad(name, "it is missing");
    const [first = 0, second = 0] = await this.#files.read(name, 0, 2);
    const isGzip = first === 0x1f && second === 0x8b;
    // What is not compressed has the very digest that the configuration names.
    const digest = isGzip ? await this.#digestOf(name, size) : diffId;
    this.#fileNames.set(digest, name);
    return { mediaType: isGzip ? ociTypes.gzipLayer : ociTypes.layer, digest, size };
  }

  async #digestOf(name: string, size: number): Promise<string> {
    const hasher = new Bun.CryptoHasher("sha256");
    for (let at = 0; at < size; at += chunkBytes)
      hasher.update(await this.#files.read(name, at, Math.min(chunkBytes, size - at)));
    return `sha256:${hasher.digest("hex")}`;
  }

  #nameOf(digest: string): string {
    return this.#fileNames.get(digest) ?? `blobs/${digest.replace(":", "/")}`;
  }

  async #bytes(name: string, bytesMax: number): Promise<Uint8Array> {
    const size = await this.#files.size(name);
    if (size === undefined) throw this.#bad(name, "it is missing");
    if (size > bytesMax) throw this.#bad(name, `it is over ${bytesMax} bytes`);
    return this.#files.read(name, 0, size);
  }

  #parse<T extends v.GenericSchema>(schema: T, bytes: Uint8Array, name: string): v.InferOutput<T> {
    try {
      const json: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
      return v.parse(schema, json);
    } catch (error) {
      throw this.#bad(name, error instanceof v.ValiError ? error.message : "it is not JSON");
    }
  }

  #bad(entry: string, detail: string): ImageError {
    const where = entry === "" ? "" : ` at "${entry}"`;
    return new ImageError(`${this.#path} is no image archive${where}: ${detail}`, {
      code: "bad-archive",
      layer: this.#path,
      entry,
      detail,
    });
  }
}
