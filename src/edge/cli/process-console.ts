/** The Console of the running process. */
import type { Console, ConsoleTerminal } from "./console.ts";

export function processConsole(): Console {
  const out = Bun.stdout.writer();
  const errors = Bun.stderr.writer();
  const interruption = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => {
      // Whoever asks twice does not want to wait for the goodbye.
      if (interruption.signal.aborted) process.kill(process.pid, "SIGKILL");
      interruption.abort();
    });
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
    size: () => ({ columns: process.stdout.columns, rows: process.stdout.rows }),
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
