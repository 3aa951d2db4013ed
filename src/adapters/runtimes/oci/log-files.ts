/**
 * The files of a container's output. conmon writes `log` and, when that is full, puts a new file in its place; what was
 * there stays alive by a second name, `log.kept`, until it is moved to `log.1` and the older ones up by one.
 */
import { fstatSync, openSync, readSync, closeSync, readdirSync, statSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { LogLine } from "../../../ports/container-runtime.ts";
import { isErrno } from "./bundle.ts";
import type { LogLineReader } from "./log-line.ts";

const chunkBytes = 64 * 1024;
const newline = 10;
/** A record is `<35 characters of time> stdout F text`; F ends a line, P does not. */
const tagOffset = 43;
const fullTag = "F".charCodeAt(0);

export function keptPath(path: string): string {
  return `${path}.kept`;
}

export function numberedPath(path: string, number: number): string {
  return `${path}.${number}`;
}

export interface LogFile {
  readonly path: string;
  readonly inode: number;
  readonly modifiedMs: number;
}

/** Oldest first, each file once whatever its names; `path` is the one being written. */
export function logFiles(path: string): LogFile[] {
  const files = new Map<number, LogFile>();
  for (const name of [...namesOf(path), path]) {
    const stat = statSync(name, { throwIfNoEntry: false });
    if (stat === undefined) continue;
    const file = { path: name, inode: stat.ino, modifiedMs: stat.mtimeMs };
    // A file of two names stands where the newer of them is.
    files.delete(file.inode);
    files.set(file.inode, file);
  }
  return [...files.values()];
}

function namesOf(path: string): string[] {
  const prefix = `${basename(path)}.`;
  try {
    const numbers = readdirSync(dirname(path))
      .filter((name) => name.startsWith(prefix))
      .map((name) => name.slice(prefix.length))
      .filter((rest) => /^\d+$/.test(rest))
      .map(Number)
      .toSorted((a, b) => b - a);
    return [...numbers.map((number) => numberedPath(path, number)), keptPath(path)];
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
}

export interface OpenLog {
  readonly inode: number;
  /** Lines completed since the last call. */
  lines(): Iterable<LogLine>;
  modifiedMs(): number;
  close(): void;
}

/** Undefined when the file is gone. `reader` goes on from file to file: a line may begin in one and end in the next. */
export function openLog(file: Pick<LogFile, "path">, reader: LogLineReader, start = 0): OpenLog | undefined {
  const fd = openIfThere(file.path);
  if (fd === undefined) return undefined;
  const chunk = Buffer.alloc(chunkBytes);
  let rest = Buffer.alloc(0);
  let position = start;
  function* lines(): Iterable<LogLine> {
    for (;;) {
      const bytes = readSync(fd ?? -1, chunk, 0, chunkBytes, position);
      if (bytes === 0) return;
      position += bytes;
      let data = Buffer.concat([rest, chunk.subarray(0, bytes)]);
      for (let end = data.indexOf(newline); end !== -1; end = data.indexOf(newline)) {
        const line = reader.read(data.toString("utf8", 0, end));
        data = data.subarray(end + 1);
        if (line !== undefined) yield line;
      }
      rest = data;
    }
  }
  return {
    inode: fstatSync(fd).ino,
    lines,
    modifiedMs: () => fstatSync(fd).mtimeMs,
    close: () => closeSync(fd),
  };
}

/** Where the last `count` lines begin in a file, and how many of them are in it. */
export function lastLines(
  file: Pick<LogFile, "path">,
  count: number,
): { readonly start: number; readonly found: number } {
  const fd = openIfThere(file.path);
  if (fd === undefined) return { start: 0, found: 0 };
  try {
    const { size } = fstatSync(fd);
    if (count === 0) return { start: size, found: 0 };
    for (let window = chunkBytes; ; window *= 4) {
      const from = Math.max(0, size - window);
      const data = Buffer.alloc(size - from);
      const bytes = readSync(fd, data, 0, data.length, from);
      const result = scanBack(data.subarray(0, bytes), count, from > 0);
      if (result.isSure || from === 0) return { start: from + result.start, found: result.found };
    }
  } finally {
    closeSync(fd);
  }
}

/** `isSure`: the line before the first one found ends inside `data`, so that the first is whole. */
function scanBack(
  data: Buffer,
  count: number,
  isCut: boolean,
): { readonly start: number; readonly found: number; readonly isSure: boolean } {
  let found = 0;
  let end = data.lastIndexOf(newline);
  while (end > 0) {
    const before = data.lastIndexOf(newline, end - 1);
    if (before === -1 && isCut) break;
    if (data[before + 1 + tagOffset] === fullTag) {
      if (found === count) return { start: end + 1, found, isSure: true };
      found += 1;
    }
    end = before;
  }
  return { start: 0, found, isSure: false };
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}
