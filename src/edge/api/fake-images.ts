/** The images of a node in memory, for the tests of the edge. */
import { basename } from "node:path";
import { ProblemError } from "../../model/problem.ts";
import type { PullPolicy } from "../../model/spec.ts";
import type { ImagesApi, ImageEvent } from "../../node/node-images.ts";
import type { ImageDetails, PruneReport, StoredImage } from "../../ports/image-store.ts";

const layerBytes = 3_000_000;

export class FakeImages implements ImagesApi {
  readonly #images = new Map<string, StoredImage>();
  /** Names that cannot be removed. */
  readonly used = new Set<string>();
  readonly pulls: { readonly reference: string; readonly pull: PullPolicy }[] = [];

  /** Paths that were to be loaded. */
  readonly loads: string[] = [];

  async list(): Promise<readonly StoredImage[]> {
    return [...this.#images.values()];
  }

  async inspect(reference: string): Promise<ImageDetails> {
    const layer = { digest: `sha256:${"b".repeat(64)}`, diffId: `sha256:${"c".repeat(64)}` };
    return {
      ...this.#find(reference),
      platform: "linux/amd64",
      created: "2026-11-21T00:00:00Z",
      labels: { maintainer: "nobody" },
      exposedPorts: ["80/tcp"],
      volumes: [],
      layerDetails: [{ ...layer, sizeBytes: layerBytes }],
    };
  }

  /** A reference that starts with `missing` does not exist; any other has one layer. */
  async *pull(reference: string, options: { readonly pull: PullPolicy }): AsyncGenerator<ImageEvent> {
    this.pulls.push({ reference, pull: options.pull });
    if (reference.startsWith("missing"))
      throw new ProblemError({ code: "not-found", message: `there is no image ${reference}` });
    const progress = { bytesTotal: layerBytes, layersTotal: 1 };
    yield { kind: "progress", progress: { ...progress, bytes: layerBytes / 2, layersDone: 0 } };
    yield { kind: "progress", progress: { ...progress, bytes: layerBytes, layersDone: 1 } };
    yield { kind: "done", image: this.#add(reference) };
  }

  /** The images of an archive are called after it. */
  async *load(path: string, { name }: { readonly name?: string }): AsyncGenerator<ImageEvent> {
    this.loads.push(path);
    for (const tag of ["1", "2"])
      yield { kind: "done", image: this.#add(`${name ?? basename(path)}:${tag}`) };
  }

  async *save(references: readonly string[]): AsyncGenerator<Uint8Array> {
    for (const reference of references) yield Buffer.from(`${this.#find(reference).reference}\n`);
    if (references.includes("broken:1")) throw new Error("the disk is broken");
  }

  async *push(reference: string, destination: string): AsyncGenerator<ImageEvent> {
    yield { kind: "done", image: { ...this.#find(reference), reference: destination } };
  }

  #add(reference: string): StoredImage {
    const image: StoredImage = {
      reference,
      digest: `sha256:${"a".repeat(64)}`,
      layers: ["/layers/one"],
      config: { entrypoint: [], command: ["serve"], env: [], workingDirectory: "", user: "" },
      sizeBytes: layerBytes,
      pulledAtMs: 0,
      isInUse: this.used.has(reference),
      isReplaced: false,
    };
    this.#images.set(reference, image);
    return image;
  }

  async remove(reference: string): Promise<PruneReport> {
    this.#find(reference);
    if (this.used.has(reference))
      throw new ProblemError({ code: "conflict", message: `the image ${reference} is in use` });
    this.#images.delete(reference);
    return { images: [reference], bytes: layerBytes };
  }

  async prune({ all }: { readonly all: boolean }): Promise<PruneReport> {
    const gone = all ? [...this.#images.keys()].filter((reference) => !this.used.has(reference)) : [];
    for (const reference of gone) this.#images.delete(reference);
    return { images: gone, bytes: gone.length * layerBytes };
  }

  #find(reference: string): StoredImage {
    const image = this.#images.get(reference);
    if (image !== undefined) return image;
    throw new ProblemError({ code: "not-found", message: `the image ${reference} is not on this node` });
  }
}
