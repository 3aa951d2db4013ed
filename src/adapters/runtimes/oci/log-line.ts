/** The CRI log format, as conmon writes it: `2026-01-02T03:04:05.123456789+00:00 stdout F text`. */
import type { LogLine } from "../../../ports/container-runtime.ts";

/** A line longer than this comes in parts (the port's rule). */
export const lineBytesMax = 16 * 1024;

interface Pending {
  text: string;
  atMs: number;
}

/** Puts the parts of long lines together again; one for each reading of a log. */
export class LogLineReader {
  readonly #pending = new Map<LogLine["stream"], Pending>();

  /** The line that `record` completes; undefined when more of it follows, or when it is damaged. */
  read(record: string): LogLine | undefined {
    const match = /^(\S+) (stdout|stderr) ([FP])(?: (.*))?$/s.exec(record);
    const [, time, streamName, tag, text = ""] = match ?? [];
    if (time === undefined) return undefined;
    const stream = streamName === "stdout" ? "stdout" : "stderr";
    const begun = this.#pending.get(stream);
    const line = {
      text: (begun?.text ?? "") + text,
      atMs: begun?.atMs ?? parseTime(time),
    };
    this.#pending.delete(stream);
    if (tag === "F" || line.text.length >= lineBytesMax) return { stream, ...line };
    this.#pending.set(stream, line);
    return undefined;
  }
}

/** RFC 3339 with nanoseconds; JavaScript's parser takes three digits of them everywhere. */
function parseTime(text: string): number {
  return Date.parse(text.replace(/(\.\d{3})\d+/, "$1"));
}
