/**
 * Unpacked layers by diff id: `layers/<hex>`; or by chain id, `layers/stack-<hex>`, where a layer depends on
 * the ones below (see lower-layers.ts). A layer is unpacked into a directory of its own by a child process,
 * synced and renamed; so what has a layer's name is that layer, whole.
 */
import { renameSync } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { defined } from "../../../model/assert.ts";
import { ImageError } from "../../../ports/image-store.ts";
import { renameDurably } from "./durable-file.ts";
import { Gate } from "./gate.ts";
import { KeyedLock } from "./keyed-lock.ts";
import { digestMismatch } from "./registry-client.ts";
import { type UnpackReport, type UnpackRequest, unpackReportSchema } from "./unpack.ts";

export interface LayerStoreOptions {
  readonly directory: string;
  /** On the same filesystem. */
  readonly staging: string;
  /** Program and first arguments that lead to `unpackMain`. */
  readonly unpackCommand: readonly string[];
  readonly bytesMax: number;
  readonly entriesMax: number;
  readonly parallelUnpacks: number;
}

/** A layer in a stack of layers. */
export interface LayerPlace {
  /** Digest of the layer's uncompressed archive. */
  readonly diffId: string;
  /** Digest of the diff ids from the lowest layer up to this one (image-spec config.md, chain id). */
  readonly chainId: string;
}

type UnpackFailure = Exclude<UnpackReport, { readonly outcome: "done" | "lower-layers-needed" }>;

const stderrBytesMax = 4096;

export class LayerStore {
  readonly #options: LayerStoreOptions;
  readonly #present = new Set<string>();
  readonly #trash: string[] = [];
  readonly #lock = new KeyedLock();
  readonly #gate: Gate;

  constructor(options: LayerStoreOptions) {
    this.#options = options;
    this.#gate = new Gate(options.parallelUnpacks);
  }

  async open(): Promise<void> {
    const { directory } = this.#options;
    await mkdir(directory, { recursive: true, mode: 0o700 });
    for (const name of await readdir(directory)) this.#present.add(name);
  }

  get directory(): string {
    return this.#options.directory;
  }

  names(): readonly string[] {
    return [...this.#present];
  }

  /** At once nobody finds it any more; `emptyTrash` frees its space. */
  discard(name: string): void {
    const away = join(this.#options.staging, Bun.randomUUIDv7());
    renameSync(this.path(name), away);
    this.#present.delete(name);
    this.#trash.push(away);
  }

  async emptyTrash(): Promise<void> {
    for (let path = this.#trash.pop(); path !== undefined; path = this.#trash.pop())
      await rm(path, { recursive: true, force: true });
  }

  /** Where the layer of that name is, or will be. */
  path(name: string): string {
    return join(this.#options.directory, name);
  }

  has(name: string): boolean {
    return this.#present.has(name);
  }

  /** The name of the layer when it is here, be it on its own or as part of this very stack. */
  nameOf(place: LayerPlace): string | undefined {
    return layerNames(place).find((name) => this.has(name));
  }

  /**
   * Unpacks the blob unless the layer is here; the answer is its name. Of two at a time for one layer, the
   * second waits. `lowerNames` is asked for only when the layer cannot do without; it may take its time.
   */
  async unpack(
    place: LayerPlace,
    blobPath: string,
    lowerNames: () => Promise<readonly string[]>,
    signal: AbortSignal,
  ): Promise<string> {
    const alone = await this.#unpackOnce(place, blobPath, undefined, signal);
    if (alone !== undefined) return alone;
    const lower = (await lowerNames()).map((name) => this.path(name));
    const stacked = await this.#unpackOnce(place, blobPath, lower, signal);
    return defined(stacked, "a layer when those below it are known");
  }

  #unpackOnce(
    place: LayerPlace,
    blobPath: string,
    lowerLayers: readonly string[] | undefined,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    return this.#lock.run(place.diffId, async () => {
      signal.throwIfAborted();
      const known = this.nameOf(place);
      if (known !== undefined) return known;
      const temporary = join(this.#options.staging, Bun.randomUUIDv7());
      await mkdir(temporary, { mode: 0o755 });
      try {
        const report = await this.#gate.run(() =>
          this.#runChild(
            {
              blobPath,
              directory: temporary,
              diffId: place.diffId,
              bytesMax: this.#options.bytesMax,
              entriesMax: this.#options.entriesMax,
              ...(lowerLayers === undefined ? {} : { lowerLayers: [...lowerLayers] }),
            },
            signal,
          ),
        );
        if (report.outcome === "lower-layers-needed") return undefined;
        if (report.outcome !== "done") throw this.#failure(report, place.diffId);
        const name = report.dependsOnLower ? stackName(place) : ownName(place);
        await renameDurably(temporary, this.path(name));
        this.#present.add(name);
        return name;
      } finally {
        await rm(temporary, { recursive: true, force: true });
      }
    });
  }

  #failure(report: UnpackFailure, diffId: string): ImageError {
    switch (report.outcome) {
      case "bad-archive": {
        const { entry, detail } = report;
        const where = entry === "" ? "" : ` at "${entry}"`;
        return new ImageError(`the layer ${diffId} cannot be unpacked${where}: ${detail}`, {
          code: "bad-archive",
          layer: diffId,
          entry,
          detail,
        });
      }
      case "digest-mismatch":
        return digestMismatch(diffId, report.actual);
      case "disk-full":
        return diskFull(this.#options.directory);
      case "failed":
        return new ImageError(`unpacking ${diffId} failed: ${report.detail}`, {
          code: "failed",
          detail: report.detail,
        });
    }
  }

  async #runChild(request: UnpackRequest, signal: AbortSignal): Promise<UnpackReport> {
    const child = Bun.spawn([...this.#options.unpackCommand, JSON.stringify(request)], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      env: {},
    });
    const kill = () => child.kill("SIGKILL");
    signal.addEventListener("abort", kill, { once: true });
    try {
      const [output, complaint] = await Promise.all([child.stdout.text(), child.stderr.text()]);
      const status = await child.exited;
      signal.throwIfAborted();
      return (
        parseReport(output) ?? {
          outcome: "failed",
          detail: `the unpacking process ended with ${status}: ${complaint.slice(0, stderrBytesMax).trim()}`,
        }
      );
    } finally {
      signal.removeEventListener("abort", kill);
    }
  }
}

/** Empties `staging`: what a crash left there was never visible. Undeletable leftovers only take space. */
export async function sweepStaging(staging: string): Promise<void> {
  await mkdir(staging, { recursive: true, mode: 0o700 });
  for (const name of await readdir(staging)) await rm(join(staging, name), { recursive: true, force: true });
}

export function diskFull(path: string): ImageError {
  return new ImageError(`no space left for images in ${path}`, {
    code: "disk-full",
    path,
  });
}

function parseReport(output: string): UnpackReport | undefined {
  try {
    const json: unknown = JSON.parse(output);
    const result = v.safeParse(unpackReportSchema, json);
    return result.success ? result.output : undefined;
  } catch {
    return undefined;
  }
}

/** The names under which a layer may be kept. */
export function layerNames(place: LayerPlace): readonly string[] {
  return [ownName(place), stackName(place)];
}

function ownName(place: LayerPlace): string {
  return place.diffId.replace("sha256:", "");
}

function stackName(place: LayerPlace): string {
  return place.chainId.replace("sha256:", "stack-");
}
