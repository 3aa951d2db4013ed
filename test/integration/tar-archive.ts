/** Writes tar archives byte by byte, broken and hostile ones too, which no honest tool would make. */

export interface ArchiveEntry {
  /** Byte string; longer than 100 bytes only by way of `pax`. */
  readonly path: string;
  /** Type flag: "0" file, "1" hard link, "2" symlink, "3" character device, "5" directory, "6" fifo. */
  readonly type?: string;
  readonly link?: string;
  readonly data?: string | Uint8Array;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly device?: readonly [major: number, minor: number];
  /** Extended header records before the entry. */
  readonly pax?: Readonly<Record<string, string | Uint8Array>>;
  /** What the header says instead of the length of `data`. */
  readonly claimedSize?: number;
}

const blockBytes = 512;

export function tarArchive(
  entries: readonly ArchiveEntry[],
  end: "end marker" | "no padding" = "end marker",
): Buffer {
  const parts = entries.flatMap((entry) => {
    const records = entry.pax === undefined ? [] : blocksOf(paxEntry(entry.pax));
    return [...records, ...blocksOf(entry)];
  });
  if (end === "end marker") parts.push(Buffer.alloc(2 * blockBytes));
  else parts.pop();
  return Buffer.concat(parts);
}

/** Header, data, padding. */
function blocksOf(entry: ArchiveEntry): readonly [Buffer, Buffer, Buffer] {
  const data = Buffer.from(entry.data ?? "");
  const padding = (blockBytes - (data.length % blockBytes)) % blockBytes;
  return [header(entry, data.length), data, Buffer.alloc(padding)];
}

function header(entry: ArchiveEntry, dataBytes: number): Buffer {
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  block.write(entry.path, 0, 100, "latin1");
  octal(entry.mode ?? 0o644, 100, 8);
  octal(entry.uid ?? 0, 108, 8);
  octal(entry.gid ?? 0, 116, 8);
  octal(entry.claimedSize ?? dataBytes, 124, 12);
  octal(entry.mtime ?? 1_600_000_000, 136, 12);
  block.write(entry.type ?? "0", 156, "latin1");
  block.write(entry.link ?? "", 157, 100, "latin1");
  block.write("ustar\x0000", 257, "latin1");
  octal(entry.device?.[0] ?? 0, 329, 8);
  octal(entry.device?.[1] ?? 0, 337, 8);
  block.fill(" ", 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

function paxEntry(records: Readonly<Record<string, string | Uint8Array>>): ArchiveEntry {
  const parts = Object.entries(records).map(([key, value]) => {
    const rest = Buffer.concat([
      Buffer.from(` ${key}=`, "latin1"),
      Buffer.from(typeof value === "string" ? Buffer.from(value, "latin1") : value),
      Buffer.from("\n"),
    ]);
    // The length counts its own digits.
    let length = rest.length;
    while (String(length).length + rest.length !== length) length += 1;
    return Buffer.concat([Buffer.from(String(length)), rest]);
  });
  return { path: "PaxHeaders/x", type: "x", data: Buffer.concat(parts) };
}
