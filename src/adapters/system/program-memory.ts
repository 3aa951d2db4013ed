/** Gives memory back to the system: garbage, and the pages of the program that only its start runs through. */
import { readFile } from "node:fs/promises";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/logger.ts";

/** From <sys/mman.h>. */
const madviseDontNeed = 4;

/** Past the start: by then the node has met its fleet and has read its book. */
const firstLookMs = 2_000;
const lookIntervalMs = 30_000;
/** Growth since the last release that is worth another (10 to 20 ms of CPU). A large heap has to grow by more: collecting it costs more. */
const growthBytes = 4 * 2 ** 20;
const growthShare = 0.1;

export interface ProgramMemoryPorts {
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Keeps a quiet process small: gives memory back soon after the start, and again whenever it has grown. */
export class ProgramMemory {
  readonly #ports: ProgramMemoryPorts;
  #cancel: (() => void) | undefined;
  #releasedToBytes = 0;

  constructor(ports: ProgramMemoryPorts) {
    this.#ports = ports;
  }

  start(): void {
    this.#lookIn(firstLookMs);
  }

  close(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #lookIn(ms: number): void {
    const { clock } = this.#ports;
    this.#cancel = clock.at(clock.now() + ms, () => void this.#look());
  }

  async #look(): Promise<void> {
    try {
      const bytes = process.memoryUsage.rss();
      const enough = Math.max(growthBytes, this.#releasedToBytes * growthShare);
      if (bytes > this.#releasedToBytes + enough) {
        await releaseMemory();
        this.#releasedToBytes = process.memoryUsage.rss();
      }
    } catch (error) {
      this.#ports.logger.debug("memory is not given back", { error: String(error) });
    }
    if (this.#cancel !== undefined) this.#lookIn(lookIntervalMs);
  }
}

interface Mapping {
  readonly address: number;
  readonly bytes: number;
}

/**
 * Collects garbage, then lets go of the program's own pages. A start or a burst runs through far more of
 * the binary than quiet work: those pages stay counted as the process's until something drops them. They are unchanged copies
 * of the file, so a page that is needed again comes back from the page cache at the cost of a minor fault.
 */
export async function releaseMemory(): Promise<void> {
  // Not Bun.shrink: it throws compiled code away too, and compiling it again costs more than it weighs.
  Bun.gc(true);
  const { dlopen, FFIType } = await import("bun:ffi");
  const mappings = unchangedMappings(await readFile("/proc/self/smaps", "utf8"), process.execPath);
  const libc = dlopen("libc.so.6", {
    madvise: { args: [FFIType.u64, FFIType.u64, FFIType.i32], returns: FFIType.i32 },
  });
  // It is advice: where the system refuses it, nothing is lost but the gain.
  for (const { address, bytes } of mappings) libc.symbols.madvise(address, bytes, madviseDontNeed);
  libc.close();
}

/**
 * Where `path` is mapped without the right to write and without a page that differs from the file. Any other page
 * would come back as the file has it, and what was written there would be lost.
 */
export function unchangedMappings(smaps: string, path: string): readonly Mapping[] {
  const found: Mapping[] = [];
  // A mapping begins with its addresses; the lines of its figures begin with a capital.
  for (const mapping of smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)) {
    const [, from = "", to = "", rights = "", file] =
      /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+\s+(.*)$/m.exec(mapping) ?? [];
    if (file !== path || rights[1] === "w" || !/^Anonymous:\s+0 kB$/m.test(mapping)) continue;
    const address = Number.parseInt(from, 16);
    found.push({ address, bytes: Number.parseInt(to, 16) - address });
  }
  return found;
}
