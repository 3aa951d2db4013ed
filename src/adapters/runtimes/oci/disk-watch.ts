/**
 * Ends containers that use more of the node's disk than they may: their writable layer, their output, their files. A child
 * (du) adds up what those with a limit have written, as often as that costs a hundredth of a core at most; so a
 * container can be over its limit for a moment, and by as much as it can write in it.
 */
import type { Clock } from "../../../ports/clock.ts";
import type { Logger } from "../../../ports/logger.ts";

export interface DiskWatchPorts {
  readonly clock: Clock;
  readonly log: Logger;
  /** Told of each container over its limit, at every look for as long as it is. */
  readonly onExcess: (id: string, usedBytes: number, limitBytes: number) => Promise<void>;
}

export interface DiskWatchOptions {
  /** The shortest pause between two looks. */
  readonly pauseMinMs: number;
}

interface Limited {
  readonly directory: string;
  readonly bytesMax: number;
}

const pauseMaxMs = 60_000;
/** So much longer than a look takes is the pause after it. */
const pauseFactor = 100;
const lookTimeoutMs = 60_000;

export class DiskWatch {
  readonly #ports: DiskWatchPorts;
  readonly #options: DiskWatchOptions;
  readonly #limited = new Map<string, Limited>();
  #cancel: (() => void) | undefined;
  #isLooking = false;

  constructor(ports: DiskWatchPorts, options: DiskWatchOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  /** 0 bytes: no limit. */
  add(id: string, limited: Limited): void {
    if (limited.bytesMax <= 0) return;
    this.#limited.set(id, limited);
    if (this.#cancel === undefined && !this.#isLooking) this.#schedule(this.#options.pauseMinMs);
  }

  remove(id: string): void {
    this.#limited.delete(id);
  }

  close(): void {
    this.#limited.clear();
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #schedule(delayMs: number): void {
    const { clock } = this.#ports;
    this.#cancel = clock.at(clock.now() + delayMs, () => {
      this.#cancel = undefined;
      void this.#look();
    });
  }

  async #look(): Promise<void> {
    const { clock, log, onExcess } = this.#ports;
    const begunMs = clock.now();
    this.#isLooking = true;
    try {
      const used = await diskUsage([...this.#limited.values()].map(({ directory }) => directory));
      for (const [id, { directory, bytesMax }] of this.#limited) {
        const bytes = used.get(directory) ?? 0;
        if (bytes > bytesMax) await onExcess(id, bytes, bytesMax);
      }
    } catch (error) {
      log.warn("disk use of containers is not known", { error: String(error) });
    }
    this.#isLooking = false;
    const tookMs = clock.now() - begunMs;
    if (this.#limited.size > 0)
      this.#schedule(Math.min(pauseMaxMs, Math.max(this.#options.pauseMinMs, tookMs * pauseFactor)));
  }
}

/** Bytes on disk by directory, without what is mounted in it; one that is gone is left out. */
async function diskUsage(directories: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const used = new Map<string, number>();
  if (directories.length === 0) return used;
  const child = Bun.spawn(["du", "-skx", "--", ...directories], {
    stdio: ["ignore", "pipe", "ignore"],
    timeout: lookTimeoutMs,
  });
  // Files that go while they are counted make its exit code say nothing.
  for (const line of (await new Response(child.stdout).text()).split("\n")) {
    const [, kibibytes, directory] = /^(\d+)\t(.*)$/.exec(line) ?? [];
    if (directory !== undefined) used.set(directory, Number(kibibytes) * 1024);
  }
  await child.exited;
  return used;
}
