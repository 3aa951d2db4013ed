/**
 * Amounts as users write them: the Kubernetes quantity grammar (`500m`, `0.5`, `64Mi`, `1e3`) and
 * spans of time (`10s`, `500ms`, `2m`, `1h`). Arithmetic is exact; a fraction that is left is rounded
 * up, as Kubernetes does, so that nothing asked for becomes nothing.
 */
import { ok, refused, type Outcome } from "../../model/outcome.ts";

const quantityPattern =
  /^([+-]?)(\d{0,30})(?:\.(\d{0,30}))?(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d{1,3})?$/;

/** Powers of ten of the decimal suffixes. */
const decimalPowers: ReadonlyMap<string, number> = new Map([
  ["n", -9],
  ["u", -6],
  ["m", -3],
  ["k", 3],
  ["M", 6],
  ["G", 9],
  ["T", 12],
  ["P", 15],
  ["E", 18],
]);

/** Powers of two of the binary suffixes. */
const binaryPowers: ReadonlyMap<string, bigint> = new Map([
  ["Ki", 10n],
  ["Mi", 20n],
  ["Gi", 30n],
  ["Ti", 40n],
  ["Pi", 50n],
  ["Ei", 60n],
]);

const safeMax = BigInt(Number.MAX_SAFE_INTEGER);

/** `text` times `scale`, rounded up to a whole number; the error is a phrase without a subject. */
export function parseQuantity(text: string, scale: bigint): Outcome<number, string> {
  const match = quantityPattern.exec(text);
  const whole = match?.[2] ?? "";
  const fraction = match?.[3] ?? "";
  if (match === null || whole + fraction === "")
    return refused("is not a quantity such as 500m, 0.5, 64Mi or 1G");
  const suffix = match[4] ?? "";
  const exponent = /^[eE][+-]?\d/.test(suffix) ? Number(suffix.slice(1)) : (decimalPowers.get(suffix) ?? 0);
  const shift = exponent - fraction.length;
  const digits =
    BigInt(whole + fraction) *
    2n ** (binaryPowers.get(suffix) ?? 0n) *
    scale *
    10n ** BigInt(Math.max(0, shift));
  const divisor = 10n ** BigInt(Math.max(0, -shift));
  const value = (digits + divisor - 1n) / divisor;
  if (match[1] === "-" && value > 0n) return refused("must not be negative");
  if (value > safeMax) return refused("is too large");
  return ok(Number(value));
}

/** Thousandths of a core. */
export function parseCpu(text: string): Outcome<number, string> {
  const value = parseQuantity(text, 1000n);
  if (value.ok) return value;
  return refused(
    value.error.startsWith("is not") ? "is not an amount of CPU such as 500m, 0.5 or 2" : value.error,
  );
}

/** Least memory that may be asked for, bytes: under it no container starts, and `64m` is a slip for `64M`. */
export const memoryBytesMin = 1024 * 1024;

/** Bytes; 0 asks for none. */
export function parseMemory(text: string): Outcome<number, string> {
  return parseBytes(text, "memory", memoryBytesMin);
}

/** Least size of what is kept in files or in memory, bytes: a page. */
export const sizeBytesMin = 4096;

/** Bytes of a file system; 0 sets no limit. */
export function parseSize(text: string): Outcome<number, string> {
  return parseBytes(text, "bytes", sizeBytesMin);
}

/** Least size of a log file, bytes: some lines of the longest kind. */
export const logBytesMin = 64 * 1024;

export function parseLogBytes(text: string): Outcome<number, string> {
  const value = parseBytes(text, "bytes", logBytesMin);
  return value.ok && value.value === 0 ? refused(`is less than ${exactBytes(logBytesMin)}`) : value;
}

function parseBytes(text: string, what: string, min: number): Outcome<number, string> {
  const value = parseQuantity(text, 1n);
  if (!value.ok)
    return refused(
      value.error.startsWith("is not")
        ? `is not an amount of ${what} such as 64Mi, 1.5Gi or 500M`
        : value.error,
    );
  if (value.value === 0 || value.value >= min) return value;
  return refused(
    /[0-9]m$/.test(text)
      ? `is less than a byte's worth: m means thousandths, write ${text.slice(0, -1)}Mi`
      : `is less than ${exactBytes(min)}`,
  );
}

const spanUnits: ReadonlyMap<string, number> = new Map([
  ["ms", 1],
  ["s", 1000],
  ["", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
]);

/** Milliseconds; a bare number is seconds. Units may follow one another, the larger first: `1m30s`. */
export function parseSpan(text: string): Outcome<number, string> {
  const noSpan = refused("is not a span of time such as 10s, 500ms, 1m30s or 1h");
  if (!/^\d{1,9}(?:\.\d{1,6})?$|^(?:\d{1,9}(?:\.\d{1,6})?(?:ms|s|m|h|d))+$/.test(text)) return noSpan;
  let spanMs = 0;
  let before = Number.POSITIVE_INFINITY;
  for (const [, count, unit] of text.matchAll(/([\d.]+)(ms|s|m|h|d)?/g)) {
    const size = spanUnits.get(unit ?? "");
    if (size === undefined || size >= before) return noSpan;
    spanMs += Number(count) * size;
    before = size;
  }
  return ok(Math.round(spanMs));
}

/** A span of time as it would be typed: whole days, hours or minutes as such, but `60s`. */
export function formatSpan(spanMs: number): string {
  if (spanMs > 0 && spanMs % 86_400_000 === 0) return `${spanMs / 86_400_000}d`;
  if (spanMs > 0 && spanMs % 3_600_000 === 0) return `${spanMs / 3_600_000}h`;
  if (spanMs > 60_000 && spanMs % 60_000 === 0) return `${spanMs / 60_000}m`;
  return spanMs % 1000 === 0 ? `${spanMs / 1000}s` : `${spanMs}ms`;
}

/** `1500` as `1500m`, `2000` as `2`. */
export function formatCpu(cpuMillis: number): string {
  return cpuMillis % 1000 === 0 ? `${cpuMillis / 1000}` : `${cpuMillis}m`;
}

/** The nearest binary unit with at most one decimal: `64Mi`, `1.5Gi`. */
export function formatBytes(bytes: number): string {
  const units = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Math.round(value * 10) / 10}${units[unit] ?? ""}`;
}

/** With nothing rounded away: `64Mi`, `1536Mi`, `1000`. */
export function exactBytes(bytes: number): string {
  for (const [unit, power] of [...binaryPowers].toReversed()) {
    const size = 2 ** Number(power);
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return `${bytes}`;
}
