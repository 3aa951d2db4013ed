/**
 * The headers of a tar archive (POSIX.1-2001): ustar, with a pax header before what ustar has no room for. Names
 * are byte strings, one character per byte, as in the reader.
 */

export type TarKind =
  "file" | "hard-link" | "symlink" | "character-device" | "block-device" | "directory" | "fifo";

export interface TarHeader {
  readonly kind: TarKind;
  readonly path: string;
  /** Empty unless a link. */
  readonly linkPath: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  /** Whole milliseconds since 1970. */
  readonly mtimeMs: number;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

const blockBytes = 512;
const nameBytesMax = 100;
const types: Readonly<Record<TarKind, string>> = {
  file: "0",
  "hard-link": "1",
  symlink: "2",
  "character-device": "3",
  "block-device": "4",
  directory: "5",
  fifo: "6",
};
const paxType = "x";

/** Two empty blocks. */
export const tarEnd: Uint8Array = new Uint8Array(2 * blockBytes);

/** Zeros that fill the last block of so many bytes of data. */
export function tarPadding(sizeBytes: number): Uint8Array {
  return new Uint8Array((blockBytes - (sizeBytes % blockBytes)) % blockBytes);
}

export function tarHeader(header: TarHeader): Uint8Array {
  const records: (readonly [string, string])[] = [];
  if (header.path.length > nameBytesMax) records.push(["path", header.path]);
  if (header.linkPath.length > nameBytesMax) records.push(["linkpath", header.linkPath]);
  for (const [key, value, digits] of [
    ["uid", header.uid, 7],
    ["gid", header.gid, 7],
    ["size", header.sizeBytes, 11],
  ] as const)
    if (value >= 8 ** digits) records.push([key, String(value)]);
  const seconds = Math.floor(header.mtimeMs / 1_000);
  if (seconds < 0 || seconds >= 8 ** 11 || header.mtimeMs % 1_000 !== 0)
    records.push(["mtime", (header.mtimeMs / 1_000).toFixed(3)]);
  const main = block(header, types[header.kind], header.sizeBytes);
  if (records.length === 0) return main;
  const body = Buffer.concat(records.map(([key, value]) => record(key, value)));
  const pax = { ...header, path: "././@PaxHeader", linkPath: "", mode: 0o644, uid: 0, gid: 0 };
  return Buffer.concat([block(pax, paxType, body.length), body, tarPadding(body.length), main]);
}

function block(header: TarHeader, type: string, sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(blockBytes);
  const put = (text: string, at: number, length: number): void => {
    bytes.write(text.slice(0, length), at, length, "latin1");
  };
  const octal = (value: number, at: number, digits: number): void => {
    const fits = value >= 0 && value < 8 ** digits;
    put(`${(fits ? Math.floor(value) : 0).toString(8).padStart(digits, "0")}\0`, at, digits + 1);
  };
  put(header.path, 0, nameBytesMax);
  octal(header.mode & 0o7777, 100, 7);
  octal(header.uid, 108, 7);
  octal(header.gid, 116, 7);
  octal(sizeBytes, 124, 11);
  octal(header.mtimeMs / 1_000, 136, 11);
  put("        ", 148, 8);
  put(type, 156, 1);
  put(header.linkPath, 157, nameBytesMax);
  put("ustar\x0000", 257, 8);
  octal(header.deviceMajor, 329, 7);
  octal(header.deviceMinor, 337, 7);
  let sum = 0;
  for (const byte of bytes) sum += byte;
  put(`${sum.toString(8).padStart(6, "0")}\0 `, 148, 8);
  return bytes;
}

/** `length key=value\n`, where the length counts its own digits. */
function record(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.from(`${length}${rest}`, "latin1");
}
