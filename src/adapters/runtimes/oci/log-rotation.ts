/**
 * Keeps as many files of each container's output as were asked for (log-files.ts says how they are named). conmon bounds
 * each file by itself and throws the full one away, so nothing grows while no agent runs; what this adds is to
 * hold on to the full ones.
 *
 * A container that fills files faster than it is looked at loses whole files in between, never more than that: it
 * is looked at more often the faster it writes.
 */
import { existsSync, linkSync, renameSync, statSync } from "node:fs";
import type { LogLimits } from "../../../model/spec.ts";
import type { Clock } from "../../../ports/clock.ts";
import { isErrno } from "./bundle.ts";
import { keptPath, numberedPath } from "./log-files.ts";

const pauseMinMs = 20;

export interface LogRotationOptions {
  /** The longest pause between two looks at one log; one that fills quickly is looked at more often. */
  readonly pauseMaxMs: number;
}

export interface RotatedLog {
  /** The file that conmon writes. */
  readonly path: string;
  /** Is there once the container has ended. */
  readonly exit: string;
  readonly limits: LogLimits;
}

interface Entry {
  readonly log: RotatedLog;
  /** The file that `log.kept` is; undefined before the first look. */
  inode: number | undefined;
  bytes: number;
  lookedAtMs: number;
  nextMs: number;
}

export class LogRotation {
  readonly #clock: Clock;
  readonly #options: LogRotationOptions;
  readonly #entries = new Map<string, Entry>();
  #cancel: (() => void) | undefined;

  constructor(ports: { readonly clock: Clock }, options: LogRotationOptions) {
    this.#clock = ports.clock;
    this.#options = options;
  }

  /** From when conmon has made its file until it has written its last. */
  add(id: string, log: RotatedLog): void {
    if (log.limits.files < 2 || log.limits.fileBytes <= 0) return;
    const nowMs = this.#clock.now();
    const entry = { log, inode: inodeOf(keptPath(log.path)), bytes: 0, lookedAtMs: nowMs, nextMs: nowMs };
    this.#entries.set(id, entry);
    this.#look();
  }

  remove(id: string): void {
    this.#entries.delete(id);
  }

  close(): void {
    this.#entries.clear();
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #look(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    const nowMs = this.#clock.now();
    for (const [id, entry] of this.#entries)
      if (entry.nextMs <= nowMs && !lookAt(entry, nowMs, this.#options.pauseMaxMs)) this.#entries.delete(id);
    const next = Math.min(...[...this.#entries.values()].map(({ nextMs }) => nextMs));
    if (next !== Infinity) this.#cancel = this.#clock.at(next, () => this.#look());
  }
}

/** False when the log has ended or is gone. */
function lookAt(entry: Entry, nowMs: number, pauseMaxMs: number): boolean {
  const { path, limits, exit } = entry.log;
  // Asked first: what was written before the end is seen below.
  const hasEnded = existsSync(exit);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return false;
  const isSame = stat.ino === entry.inode;
  const written = isSame ? stat.size - entry.bytes : limits.fileBytes + stat.size;
  if (!isSame) {
    if (entry.inode !== undefined) shift(path, limits.files);
    entry.inode = keep(path);
  }
  entry.bytes = stat.size;
  const pace = written / Math.max(1, nowMs - entry.lookedAtMs);
  const halfFullMs = pace > 0 ? limits.fileBytes / 2 / pace : pauseMaxMs;
  entry.lookedAtMs = nowMs;
  // Slow logs, which are nearly all, are looked at in the same instants: a node at rest wakes once for them, not for each.
  const nextCommonMs = (Math.floor(nowMs / pauseMaxMs) + 1) * pauseMaxMs;
  entry.nextMs = Math.min(nextCommonMs, nowMs + Math.max(pauseMinMs, halfFullMs));
  return !hasEnded;
}

/** Gives the file being written its second name; undefined when it went in the meantime. */
function keep(path: string): number | undefined {
  try {
    linkSync(path, keptPath(path));
  } catch (error) {
    if (!isErrno(error, "EEXIST", "ENOENT")) throw error;
  }
  return inodeOf(keptPath(path));
}

/** The full file becomes number one, the others move up, the oldest goes. */
function shift(path: string, files: number): void {
  for (let number = files - 2; number >= 1; number -= 1)
    moveIfThere(numberedPath(path, number), numberedPath(path, number + 1));
  moveIfThere(keptPath(path), numberedPath(path, 1));
}

function moveIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
  }
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}
