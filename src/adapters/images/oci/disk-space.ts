/** How full the file system of the image store is, and how full images may make it. */
import { statfs } from "node:fs/promises";
import { ImageError } from "../../../ports/image-store.ts";

export interface DiskLimits {
  /** Percent of the disk in use above which nothing is pulled. */
  readonly diskHighPercent: number;
  /** Down to here unused images make room when the disk is above the other. */
  readonly diskLowPercent: number;
}

export class DiskSpace {
  readonly #path: string;
  readonly #limits: DiskLimits;

  constructor(path: string, limits: DiskLimits) {
    this.#path = path;
    this.#limits = limits;
  }

  /** Bytes that may still be written. */
  async free(): Promise<number> {
    const { bavail, bsize } = await statfs(this.#path);
    return bavail * bsize;
  }

  /** Whether `bytes` more would take the disk above the upper mark. */
  async wouldOverflow(bytes: number): Promise<boolean> {
    return (await this.#percent(bytes)) > this.#limits.diskHighPercent;
  }

  /** Whether with `bytes` more the disk is no fuller than the lower mark. */
  async isRelieved(bytes: number): Promise<boolean> {
    return (await this.#percent(bytes)) <= this.#limits.diskLowPercent;
  }

  async refusal(bytes: number): Promise<ImageError> {
    const { diskHighPercent } = this.#limits;
    const used = Math.round(await this.#percent(0));
    const wanted = Math.ceil(bytes / 1e6);
    return new ImageError(
      `the disk of ${this.#path} is ${used} % full and at least ${wanted} MB more are wanted; images may fill it to ${diskHighPercent} %`,
      { code: "disk-full", path: this.#path },
    );
  }

  /** In use after `bytes` more, as df counts: what is kept for root is neither free nor used. */
  async #percent(bytes: number): Promise<number> {
    const { blocks, bfree, bavail, bsize } = await statfs(this.#path);
    const used = (blocks - bfree) * bsize;
    const total = used + bavail * bsize;
    return total === 0 ? 0 : ((used + bytes) / total) * 100;
  }
}
