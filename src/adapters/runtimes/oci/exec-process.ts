/** The local end of an exec session: the OCI runtime's `exec` command with pipes or with a terminal. */
import { assert } from "../../../model/assert.ts";
import type { ExecSession } from "../../../ports/container-runtime.ts";
import { ChunkQueue, type OutputChunk } from "./chunk-queue.ts";

export interface LocalProcess extends Pick<ExecSession, "output" | "write" | "closeInput" | "resize"> {
  /** As the shell counts: 128 + signal for a death by signal. */
  readonly exited: Promise<number>;
  /** Ends the local command itself, for when the process in the container cannot be reached. */
  abandon(): void;
}

/** Terminal output that nobody takes is kept up to here; then the session ends rather than the agent's memory. */
const terminalBytesMax = 16 * 1024 * 1024;
const endOfTransmission = Uint8Array.of(4);
/** OPOST of <termios.h>. */
const outputProcessing = 1;

export function spawnWithPipes(command: readonly string[]): LocalProcess {
  const child = Bun.spawn([...command], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  return {
    output: mergeStreams(child.stdout, child.stderr),
    write: async (data) => {
      child.stdin.write(data);
      await child.stdin.flush();
    },
    closeInput: async () => {
      await child.stdin.end();
    },
    resize: () => {},
    exited: child.exited,
    abandon: () => child.kill("SIGKILL"),
  };
}

export function spawnWithTerminal(
  command: readonly string[],
  size: { readonly columns: number; readonly rows: number },
  /** The OCI runtime gives the process a terminal of its own, and this one only passes on what it says. */
  isPassedOn = true,
): LocalProcess {
  const output = new ChunkQueue();
  const child = Bun.spawn([...command], {
    terminal: {
      cols: size.columns,
      rows: size.rows,
      data: (_terminal, data) => {
        output.push({ stream: "stdout", data });
        if (output.bytes > terminalBytesMax) child.kill("SIGKILL");
      },
      exit: () => output.end(),
    },
  });
  const terminal = child.terminal;
  assert(terminal !== undefined, "a spawn with a terminal has one");
  // The inner terminal already turns newlines into carriage return and newline; twice is once too often.
  if (isPassedOn) {
    terminal.setRawMode(true);
    // Raw mode here keeps output processing, which the OCI runtime turns off: whoever comes last must not turn it on again.
    terminal.outputFlags = terminal.outputFlags & ~outputProcessing;
  }
  return {
    output,
    write: async (data) => {
      terminal.write(Uint8Array.from(data));
    },
    closeInput: async () => {
      terminal.write(endOfTransmission);
    },
    resize: (columns, rows) => terminal.resize(columns, rows),
    exited: child.exited,
    abandon: () => child.kill("SIGKILL"),
  };
}

/** Whichever stream has something first; reads ahead at most one chunk of each. */
async function* mergeStreams(
  stdout: AsyncIterable<Uint8Array>,
  stderr: AsyncIterable<Uint8Array>,
): AsyncIterable<OutputChunk> {
  const read = (stream: OutputChunk["stream"], from: AsyncIterator<Uint8Array>) =>
    from.next().then((result) => ({ stream, from, result }));
  const pending = new Map([
    ["stdout", read("stdout", stdout[Symbol.asyncIterator]())],
    ["stderr", read("stderr", stderr[Symbol.asyncIterator]())],
  ]);
  while (pending.size > 0) {
    const { stream, from, result } = await Promise.race(pending.values());
    if (result.done) {
      pending.delete(stream);
      continue;
    }
    pending.set(stream, read(stream, from));
    yield { stream, data: result.value };
  }
}
