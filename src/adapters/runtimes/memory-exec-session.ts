import type { Clock } from "../../ports/clock.ts";
import type { ExecSession } from "../../ports/container-runtime.ts";
import type { MemoryProgram } from "./memory-machine.ts";

interface Chunk {
  readonly stream: "stdout" | "stderr";
  readonly data: Uint8Array;
}

/** A process inside a container of a `MemoryMachine`. */
export class MemoryExecSession implements ExecSession {
  readonly output: AsyncIterable<Chunk>;
  readonly exitCode: Promise<number>;
  readonly #program: MemoryProgram;
  readonly #chunks: Chunk[] = [];
  readonly #ended = Promise.withResolvers<number>();
  #hasEnded = false;
  #wake = Promise.withResolvers<void>();

  constructor(ports: { readonly clock: Clock }, program: MemoryProgram) {
    this.#program = program;
    this.exitCode = this.#ended.promise;
    this.output = this.#read();
    const encoder = new TextEncoder();
    for (const { stream, text } of program.output) this.#emit({ stream, data: encoder.encode(`${text}\n`) });
    if (program.endsAfterMs !== undefined)
      ports.clock.at(ports.clock.now() + program.endsAfterMs, () => this.#end(program.exitCode));
  }

  async write(data: Uint8Array): Promise<void> {
    if (this.#program.echoesInput && !this.#hasEnded) this.#emit({ stream: "stdout", data });
  }

  async closeInput(): Promise<void> {
    if (this.#program.echoesInput) this.#end(this.#program.exitCode);
  }

  resize(): void {}

  kill(): void {
    this.#end(137);
  }

  #emit(chunk: Chunk): void {
    this.#chunks.push(chunk);
    this.#wake.resolve();
  }

  #end(exitCode: number): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#ended.resolve(exitCode);
    this.#wake.resolve();
  }

  async *#read(): AsyncIterable<Chunk> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        yield chunk;
        continue;
      }
      if (this.#hasEnded) return;
      this.#wake = Promise.withResolvers<void>();
      await this.#wake.promise;
    }
  }
}
