/** REAL: archives made to escape, to exhaust or to confuse. Each is refused by name of its entry, or stays inside. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import {
  type UnpackReport,
  type UnpackRequest,
  unpackReportSchema,
} from "../../src/adapters/images/oci/unpack.ts";
import { unpackCommand } from "./oci-store-harness.ts";
import { type ArchiveEntry, tarArchive } from "./tar-archive.ts";
import { listTree } from "./tree-listing.ts";

const isSkipped = process.getuid?.() !== 0 && process.env["CI"] !== "true";
if (isSkipped) console.log("skipped: unpacking needs root");

describe.skipIf(isSkipped)("hostile archives", () => {
  let directory: string;
  let layer: string;
  let outside: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "muster-hostile-"));
    layer = join(directory, "layer");
    outside = join(directory, "outside");
    await mkdir(layer);
    await mkdir(outside);
    await writeFile(join(outside, "precious"), "untouched");
  });
  afterEach(async () => {
    // Whatever an archive did, it did not do it here.
    expect(readFileSync(join(outside, "precious"), "utf8")).toBe("untouched");
    expect(readdirSync(outside)).toEqual(["precious"]);
    await rm(directory, { recursive: true, force: true });
  });

  async function unpackBytes(bytes: Uint8Array, limits: Partial<UnpackRequest> = {}): Promise<UnpackReport> {
    const blobPath = join(directory, "blob");
    await writeFile(blobPath, bytes);
    const request: UnpackRequest = {
      blobPath,
      directory: layer,
      diffId: `sha256:${Bun.CryptoHasher.hash("sha256", bytes, "hex")}`,
      bytesMax: 1_000_000,
      entriesMax: 1000,
      lowerLayers: [],
      ...limits,
    };
    const child = Bun.spawn([...unpackCommand, JSON.stringify(request)], { stdout: "pipe" });
    const output: unknown = JSON.parse(await child.stdout.text());
    await child.exited;
    return v.parse(unpackReportSchema, output);
  }

  const unpack = (...entries: readonly ArchiveEntry[]) => unpackBytes(tarArchive(entries));
  const link = (path: string, target: string): ArchiveEntry => ({ path, type: "2", link: target });
  const folder = (path: string): ArchiveEntry => ({ path, type: "5", mode: 0o755 });

  const refused: readonly [string, (toOutside: string) => readonly ArchiveEntry[], entry: string][] = [
    ["..", () => [{ path: "../outside/precious", data: "x" }], "../outside/precious"],
    [".. in the middle", () => [{ path: "a/../../outside/precious", data: "x" }], "a/../../outside/precious"],
    ["a directory ..", () => [folder("../outside/new")], "../outside/new"],
    ["an absolute symlink as parent", (o) => [link("a", o), { path: "a/precious", data: "x" }], "a/precious"],
    [
      "a relative symlink as parent",
      () => [link("a", "../outside"), { path: "a/precious", data: "x" }],
      "a/precious",
    ],
    [
      "a chain of symlinks",
      () => [
        folder("d"),
        link("d/up", ".."),
        link("a", "d/up/../outside"),
        { path: "a/precious", data: "x" },
      ],
      "a/precious",
    ],
    ["a directory through a symlink", (o) => [link("a", o), folder("a/new")], "a/new"],
    ["a whiteout through a symlink", (o) => [link("a", o), { path: "a/.wh.precious" }], "a/.wh.precious"],
    ["an opaque mark through a symlink", (o) => [link("a", o), { path: "a/.wh..wh..opq" }], "a/.wh..wh..opq"],
    ["a symlink under a symlink", (o) => [link("a", o), link("a/new", "x")], "a/new"],
    [
      "a device through a symlink",
      (o) => [link("a", o), { path: "a/new", type: "3", device: [1, 3] }],
      "a/new",
    ],
    ["a hard link to outside", () => [{ path: "h", type: "1", link: "../outside/precious" }], "h"],
    ["a hard link by absolute path", (o) => [{ path: "h", type: "1", link: `${o}/precious` }], "h"],
    [
      "a hard link through a symlink",
      (o) => [link("a", o), { path: "h", type: "1", link: "a/precious" }],
      "h",
    ],
    ["a hard link to a directory", () => [folder("d"), { path: "h", type: "1", link: "d" }], "h"],
    ["a hard link to itself", () => [{ path: "h", type: "1", link: "./h" }], "h"],
    ["a whiteout of ..", () => [folder("d"), { path: "d/.wh..." }], "d/.wh..."],
    ["a whiteout of .", () => [{ path: ".wh.." }], ".wh.."],
    ["a whiteout of nothing", () => [{ path: ".wh." }], ".wh."],
    ["a NUL in a name", () => [{ path: "x", pax: { path: "a\0b" } }], "a\\u0000b"],
    ["a NUL in a link", () => [{ path: "x", type: "2", link: "y", pax: { linkpath: "a\0b" } }], "x"],
    ["a name too long for Linux", () => [{ path: "x", pax: { path: "n".repeat(256) } }], "n".repeat(256)],
    [
      "a file as parent",
      () => [
        { path: "f", data: "" },
        { path: "f/x", data: "" },
      ],
      "f/x",
    ],
    ["a dangling symlink as parent", () => [link("a", "nowhere"), { path: "a/x", data: "" }], "a/x"],
    ["a loop of symlinks", () => [link("a", "b"), link("b", "a"), { path: "a/x", data: "" }], "a/x"],
    ["a file in place of a directory", () => [folder("d"), { path: "d", data: "x" }], "d"],
    ["a root that is no directory", () => [link("./", "/etc")], "./"],
    [
      "an overlay redirect",
      () => [{ path: "d", type: "5", pax: { "SCHILY.xattr.trusted.overlay.redirect": "/etc" } }],
      "d",
    ],
    ["a sparse file", () => [{ path: "s", pax: { "GNU.sparse.major": "1" } }], "s"],
    ["an unknown type", () => [{ path: "s", type: "S" }], "s"],
    ["an owner out of range", () => [{ path: "f", pax: { uid: "4294967295" } }], "f"],
    ["more data than there is", () => [{ path: "f", data: "x", claimedSize: 100_000 }], "f"],
    ["more data than allowed", () => [{ path: "f", claimedSize: 2_000_000 }], "f"],
  ];
  test.each([...refused])("%s is refused", async (_name, entries, entry) => {
    const report = await unpack(...entries(outside));
    expect(report).toMatchObject({ outcome: "bad-archive", entry });
  });

  test("symlinks that stay inside are followed", async () => {
    const report = await unpack(folder("usr"), folder("usr/lib"), link("lib", "usr/lib"), {
      path: "lib/x",
      data: "in",
    });
    expect(report).toMatchObject({ outcome: "done", entries: 4 });
    expect(readFileSync(join(layer, "usr/lib/x"), "utf8")).toBe("in");
  });

  test("an absolute name means the layer's root, and links keep their text", async () => {
    const report = await unpack(
      { path: `${outside.slice(0, 60)}/precious`, data: "in" },
      link("abs", "/etc/passwd"),
    );
    expect(report.outcome).toBe("done");
    expect(existsSync(join(layer, outside.slice(0, 60), "precious"))).toBe(true);
    expect(readlinkSync(join(layer, "abs"))).toBe("/etc/passwd");
  });

  test("a file replaces a symlink, and does not go through it", async () => {
    const report = await unpack(link("a", join(outside, "precious")), { path: "a", data: "mine" });
    expect(report.outcome).toBe("done");
    expect(readFileSync(join(layer, "a"), "utf8")).toBe("mine");
  });

  test("a directory replaces a symlink to outside", async () => {
    const report = await unpack(link("a", outside), folder("a"), { path: "a/precious", data: "mine" });
    expect(report.outcome).toBe("done");
    expect(lstatSync(join(layer, "a")).isDirectory()).toBe(true);
  });

  test("too many entries", async () => {
    const entries = Array.from({ length: 20 }, (_, at) => ({ path: `f${at}`, data: "" }));
    const report = await unpackBytes(tarArchive(entries), { entriesMax: 10 });
    expect(report).toMatchObject({ outcome: "bad-archive", entry: "f10" });
  });

  test("directories never described count as entries", async () => {
    const report = await unpackBytes(tarArchive([{ path: "a/b/c/d/e/f", data: "" }]), { entriesMax: 4 });
    expect(report.outcome).toBe("bad-archive");
  });

  test("a bomb: little compressed, much unpacked, no entry in it", async () => {
    const bomb = Bun.gzipSync(new Uint8Array(50_000_000));
    const report = await unpackBytes(bomb, { bytesMax: 100_000 });
    expect(report).toMatchObject({ outcome: "bad-archive" });
  });

  test("broken compression and broken headers", async () => {
    const whole = Bun.gzipSync(new Uint8Array(tarArchive([{ path: "f", data: "x".repeat(2000) }])));
    const wrongId = { diffId: `sha256:${"0".repeat(64)}` };
    const cut = Buffer.from(whole.subarray(0, whole.length - 20));
    const child = await unpackCut(cut, wrongId);
    expect(child).toMatchObject({ outcome: "bad-archive" });
    const broken = tarArchive([{ path: "f", data: "x" }]);
    broken[0] = 0x67;
    expect(await unpackBytes(broken)).toMatchObject({ outcome: "bad-archive", entry: "g" });
  });

  async function unpackCut(bytes: Buffer, limits: Partial<UnpackRequest>): Promise<UnpackReport> {
    const blobPath = join(directory, "cut");
    await writeFile(blobPath, bytes);
    return unpackBytes(Buffer.from("x"), { ...limits, blobPath });
  }

  test("the archive is not the one the configuration names", async () => {
    const report = await unpackBytes(tarArchive([{ path: "f" }]), { diffId: `sha256:${"0".repeat(64)}` });
    expect(report).toMatchObject({ outcome: "digest-mismatch" });
  });

  test("no padding and no end marker, as umoci writes", async () => {
    const report = await unpackBytes(tarArchive([{ path: "f", data: "x" }], "no padding"));
    expect(report).toMatchObject({ outcome: "done", entries: 1 });
  });

  test.each([
    ["none", (archive: Buffer) => archive],
    ["gzip", (archive: Buffer) => gzip(archive)],
    [
      "gzip in several members",
      (a: Buffer) => Buffer.concat([gzip(a.subarray(0, 700)), gzip(a.subarray(700))]),
    ],
    ["zstd", (archive: Buffer) => Bun.zstdCompressSync(new Uint8Array(archive))],
  ])("compression: %s", async (_name, compress) => {
    const archive = tarArchive([{ path: "f", data: "content".repeat(1000) }]);
    const diffId = `sha256:${Bun.CryptoHasher.hash("sha256", new Uint8Array(archive), "hex")}`;
    const report = await unpackBytes(compress(archive), { diffId });
    expect(report).toMatchObject({ outcome: "done", bytes: 7000 });
  });

  const gzip = (bytes: Buffer) => Buffer.from(Bun.gzipSync(new Uint8Array(bytes)));

  test("names that are no UTF-8, times before 1970, large owners", async () => {
    const pax = { uid: "4294967294", mtime: "-1.5" };
    const report = await unpack({ path: "\xff\xfe", data: "x", pax });
    expect(report.outcome).toBe("done");
    const status = lstatSync(Buffer.from(`${layer}/\xff\xfe`, "latin1"));
    expect(status.uid).toBe(4_294_967_294);
    expect(status.mtimeMs).toBe(-1500);
  });

  test("a whiteout and what takes its place, in either order", async () => {
    const file: ArchiveEntry = { path: "a/x", data: "x" };
    for (const entries of [
      [{ path: ".wh.a" }, file],
      [file, { path: ".wh.a" }],
      [{ path: ".wh.a" }, folder("a"), file],
    ]) {
      await rm(layer, { recursive: true });
      await mkdir(layer);
      expect((await unpack(...entries)).outcome).toBe("done");
      expect(isOpaque(join(layer, "a"))).toBe(true);
      expect(readFileSync(join(layer, "a/x"), "utf8")).toBe("x");
    }
  });

  function isOpaque(path: string): boolean {
    return listTree(path)[0]?.includes("trusted.overlay.opaque=79") === true;
  }
});
