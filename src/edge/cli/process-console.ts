/** The Console of the running process. */
import type { Console, ConsoleTerminal } from "./console.ts";

export function processConsole(): Console {
  const out = Bun.stdout.writer();
  const errors = Bun.stderr.writer();
  const interruption = new AbortController();
  const signals = ["SIGINT", "SIGTERM"] as const;
  const interrupt = (): void => {
    // Whoever asks twice does not want to wait for the goodbye: the second one takes its usual course.
    for (const signal of signals) process.off(signal, interrupt);
    interruption.abort();
  };
  for (const signal of signals) process.on(signal, interrupt);
  return {
    async write(data) {
      out.write(data);
      await out.flush();
    },
    async complain(data) {
      errors.write(data);
      await errors.flush();
    },
    input: () => Bun.stdin.stream(),
    interrupted: interruption.signal,
    get terminal() {
      return process.stdin.isTTY && process.stdout.isTTY ? processTerminal() : undefined;
    },
  };
}

function processTerminal(): ConsoleTerminal {
  return {
    // A terminal that nobody has told its size says 0.
    size: () => ({
      columns: process.stdout.columns || 80,
      rows: process.stdout.rows || 24,
    }),
    raw() {
      process.stdin.setRawMode(true);
      return () => process.stdin.setRawMode(false);
    },
    onResize(listener) {
      process.on("SIGWINCH", listener);
      return () => process.off("SIGWINCH", listener);
    },
  };
}
