/**
 * Unpacked layers by diff id: `layers/<hex>`. A layer is unpacked into a directory of its own by a child
 * process, synced and renamed; so what has a diff id's name is that layer, whole.
 */
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { ImageError } from "../../../ports/image-store.ts";
import { renameDurably } from "./durable-file.ts";
import { KeyedLock } from "./keyed-lock.ts";
import { digestMismatch } from "./registry-client.ts";
import { type UnpackReport, unpackReportSchema } from "./unpack.ts";

export interface LayerStoreOptions {
  readonly directory: string;
  /** On the same filesystem. */
  readonly staging: string;
  /** Program and first arguments that lead to `unpackMain`. */
  readonly unpackCommand: readonly string[];
  readonly bytesMax: number;
  readonly entriesMax: number;
}

const stderrBytesMax = 4096;

export class LayerStore {
  readonly #options: LayerStoreOptions;
  readonly #present = new Set<string>();
  readonly #lock = new KeyedLock();

  constructor(options: LayerStoreOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    const { directory } = this.#options;
    await mkdir(directory, { recursive: true, mode: 0o700 });
    for (const name of await readdir(directory)) this.#present.add(name);
  }

  path(diffId: string): string {
    return join(this.#options.directory, hexOf(diffId));
  }

  has(diffId: string): boolean {
    return this.#present.has(hexOf(diffId));
  }

  /** Unpacks the blob unless the layer is here. Of two at a time for one layer, the second waits. */
  unpack(diffId: string, blobPath: string, signal: AbortSignal): Promise<void> {
    return this.#lock.run(diffId, async () => {
      signal.throwIfAborted();
      if (this.has(diffId)) return;
      const temporary = join(this.#options.staging, Bun.randomUUIDv7());
      await mkdir(temporary, { mode: 0o755 });
      try {
        const report = await this.#runChild(diffId, blobPath, temporary, signal);
        this.#accept(report, diffId);
        await renameDurably(temporary, this.path(diffId));
        this.#present.add(hexOf(diffId));
      } catch (error) {
        await rm(temporary, { recursive: true, force: true });
        throw error;
      }
    });
  }

  #accept(report: UnpackReport, diffId: string): void {
    switch (report.outcome) {
      case "done":
        return;
      case "bad-archive": {
        const { entry, detail } = report;
        const where = entry === "" ? "" : ` at "${entry}"`;
        throw new ImageError(`the layer ${diffId} cannot be unpacked${where}: ${detail}`, {
          code: "bad-archive",
          layer: diffId,
          entry,
          detail,
        });
      }
      case "digest-mismatch":
        throw digestMismatch(diffId, report.actual);
      case "disk-full":
        throw diskFull(this.#options.directory);
      case "failed":
        throw new ImageError(`unpacking ${diffId} failed: ${report.detail}`, {
          code: "failed",
          detail: report.detail,
        });
    }
  }

  async #runChild(
    diffId: string,
    blobPath: string,
    directory: string,
    signal: AbortSignal,
  ): Promise<UnpackReport> {
    const { unpackCommand, bytesMax, entriesMax } = this.#options;
    const child = Bun.spawn(
      [...unpackCommand, blobPath, directory, diffId, String(bytesMax), String(entriesMax)],
      { stdin: "ignore", stdout: "pipe", stderr: "pipe", env: {} },
    );
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

function hexOf(digest: string): string {
  return digest.replace("sha256:", "");
}
