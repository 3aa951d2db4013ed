import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Header, pack } from "tar-stream";
import { ArchiveError, type TarEntry, TarReader } from "./tar-reader.ts";

interface Found {
  readonly entry: TarEntry;
  data: string;
}

/** Reads `archive` in pieces that end at `cuts`. */
function read(archive: Uint8Array, cuts: readonly number[] = []): readonly Found[] {
  const found: Found[] = [];
  const reader = new TarReader({
    entry: (entry) => found.push({ entry, data: "" }),
    data: (chunk) => {
      const last = found.at(-1);
      if (last !== undefined) last.data += Buffer.from(chunk).toString("latin1");
    },
    entryEnd: () => {},
  });
  let from = 0;
  for (const cut of [...cuts.toSorted((a, b) => a - b), archive.length]) {
    reader.push(archive.subarray(from, cut));
    from = cut;
  }
  reader.end();
  return found;
}

/** Somebody else's writer. */
async function write(...entries: readonly [Partial<Header> & { name: string }, string][]): Promise<Buffer> {
  const stream = pack();
  for (const [header, data] of entries) stream.entry(header, data);
  stream.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of stream) {
    if (!(chunk instanceof Uint8Array)) throw new TypeError("bytes expected");
    chunks.push(Buffer.from(chunk));
  }
  return Buffer.concat(chunks);
}

const longName = `${"directory/".repeat(30)}file`;
const sample = () =>
  write(
    [{ name: "a", mode: 0o4755, uid: 1, gid: 2, mtime: new Date(3000) }, "content"],
    [{ name: "d", type: "directory", mode: 0o755 }, ""],
    [{ name: longName }, "x".repeat(1000)],
    [{ name: "s", type: "symlink", linkname: "a" }, ""],
    [{ name: "h", type: "link", linkname: "a" }, ""],
    [{ name: "c", type: "character-device", devmajor: 1, devminor: 3 }, ""],
    [{ name: "ä" }, ""],
  );

test("what another writer wrote", async () => {
  const found = read(await sample());
  expect(found.map(({ entry, data }) => [entry.kind, entry.path, entry.linkPath, data.length])).toEqual([
    ["file", "a", "", 7],
    ["directory", "d", "", 0],
    ["file", longName, "", 1000],
    ["symlink", "s", "a", 0],
    ["hard-link", "h", "a", 0],
    ["character-device", "c", "", 0],
    ["file", Buffer.from("ä").toString("latin1"), "", 0],
  ]);
  expect(found[0]?.entry).toMatchObject({ mode: 0o4755, uid: 1, gid: 2, mtimeNs: 3_000_000_000n });
  expect(found[5]?.entry).toMatchObject({ deviceMajor: 1, deviceMinor: 3 });
});

test("how the bytes are cut makes no difference", async () => {
  const archive = await sample();
  const whole = read(archive);
  fc.assert(
    fc.property(fc.array(fc.nat(archive.length), { maxLength: 50 }), (cuts) => {
      expect(read(archive, cuts)).toEqual(whole);
    }),
  );
  expect(read(archive, Array.from(archive.keys()))).toEqual(whole);
});

test("whatever bytes come, the answer is entries or an ArchiveError", async () => {
  const archive = await sample();
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(archive.length - 1), fc.nat(255)), { maxLength: 8 }), (flips) => {
      const broken = Buffer.from(archive);
      for (const [at, value] of flips) broken[at] = value;
      try {
        read(broken);
      } catch (error) {
        if (!(error instanceof ArchiveError)) throw error;
      }
    }),
    { numRuns: 300 },
  );
});

test("an archive that ends early", async () => {
  const archive = await write([{ name: "f" }, "x".repeat(600)]);
  expect(() => read(archive.subarray(0, 300))).toThrow(ArchiveError);
  expect(() => read(archive.subarray(0, 1000))).toThrow(ArchiveError);
  expect(read(archive.subarray(0, 512 + 600))).toHaveLength(1);
  expect(read(archive.subarray(0, 512 + 1024))).toHaveLength(1);
  expect(read(Buffer.alloc(0))).toEqual([]);
});

test("attributes keep bytes that are no UTF-8", async () => {
  const value = Buffer.from([0xff, 0x00, 0x3d, 0x0a, 0xfe]);
  const record = Buffer.concat([Buffer.from(" SCHILY.xattr.security.x="), value, Buffer.from("\n")]);
  const length = record.length + 2;
  const records = Buffer.concat([Buffer.from(String(length)), record]);
  const archive = await write([{ name: "x" }, ""], [{ name: "f" }, ""]);
  const header = archive.subarray(0, 512);
  header.write("x", 156, "latin1");
  header.write(records.length.toString(8).padStart(11, "0"), 124, "latin1");
  header.fill(" ", 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  const block = Buffer.alloc(512);
  records.copy(block);
  const [found] = read(Buffer.concat([header, block, archive.subarray(512)]));
  expect(found?.entry.attributes).toEqual(new Map([["security.x", value]]));
});
