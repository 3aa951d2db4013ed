/** Changes to the kernel's tables, as many together as wait: each run of `nft` costs a process, whatever it changes. */
import { runNft } from "./nft-table.ts";

interface Waiting {
  readonly script: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class NftQueue {
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;

  /** Resolves when the change is made; an empty script needs none. Changes are made in the order of the calls. */
  async apply(script: string): Promise<void> {
    if (script === "") return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ script, resolve, reject });
    this.#running ??= this.#drain();
    await promise;
  }

  /** Resolves when no change is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await runNft(batch.map(({ script }) => `${script}\n`).join(""));
        for (const { resolve } of batch) resolve();
      } catch (error) {
        // One bad change refuses all of them: apart, each gets its own answer.
        if (batch.length === 1) batch[0]?.reject(error);
        else
          for (const waiting of batch)
            await runNft(`${waiting.script}\n`).then(waiting.resolve, waiting.reject);
      }
    }
    this.#running = undefined;
  }
}
