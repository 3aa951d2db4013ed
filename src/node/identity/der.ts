/** Writes ASN.1 values in their one distinguished encoding (X.690, DER): only what a certificate is made of. */
import { assert } from "../../model/assert.ts";

/** Tags of X.690 8.1.2; the constructed bit is set where a value is made of others. */
const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectId: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
};

/** Every certificate here is far shorter; past it the length would take another form. */
const lengthMax = 0xffff;

function value(tag: number, ...content: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(content);
  const { byteLength } = body;
  assert(byteLength <= lengthMax, "a DER value fits two bytes of length");
  const length =
    byteLength < 0x80
      ? [byteLength]
      : byteLength < 0x100
        ? [0x81, byteLength]
        : [0x82, byteLength >> 8, byteLength & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
}

export function derSequence(...items: readonly Uint8Array[]): Uint8Array {
  return value(tags.sequence, ...items);
}

/** Of one item: the order of several would have to be that of their encodings. */
export function derSetOf(item: Uint8Array): Uint8Array {
  return value(tags.set, item);
}

export function derTrue(): Uint8Array {
  return value(tags.boolean, Buffer.from([0xff]));
}

/** A number that is not negative, big-endian, of any length. */
export function derInteger(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((byte) => byte !== 0);
  const digits = first < 0 ? Buffer.from([0]) : bytes.subarray(first);
  const isNegative = ((digits[0] ?? 0) & 0x80) !== 0;
  return isNegative ? value(tags.integer, Buffer.from([0]), digits) : value(tags.integer, digits);
}

/** Whole bytes, or named bits with `unusedBits` zero bits at the end. */
export function derBitString(bytes: Uint8Array, unusedBits = 0): Uint8Array {
  return value(tags.bitString, Buffer.from([unusedBits]), bytes);
}

export function derOctetString(bytes: Uint8Array): Uint8Array {
  return value(tags.octetString, bytes);
}

/** From dotted form. */
export function derObjectId(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  return value(tags.objectId, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}

export function derUtf8(text: string): Uint8Array {
  return value(tags.utf8String, Buffer.from(text));
}

/** To the second. RFC 5280 4.1.2.5: two digits of the year through 2049, four from 2050 on. */
export function derTime(ms: number): Uint8Array {
  const date = new Date(ms);
  const digits = `${date.toISOString().slice(0, 19).replace(/[-:T]/g, "")}Z`;
  return date.getUTCFullYear() < 2050
    ? value(tags.utcTime, Buffer.from(digits.slice(2)))
    : value(tags.generalizedTime, Buffer.from(digits));
}

/** `[number]` around the content: constructed for values, primitive for the bytes of a string. */
export function derTagged(
  number: number,
  kind: "constructed" | "primitive",
  content: Uint8Array,
): Uint8Array {
  return value((kind === "constructed" ? 0xa0 : 0x80) | number, content);
}

function base128(part: number): number[] {
  const digits = [part & 0x7f];
  for (let rest = part >>> 7; rest > 0; rest >>>= 7) digits.unshift((rest & 0x7f) | 0x80);
  return digits;
}
