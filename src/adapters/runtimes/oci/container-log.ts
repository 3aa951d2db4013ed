/** Reads a container's log file: from the start or the last lines, once or for as long as it grows. */
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { watch } from "node:fs/promises";
import { dirname } from "node:path";
import type { LogLine, LogOptions } from "../../../ports/container-runtime.ts";
import { isErrno } from "./bundle.ts";
import { LogLineReader } from "./log-line.ts";

const chunkBytes = 64 * 1024;
const newline = 10;

export async function* readContainerLog(path: string, options: LogOptions): AsyncIterable<LogLine> {
  if (!options.follow) {
    const log = openLog(path);
    if (log === undefined) return;
    try {
      yield* takeLast(since(log.lines(), options.sinceMs), options.tail);
    } finally {
      log.close();
    }
    return;
  }
  yield* followLog(path, options);
}

async function* followLog(path: string, options: LogOptions): AsyncIterable<LogLine> {
  const changes = new AbortController();
  const stop = () => changes.abort();
  options.signal.addEventListener("abort", stop);
  // Watching begins before the first read, so that nothing written in between goes unnoticed.
  const events = watch(dirname(path), { signal: changes.signal });
  let log = openLog(path);
  try {
    if (options.signal.aborted) return;
    if (log !== undefined) yield* takeLast(since(log.lines(), options.sinceMs), options.tail);
    for await (const _change of ignoreAbort(events)) {
      if (log !== undefined) yield* log.lines();
      const now = statSync(path, { throwIfNoEntry: false });
      if (now === undefined) {
        if (statSync(dirname(path), { throwIfNoEntry: false }) === undefined) return;
        continue;
      }
      if (log?.inode === now.ino) continue;
      // conmon starts the file anew when it reaches its size limit.
      log?.close();
      log = openLog(path);
      if (log !== undefined) yield* log.lines();
    }
  } finally {
    options.signal.removeEventListener("abort", stop);
    changes.abort();
    log?.close();
  }
}

async function* ignoreAbort<T>(events: AsyncIterable<T>): AsyncIterable<T> {
  try {
    yield* events;
  } catch (error) {
    if (error instanceof Error && error.name === "AbortError") return;
    throw error;
  }
}

function* since(lines: Iterable<LogLine>, sinceMs: number | undefined): Iterable<LogLine> {
  for (const line of lines) if (sinceMs === undefined || line.atMs >= sinceMs) yield line;
}

function* takeLast(lines: Iterable<LogLine>, count: number | undefined): Iterable<LogLine> {
  if (count === undefined) {
    yield* lines;
    return;
  }
  // A ring of the wanted size: the file is read once, whatever its length.
  const ring: LogLine[] = [];
  let next = 0;
  for (const line of lines) {
    if (ring.length < count) ring.push(line);
    else if (count > 0) ring[next] = line;
    next = count === 0 ? 0 : (next + 1) % count;
  }
  const start = ring.length < count ? 0 : next;
  yield* ring.slice(start);
  yield* ring.slice(0, start);
}

interface OpenLog {
  readonly inode: number;
  /** Lines completed since the last call. */
  lines(): Iterable<LogLine>;
  close(): void;
}

function openLog(path: string): OpenLog | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
  const reader = new LogLineReader();
  const chunk = Buffer.alloc(chunkBytes);
  let rest = Buffer.alloc(0);
  function* lines(): Iterable<LogLine> {
    for (;;) {
      const bytes = readSync(fd, chunk, 0, chunkBytes, null);
      if (bytes === 0) return;
      let data = Buffer.concat([rest, chunk.subarray(0, bytes)]);
      for (let end = data.indexOf(newline); end !== -1; end = data.indexOf(newline)) {
        const line = reader.read(data.toString("utf8", 0, end));
        data = data.subarray(end + 1);
        if (line !== undefined) yield line;
      }
      rest = data;
    }
  }
  return { inode: fstatSync(fd).ino, lines, close: () => closeSync(fd) };
}
