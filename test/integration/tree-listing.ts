/** A directory tree as lines of text, one per entry, with all that an unpacked image must get right. */
import { dlopen } from "bun:ffi";
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Sorted by name. Hard links show as the first name of the same inode. */
export function listTree(root: string): readonly string[] {
  const libc = dlopen("libc.so.6", {
    llistxattr: { args: ["ptr", "ptr", "u64"], returns: "i64" },
    lgetxattr: { args: ["ptr", "ptr", "ptr", "u64"], returns: "i64" },
  });
  const base = Buffer.from(root);
  const firstNames = new Map<number, string>();
  const lines: string[] = [];

  const attributes = (path: Buffer): string => {
    const zeroEnded = Buffer.concat([path, Buffer.alloc(1)]);
    const names = Buffer.alloc(65_536);
    const length = Number(libc.symbols.llistxattr(zeroEnded, names, names.length));
    if (length <= 0) return "";
    return names
      .toString("latin1", 0, length - 1)
      .split("\0")
      .toSorted()
      .map((name) => {
        const value = Buffer.alloc(65_536);
        const nameBytes = Buffer.from(`${name}\0`, "latin1");
        const size = Number(libc.symbols.lgetxattr(zeroEnded, nameBytes, value, value.length));
        return `${name}=${value.toString("hex", 0, Math.max(0, size))}`;
      })
      .join(",");
  };

  const visit = (relative: Buffer): void => {
    const path = relative.length === 0 ? base : Buffer.concat([base, Buffer.from("/"), relative]);
    const status = lstatSync(path);
    const name = relative.toString("latin1");
    const fields = [
      name,
      (status.mode & 0o170000).toString(8),
      (status.mode & 0o7777).toString(8),
      `${status.uid}:${status.gid}`,
      attributes(path),
    ];
    // The top's time is that of the unpacking when the archive has no entry for it.
    if (relative.length > 0) fields.push(String(status.mtimeMs));
    if (status.isSymbolicLink()) fields.push(readlinkSync(path, "buffer").toString("latin1"));
    if (status.isCharacterDevice() || status.isBlockDevice()) fields.push(String(status.rdev));
    if (status.isFile()) {
      fields.push(String(status.size), createHash("sha256").update(readFileSync(path)).digest("hex"));
      const first = firstNames.get(status.ino) ?? name;
      firstNames.set(status.ino, first);
      fields.push(`as ${first}`);
    }
    lines.push(fields.join(" | "));
    if (!status.isDirectory()) return;
    const children = readdirSync(path, { encoding: "buffer" }).toSorted(Buffer.compare);
    for (const child of children)
      visit(relative.length === 0 ? child : Buffer.concat([relative, Buffer.from("/"), child]));
  };
  visit(Buffer.alloc(0));
  libc.close();
  return lines;
}
