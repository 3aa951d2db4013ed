/** How full the file system of the image store is, and how full images may make it. */
import { statfs } from "node:fs/promises";
import { ImageError } from "../../../ports/image-store.ts";

export interface DiskLimits {
  /** Percent of the disk in use above which nothing is pulled. */
  readonly diskHighPercent: number;
  /** Down to here unused images make room when the disk is above the other. */
  readonly diskLowPercent: number;
}

/** A disk with so much left is not full, whatever that is in percent; with twice of it, it is relieved. */
const roomyBytes = 10 * 1024 ** 3;

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
    const { percent, left } = await this.#after(bytes);
    return percent > this.#limits.diskHighPercent && left < roomyBytes;
  }

  /** Whether with `bytes` more the disk is no fuller than the lower mark. */
  async isRelieved(bytes: number): Promise<boolean> {
    const { percent, left } = await this.#after(bytes);
    return percent <= this.#limits.diskLowPercent || left >= 2 * roomyBytes;
  }

  async refusal(bytes: number): Promise<ImageError> {
    const { diskHighPercent } = this.#limits;
    const used = Math.round((await this.#after(0)).percent);
    const wanted = Math.ceil(bytes / 1e6);
    return new ImageError(
      `the disk of ${this.#path} is ${used} % full and at least ${wanted} MB more are wanted; images may fill it to ${diskHighPercent} %`,
      { code: "disk-full", path: this.#path },
    );
  }

  /** After `bytes` more, as df counts: what is kept for root is neither free nor used. */
  async #after(bytes: number): Promise<{ readonly percent: number; readonly left: number }> {
    const { blocks, bfree, bavail, bsize } = await statfs(this.#path);
    const used = (blocks - bfree) * bsize;
    const free = bavail * bsize;
    const total = used + free;
    return { percent: total === 0 ? 0 : ((used + bytes) / total) * 100, left: free - bytes };
  }
}
