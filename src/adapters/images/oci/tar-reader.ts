/**
 * A push parser for tar: bytes in, entries out, no I/O. Reads ustar, GNU (long names, base-256 numbers) and
 * pax (POSIX.1-2001), as image layers use them (image-spec layer.md).
 *
 * Names are kept as byte strings: one character per byte, because a file name on Linux is bytes and need not
 * be UTF-8. `displayName` is for people.
 */

/** The archive breaks a rule. `entry` is the name as the archive has it; empty when there is no entry yet. */
export class ArchiveError extends Error {
  override readonly name = "ArchiveError";
  readonly entry: string;
  constructor(entry: string, detail: string) {
    super(detail);
    this.entry = entry;
  }
}

export type TarEntryKind =
  "file" | "hard-link" | "symlink" | "character-device" | "block-device" | "directory" | "fifo";

export interface TarEntry {
  readonly kind: TarEntryKind;
  /** Byte string, as in the archive. */
  readonly path: string;
  /** Byte string; empty unless a link. */
  readonly linkPath: string;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  /** Nanoseconds since 1970; may be negative. */
  readonly mtimeNs: bigint;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** Extended attributes by name (byte string). */
  readonly attributes: ReadonlyMap<string, Uint8Array>;
}

/** Receives what the reader finds, in archive order. `data` is valid only during the call. */
export interface TarSink {
  entry(entry: TarEntry): void;
  data(chunk: Uint8Array): void;
  entryEnd(): void;
}

const blockBytes = 512;
/** Bound on one pax header or GNU long name; Go's archive/tar has the same. */
const specialBytesMax = 1 << 20;
const attributePrefix = "SCHILY.xattr.";

const kinds: ReadonlyMap<string, TarEntryKind> = new Map([
  ["\0", "file"],
  ["0", "file"],
  ["7", "file"],
  ["1", "hard-link"],
  ["2", "symlink"],
  ["3", "character-device"],
  ["4", "block-device"],
  ["5", "directory"],
  ["6", "fifo"],
]);

const specialTypes: ReadonlySet<string> = new Set(["x", "X", "g", "L", "K"]);

