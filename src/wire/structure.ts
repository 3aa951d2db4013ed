/**
 * Walks MessagePack bytes without building anything, so that a peer cannot make the decoder allocate more
 * than it sent, overflow the stack, or construct anything but plain data: no extension types (dates, sets,
 * errors, regular expressions, references), text keys only, bounded depth, every length covered by bytes.
 */

/** Deepest nesting of arrays and maps. */
export const depthMax = 64;

/** Undefined when `bytes` hold exactly one permitted value, else what is wrong and where. */
export function structureFault(bytes: Uint8Array): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = bytes.byteLength;
  let at = 0;
  // Values still to come on each open level; a map counts its keys too, and `keyed` tells when one is next.
  const left: number[] = [1];
  const keyed: boolean[] = [false];
  while (left.length > 0) {
    const level = left.length - 1;
    const remaining = left[level] ?? 0;
    if (remaining === 0) {
      left.pop();
      keyed.pop();
      continue;
    }
    if (at >= size) return `ends early at byte ${at}`;
    const expectsKey = keyed[level] === true && remaining % 2 === 0;
    left[level] = remaining - 1;
    const tag = bytes[at] ?? 0;
    if (expectsKey && !isTextTag(tag)) return `a key that is not text at byte ${at}`;
    const layout = layoutOf(tag);
    if (layout === undefined) return `a forbidden type at byte ${at}`;
    const header = 1 + layout.lengthBytes;
    if (at + header > size) return `ends early at byte ${at}`;
    const count = layout.count ?? readLength(view, at + 1, layout.lengthBytes);
    if (layout.kind === "undefined" && bytes[at + 1] !== 0) return `a forbidden type at byte ${at}`;
    at += header;
    if (layout.kind === "array" || layout.kind === "map") {
      const values = layout.kind === "map" ? count * 2 : count;
      // Each value takes a byte at least: a longer claim is a lie and would only cost memory.
      if (values > size - at) return `a length beyond the end at byte ${at}`;
      if (left.length > depthMax) return `nested deeper than ${depthMax} at byte ${at}`;
      left.push(values);
      keyed.push(layout.kind === "map");
    } else {
      if (count > size - at) return `a length beyond the end at byte ${at}`;
      at += count;
    }
  }
  return at === size ? undefined : `${size - at} bytes after the end`;
}

interface Layout {
  readonly kind: "scalar" | "array" | "map" | "undefined";
  /** Bytes of the length field after the tag. */
  readonly lengthBytes: 0 | 1 | 2 | 4;
  /** Payload bytes, or elements, when the tag itself tells. */
  readonly count?: number;
}

function isTextTag(tag: number): boolean {
  return (tag >= 0xa0 && tag <= 0xbf) || (tag >= 0xd9 && tag <= 0xdb);
}

function readLength(view: DataView, at: number, bytes: 0 | 1 | 2 | 4): number {
  if (bytes === 1) return view.getUint8(at);
  if (bytes === 2) return view.getUint16(at);
  return bytes === 4 ? view.getUint32(at) : 0;
}

const layouts: readonly (Layout | undefined)[] = Array.from({ length: 256 }, (_, tag) => describe(tag));

function layoutOf(tag: number): Layout | undefined {
  return layouts[tag];
}

function describe(tag: number): Layout | undefined {
  const scalar = (count: number): Layout => ({ kind: "scalar", lengthBytes: 0, count });
  if (tag <= 0x7f || tag >= 0xe0) return scalar(0);
  if (tag <= 0x8f) return { kind: "map", lengthBytes: 0, count: tag & 0x0f };
  if (tag <= 0x9f) return { kind: "array", lengthBytes: 0, count: tag & 0x0f };
  if (tag <= 0xbf) return scalar(tag & 0x1f);
  switch (tag) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return scalar(0);
    case 0xc4:
    case 0xd9:
      return { kind: "scalar", lengthBytes: 1 };
    case 0xc5:
    case 0xda:
      return { kind: "scalar", lengthBytes: 2 };
    case 0xc6:
    case 0xdb:
      return { kind: "scalar", lengthBytes: 4 };
    case 0xca:
    case 0xce:
    case 0xd2:
      return scalar(4);
    case 0xcb:
    case 0xcf:
    case 0xd3:
      return scalar(8);
    case 0xcc:
    case 0xd0:
      return scalar(1);
    case 0xcd:
    case 0xd1:
      return scalar(2);
    // fixext 1 of type 0 is msgpackr's form of undefined, the one extension let through.
    case 0xd4:
      return { kind: "undefined", lengthBytes: 0, count: 2 };
    case 0xdc:
      return { kind: "array", lengthBytes: 2 };
    case 0xdd:
      return { kind: "array", lengthBytes: 4 };
    case 0xde:
      return { kind: "map", lengthBytes: 2 };
    case 0xdf:
      return { kind: "map", lengthBytes: 4 };
    default:
      return undefined;
  }
}
