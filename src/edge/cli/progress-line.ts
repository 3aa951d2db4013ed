/** One line on a terminal that says how far long work is. Nothing where nobody looks. */
import type { CliContext } from "./console.ts";

const clearToEnd = "\u001b[K";

export class ProgressLine {
  readonly #context: CliContext;
  #isShown = false;

  constructor(context: CliContext) {
    this.#context = context;
  }

  async show(text: string): Promise<void> {
    const { terminal } = this.#context.console;
    if (terminal === undefined) return;
    this.#isShown = true;
    const line = text.slice(0, terminal.size().columns - 1);
    await this.#context.console.complain(`\r${line}${clearToEnd}`);
  }

  async clear(): Promise<void> {
    if (!this.#isShown) return;
    this.#isShown = false;
    await this.#context.console.complain(`\r${clearToEnd}`);
  }
}