/** A byte string as a person should see it: UTF-8 where it is, control characters escaped. */
export function displayName(bytes: string): string {
  const text = Buffer.from(bytes, "latin1").toString("utf8");
  return text.replace(/[\p{Cc}\p{Cf}]/gu, (char) => {
    const code = char.codePointAt(0) ?? 0;
    return `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

type Records = Map<string, Buffer>;

interface Special {
  readonly type: string;
  readonly bytes: Buffer;
  filled: number;
}

export class TarReader {
  readonly #sink: TarSink;
  readonly #header = Buffer.alloc(blockBytes);
  #headerFilled = 0;
  #entryName = "";
  /** Bytes of entry data still to come, then padding to skip. */
  #dataLeft = 0;
  #paddingLeft = 0;
  #inEntry = false;
  #special: Special | undefined;
  #zeroBlocks = 0;
  readonly #globalRecords: Records = new Map();
  #records: Records = new Map();
  #longPath: string | undefined;
  #longLink: string | undefined;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  /** Reads the next piece of the archive, of any length. Throws ArchiveError. */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      // What follows the end marker is not part of the archive.
      if (this.#zeroBlocks >= 2) return;
      if (this.#dataLeft > 0) at += this.#takeData(chunk, at);
      else if (this.#paddingLeft > 0) {
        const skipped = Math.min(this.#paddingLeft, chunk.length - at);
        this.#paddingLeft -= skipped;
        at += skipped;
      } else at += this.#takeHeader(chunk, at);
    }
  }

  /** Instead of pushing the data of the entry at hand: how many bytes of the archive to leave out. */
  skip(): number {
    if (!this.#inEntry) return 0;
    const skipped = this.#dataLeft + this.#paddingLeft;
    this.#dataLeft = 0;
    this.#paddingLeft = 0;
    this.#dataEnd();
    return skipped;
  }

  /**
   * The archive is over. Departure from POSIX: padding and end marker may be missing, as in the archives of
   * umoci before 0.5, which every Go reader takes.
   */
  end(): void {
    const inHeader = this.#header.subarray(0, this.#headerFilled);
    if (this.#dataLeft > 0 || this.#special !== undefined || inHeader.some((byte) => byte !== 0))
      throw new ArchiveError(this.#entryName, "the archive ends in its middle");
  }

  #takeData(chunk: Uint8Array, at: number): number {
    const length = Math.min(this.#dataLeft, chunk.length - at);
    const piece = chunk.subarray(at, at + length);
    this.#dataLeft -= length;
    if (this.#special !== undefined) {
      this.#special.bytes.set(piece, this.#special.filled);
      this.#special.filled += length;
    } else this.#sink.data(piece);
    if (this.#dataLeft === 0) this.#dataEnd();
    return length;
  }

  #dataEnd(): void {
    const special = this.#special;
    this.#special = undefined;
    if (special !== undefined) this.#applySpecial(special.type, special.bytes);
    else if (this.#inEntry) {
      this.#inEntry = false;
      this.#sink.entryEnd();
    }
  }

  #takeHeader(chunk: Uint8Array, at: number): number {
    const length = Math.min(blockBytes - this.#headerFilled, chunk.length - at);
    this.#header.set(chunk.subarray(at, at + length), this.#headerFilled);
    this.#headerFilled += length;
    if (this.#headerFilled < blockBytes) return length;
    this.#headerFilled = 0;
    if (this.#header.every((byte) => byte === 0)) this.#zeroBlocks += 1;
    else {
      this.#zeroBlocks = 0;
      this.#readHeader(this.#header);
    }
    return length;
  }

  #readHeader(header: Buffer): void {
    const name = fieldString(header, 0, 100);
    if (!checksumHolds(header)) throw new ArchiveError(name, "the checksum of a header is wrong");
    const type = String.fromCharCode(header[156] ?? 0);
    const size = fieldNumber(header, 124, 12, name);
    if (specialTypes.has(type)) {
      if (size > specialBytesMax || size < 0)
        throw new ArchiveError(name, `an extended header of ${size} bytes`);
      this.#special = { type, bytes: Buffer.alloc(size), filled: 0 };
      this.#expectData(size);
      return;
    }
    const entry = this.#buildEntry(header, name, type, size);
    this.#records = new Map();
    this.#longPath = undefined;
    this.#longLink = undefined;
    this.#entryName = entry.path;
    this.#inEntry = true;
    this.#sink.entry(entry);
    this.#expectData(entry.sizeBytes);
  }

  #expectData(size: number): void {
    this.#dataLeft = size;
    this.#paddingLeft = (blockBytes - (size % blockBytes)) % blockBytes;
    if (size === 0) this.#dataEnd();
  }

  #buildEntry(header: Buffer, name: string, type: string, headerSize: number): TarEntry {
    const records = new Map([...this.#globalRecords, ...this.#records]);
    const isUstar = fieldString(header, 257, 6) === "ustar";
    const prefix = isUstar && header[263] === 0x30 ? fieldString(header, 345, 155) : "";
    const path =
      recordString(records, "path") ?? this.#longPath ?? (prefix === "" ? name : `${prefix}/${name}`);
    const linkPath = recordString(records, "linkpath") ?? this.#longLink ?? fieldString(header, 157, 100);
    const kind = kinds.get(type);
    if (kind === undefined)
      throw new ArchiveError(path, `entries of type "${displayName(type)}" are not supported`);
    for (const key of records.keys())
      if (key.startsWith("GNU.sparse.")) throw new ArchiveError(path, "sparse files are not supported");
    // Archives older than ustar mark a directory by its name only.
    const isDirectory = kind === "directory" || (kind === "file" && path.endsWith("/"));
    // Only regular files carry data, whatever the size field says (as in Go's archive/tar).
    const size = kind === "file" && !isDirectory ? recordNumber(records, "size", path, headerSize) : 0;
    if (!Number.isSafeInteger(size) || size < 0) throw new ArchiveError(path, `an impossible size: ${size}`);
    const isLink = kind === "hard-link" || kind === "symlink";
    return {
      kind: isDirectory ? "directory" : kind,
      path,
      linkPath: isLink ? linkPath : "",
      mode: fieldNumber(header, 100, 8, path) & 0o7777,
      uid: recordNumber(records, "uid", path, fieldNumber(header, 108, 8, path)),
      gid: recordNumber(records, "gid", path, fieldNumber(header, 116, 8, path)),
      sizeBytes: size,
      mtimeNs: recordTime(records, path, fieldNumber(header, 136, 12, path)),
      deviceMajor: fieldNumber(header, 329, 8, path),
      deviceMinor: fieldNumber(header, 337, 8, path),
      attributes: attributesOf(records),
    };
  }

  #applySpecial(type: string, bytes: Buffer): void {
    if (type === "L") this.#longPath = fieldString(bytes, 0, bytes.length);
    else if (type === "K") this.#longLink = fieldString(bytes, 0, bytes.length);
    else if (type === "g") readRecords(bytes, this.#globalRecords);
    else readRecords(bytes, this.#records);
  }
}

/** The bytes up to the first NUL. */
function fieldString(block: Buffer, at: number, length: number): string {
  const field = block.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.toString("latin1", 0, end === -1 ? field.length : end);
}

/** Octal digits between blanks and NULs, or base-256 when the top bit is set (GNU). */
function fieldNumber(block: Buffer, at: number, length: number, entry: string): number {
  const field = block.subarray(at, at + length);
  const first = field[0] ?? 0;
  if (first === 0x80 || first === 0xff) {
    let value = first === 0xff ? -1n : 0n;
    for (const byte of field.subarray(1)) value = value * 256n + BigInt(byte);
    return Number(value);
  }
  const text = field
    .toString("latin1")
    .replace(/[\0 ]+/g, " ")
    .trim();
  if (text === "") return 0;
  if (!/^[0-7]+$/.test(text)) throw new ArchiveError(entry, `not an octal number: ${displayName(text)}`);
  return Number.parseInt(text, 8);
}

/** The sum of all bytes with the checksum field read as blanks; some old writers summed signed bytes. */
function checksumHolds(header: Buffer): boolean {
  const text = fieldString(header, 148, 8).trim();
  if (!/^[0-7]+$/.test(text)) return false;
  let unsigned = 0;
  let signed = 0;
  for (let at = 0; at < blockBytes; at += 1) {
    const byte = at >= 148 && at < 156 ? 0x20 : (header[at] ?? 0);
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const expected = Number.parseInt(text, 8);
  return expected === unsigned || expected === signed;
}

/** Reads `length key=value\n` records (pax); an empty value takes the key away. */
function readRecords(bytes: Buffer, into: Records): void {
  let at = 0;
  while (at < bytes.length && bytes[at] !== 0) {
    const blank = bytes.indexOf(0x20, at);
    const digits = blank === -1 ? "" : bytes.toString("latin1", at, blank);
    const length = /^[0-9]{1,7}$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    const equals = bytes.indexOf(0x3d, blank);
    if (length === 0 || end > bytes.length || bytes[end - 1] !== 0x0a || equals === -1 || equals >= end)
      throw new ArchiveError("", "a broken pax record");
    const key = bytes.toString("latin1", blank + 1, equals);
    const value = bytes.subarray(equals + 1, end - 1);
    if (value.length === 0 && !key.startsWith(attributePrefix)) into.delete(key);
    else into.set(key, value);
    at = end;
  }
}

function recordString(records: Records, key: string): string | undefined {
  return records.get(key)?.toString("latin1");
}

function recordNumber(records: Records, key: string, entry: string, fallback: number): number {
  const text = recordString(records, key);
  if (text === undefined) return fallback;
  if (!/^[0-9]{1,16}$/.test(text)) throw new ArchiveError(entry, `not a number: ${key}=${displayName(text)}`);
  return Number(text);
}

function recordTime(records: Records, entry: string, fallbackSeconds: number): bigint {
  const text = recordString(records, "mtime");
  if (text === undefined) return BigInt(fallbackSeconds) * 1_000_000_000n;
  const match = /^(-?)([0-9]{1,12})(?:\.([0-9]*))?$/.exec(text);
  if (match === null) throw new ArchiveError(entry, `not a time: ${displayName(text)}`);
  const fraction = (match[3] ?? "").slice(0, 9).padEnd(9, "0");
  const magnitude = BigInt(match[2] ?? 0) * 1_000_000_000n + BigInt(fraction);
  return match[1] === "-" ? -magnitude : magnitude;
}

function attributesOf(records: Records): ReadonlyMap<string, Uint8Array> {
  const attributes = new Map<string, Uint8Array>();
  for (const [key, value] of records)
    if (key.startsWith(attributePrefix)) attributes.set(key.slice(attributePrefix.length), value);
  return attributes;
}
