import type { ExecSession } from "../../../ports/container-runtime.ts";

type Output = ExecSession["output"];
export type OutputChunk = Output extends AsyncIterable<infer Chunk> ? Chunk : never;

/** Hands chunks from a callback to one reader. */
export class ChunkQueue implements AsyncIterable<OutputChunk> {
  readonly #chunks: OutputChunk[] = [];
  #bytes = 0;
  readonly #end = Promise.withResolvers<void>();
  #isOver = false;
  #wake = () => {};

  get bytes(): number {
    return this.#bytes;
  }

  push(chunk: OutputChunk): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.data.byteLength;
    this.#wake();
  }

  /** When nothing more comes. */
  get ended(): Promise<void> {
    return this.#end.promise;
  }

  end(): void {
    this.#isOver = true;
    this.#end.resolve();
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<OutputChunk> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#bytes -= chunk.data.byteLength;
        yield chunk;
        continue;
      }
      if (this.#isOver) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
  }
}
