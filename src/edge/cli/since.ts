import { ok, refused, type Outcome } from "../../model/outcome.ts";
import { parseSpan } from "../manifest/quantity.ts";

const timePattern =
  /^\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d{2}:\d{2})?)?$/;

/** A point in time, as wall clock milliseconds: a span before `nowMs`, or a date, with or without a time of day. */
export function parseSince(text: string, nowMs: number): Outcome<number, string> {
  const span = parseSpan(text);
  if (span.ok) return ok(Math.max(0, nowMs - span.value));
  const atMs = timePattern.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(atMs) || atMs < 0
    ? refused("is neither a span such as 10m nor a time such as 2026-01-31T12:00:00Z")
    : ok(atMs);
}
