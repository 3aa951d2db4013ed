import { expect, test } from "bun:test";
import { type TarEntry, TarReader } from "./tar-reader.ts";
import { tarEnd, tarHeader, tarPadding } from "./tar-writer.ts";

function entriesIn(pieces: readonly Uint8Array[]): readonly TarEntry[] {
  const entries: TarEntry[] = [];
  const reader = new TarReader({
    entry: (entry) => void entries.push(entry),
    data: () => {},
    entryEnd: () => {},
  });
  for (const piece of pieces) reader.push(piece);
  reader.end();
  return entries;
}

test("what is written is read back", () => {
  const content = Buffer.from("hello");
  const pieces = [
    tarHeader("blobs/sha256/ab", content.length),
    content,
    tarPadding(content.length),
    tarEnd(),
  ];
  expect(Buffer.concat(pieces).length % 512).toBe(0);
  expect(entriesIn(pieces)).toMatchObject([
    { kind: "file", path: "blobs/sha256/ab", sizeBytes: 5, mode: 0o644, uid: 0, gid: 0, mtimeNs: 0n },
  ]);
});

test.each([0, 511, 512, 8 ** 11 - 1, 8 ** 11, 2 ** 40])("a file of %d bytes", (sizeBytes) => {
  const sizes: number[] = [];
  const reader = new TarReader({
    entry: (entry) => void sizes.push(entry.sizeBytes),
    data: () => {},
    entryEnd: () => {},
  });
  reader.push(tarHeader("large", sizeBytes));
  expect(sizes).toEqual([sizeBytes]);
  const rest = sizeBytes % 512;
  const skipped = reader.skip();
  expect(skipped).toBe(sizeBytes === 0 ? 0 : sizeBytes + (rest === 0 ? 0 : 512 - rest));
  expect(tarPadding(sizeBytes)).toHaveLength(rest === 0 ? 0 : 512 - rest);
  // Having left it out, the reader stands before the next header.
  reader.push(tarHeader("next", 0));
  expect(sizes).toHaveLength(2);
});
