/** Reads a container's output: all that is kept or the last of it, once or for as long as it grows. */
import { statSync, watch } from "node:fs";
import { dirname } from "node:path";
import type { LogLine, LogOptions } from "../../../ports/container-runtime.ts";
import { lastLines, logFiles, openLog, type LogFile, type OpenLog } from "./log-files.ts";
import { LogLineReader } from "./log-line.ts";

export async function* readContainerLog(path: string, options: LogOptions): AsyncIterable<LogLine> {
  if (options.follow) {
    yield* followLog(path, options);
    return;
  }
  const reader = new LogReader(path);
  try {
    yield* reader.kept(options);
  } finally {
    reader.close();
  }
}

async function* followLog(path: string, options: LogOptions): AsyncIterable<LogLine> {
  let wake = () => {};
  let hasNews = true;
  const notice = () => {
    hasNews = true;
    wake();
  };
  // Watching begins before the first read, so that nothing written in between goes unnoticed.
  const watcher = watch(dirname(path), notice);
  watcher.on("error", notice);
  options.signal.addEventListener("abort", notice);
  const reader = new LogReader(path);
  try {
    if (options.signal.aborted) return;
    yield* reader.kept(options);
    while (!options.signal.aborted) {
      if (!hasNews)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      hasNews = false;
      if (options.signal.aborted) return;
      yield* reader.more();
      if (statSync(dirname(path), { throwIfNoEntry: false }) === undefined) return;
    }
  } finally {
    options.signal.removeEventListener("abort", notice);
    watcher.close();
    reader.close();
  }
}

/** Goes through the files in their order, and on to those that come. */
class LogReader {
  readonly #path: string;
  readonly #lines = new LogLineReader();
  #open: OpenLog | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** What is there. */
  *kept({ tail, sinceMs }: Pick<LogOptions, "tail" | "sinceMs">): Iterable<LogLine> {
    const files = logFiles(this.#path).filter(({ modifiedMs }) => modifiedMs >= (sinceMs ?? 0));
    const { first, start } = tail === undefined ? { first: 0, start: 0 } : placeOfLast(files, tail);
    for (const [index, file] of files.slice(first).entries()) {
      if (!this.#goTo(file, index === 0 ? start : 0)) continue;
      for (const line of this.#open?.lines() ?? []) if (line.atMs >= (sinceMs ?? 0)) yield line;
    }
    // A file that was left out for its age may yet grow.
    if (files.length === 0) {
      const newest = logFiles(this.#path).at(-1);
      if (newest !== undefined) this.#goTo(newest, lastLines(newest, 0).start);
    }
  }

  /** What came since. */
  *more(): Iterable<LogLine> {
    yield* this.#open?.lines() ?? [];
    for (;;) {
      const next = this.#next();
      if (next === undefined) return;
      // Nothing is added to a file once there is a newer one; what was until then is still to be read.
      yield* this.#open?.lines() ?? [];
      if (this.#goTo(next, 0)) yield* this.#open?.lines() ?? [];
    }
  }

  /** The file that comes after the open one; undefined when that is the newest. */
  #next(): LogFile | undefined {
    const files = logFiles(this.#path);
    const open = this.#open;
    if (open === undefined) return files[0];
    const index = files.findIndex(({ inode }) => inode === open.inode);
    if (index !== -1) return files[index + 1];
    // It was dropped in the meantime. What is newer has been written to since, and the last is newer in any case.
    return files.find(({ modifiedMs }) => modifiedMs > open.modifiedMs()) ?? files.at(-1);
  }

  close(): void {
    this.#open?.close();
    this.#open = undefined;
  }

  /** False when conmon has put a new file in its place since it was listed. */
  #goTo(file: LogFile, start: number): boolean {
    const opened = openLog(file, this.#lines, start);
    if (opened?.inode !== file.inode) {
      opened?.close();
      return false;
    }
    this.close();
    this.#open = opened;
    return true;
  }
}

/** In which of the files the last `count` lines begin, and where. */
function placeOfLast(
  files: readonly LogFile[],
  count: number,
): { readonly first: number; readonly start: number } {
  let wanted = count;
  for (const [index, file] of [...files.entries()].toReversed()) {
    const { start, found } = lastLines(file, wanted);
    wanted -= found;
    if (wanted === 0) return { first: index, start };
  }
  return { first: 0, start: 0 };
}
