/** IPv4 and IPv6 addresses as bytes and text, and the range from which a node takes its own IPv4 addresses. */
import { assert } from "../../../model/assert.ts";

export interface Ipv4Range {
  /** First address of the range as a number. */
  readonly base: number;
  readonly size: number;
}

/** Such as `10.210.0.0/16`; undefined when it is not a range of at least four addresses. */
export function parseIpv4Range(text: string): Ipv4Range | undefined {
  const [address = "", bits = ""] = text.split("/");
  const value = parseIpv4(address);
  const length = Number(bits);
  if (value === undefined || !/^\d{1,2}$/.test(bits) || length > 30 || length < 8) return undefined;
  const size = 2 ** (32 - length);
  return { base: value - (value % size), size };
}

function parseIpv4(text: string): number | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256))
    return undefined;
  return parts.reduce((value, part) => value * 256 + Number(part), 0);
}

export function formatIpv4(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".");
}

/**
 * The first free address after `last`, going round: an address rests before it is used again, so that
 * late packets of its former owner find nobody. First and last of the range are left out. Undefined when all are taken.
 */
export function pickIpv4(
  range: Ipv4Range,
  taken: ReadonlySet<string>,
  last: string | undefined,
): string | undefined {
  const hosts = range.size - 2;
  const lastValue = last === undefined ? undefined : parseIpv4(last);
  const start = lastValue === undefined ? 0 : lastValue - range.base;
  for (let step = 0; step < hosts; step += 1) {
    const candidate = formatIpv4(range.base + 1 + ((start + step) % hosts));
    if (!taken.has(candidate)) return candidate;
  }
  return undefined;
}

export function ipv4Bytes(text: string): Buffer {
  const value = parseIpv4(text);
  assert(value !== undefined, "an IPv4 address has four parts");
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** Any textual form but those with an embedded IPv4 address or a zone. */
export function ipv6Bytes(text: string): Buffer {
  const groups = expandIpv6(text);
  assert(groups !== undefined, "an IPv6 address has eight groups");
  const bytes = Buffer.alloc(16);
  groups.forEach((group, index) => bytes.writeUInt16BE(group, index * 2));
  return bytes;
}

export function isIpv6(text: string): boolean {
  return expandIpv6(text) !== undefined;
}

/** Equal for all ways to write one address. */
export function sameIpv6(a: string, b: string): boolean {
  return ipv6Bytes(a).equals(ipv6Bytes(b));
}

function expandIpv6(text: string): readonly number[] | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head = [], tail = []] = halves.map((half) => (half === "" ? [] : half.split(":")));
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const groups = [...head, ...Array.from({ length: missing }, () => "0"), ...tail];
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  return groups.map((group) => Number.parseInt(group, 16));
}
