import type { ExecSession } from "../../ports/container-runtime.ts";
import type { MemoryContainer } from "./memory-machine.ts";

interface Chunk {
  readonly stream: "stdout" | "stderr";
  readonly data: Uint8Array;
}

/** A view of a container's own program: what it prints from now on, and its input where it echoes that. */
export class MemoryAttachment implements ExecSession {
  readonly output: AsyncIterable<Chunk>;
  readonly exitCode: Promise<number>;
  readonly #container: MemoryContainer;
  readonly #chunks: Chunk[] = [];
  readonly #exit = Promise.withResolvers<number>();
  readonly #look: () => void;
  #seen: number;
  #isOver = false;
  #wake = Promise.withResolvers<void>();

  constructor(container: MemoryContainer) {
    this.#container = container;
    this.#seen = container.lines.length;
    this.exitCode = this.#exit.promise;
    this.output = this.#read();
    this.#look = () => this.#news();
    container.readers.add(this.#look);
  }

  async write(data: Uint8Array): Promise<void> {
    const { program, spec } = this.#container;
    if (this.#isOver || !program.echoesInput || spec.stdin !== true) return;
    this.#chunks.push({ stream: "stdout", data });
    this.#wake.resolve();
  }

  async closeInput(): Promise<void> {}

  resize(): void {}

  kill(): void {
    this.#end(0);
  }

  #news(): void {
    const { lines, status } = this.#container;
    for (const { stream, text } of lines.slice(this.#seen))
      this.#chunks.push({ stream, data: new TextEncoder().encode(`${text}\n`) });
    this.#seen = lines.length;
    this.#wake.resolve();
    if (status.phase !== "running") this.#end(status.exitCode ?? 0);
  }

  #end(exitCode: number): void {
    this.#isOver = true;
    this.#container.readers.delete(this.#look);
    this.#exit.resolve(exitCode);
    this.#wake.resolve();
  }

  async *#read(): AsyncIterable<Chunk> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        yield chunk;
        continue;
      }
      if (this.#isOver) return;
      this.#wake = Promise.withResolvers<void>();
      await this.#wake.promise;
    }
  }
}
