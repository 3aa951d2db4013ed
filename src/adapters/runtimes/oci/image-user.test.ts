import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resolveImageUser, resolveInside } from "./image-user.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "muster-root-"));
  mkdirSync(join(root, "etc"));
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:\n7:x:700:701::/:\n");
  writeFileSync(join(root, "etc/group"), "root:x:0:\nweb:x:34:\nmail:x:8:web,root\nlogs:x:9:web\n");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe("user of an image", () => {
  const cases: readonly (readonly [string, number, number, readonly number[]])[] = [
    ["", 0, 0, [8]],
    ["root", 0, 0, [8]],
    ["web", 33, 34, [8, 9]],
    ["33", 33, 34, [8, 9]],
    ["web:mail", 33, 8, []],
    ["web:77", 33, 77, []],
    ["12345", 12345, 0, []],
    ["7", 700, 701, []],
  ];
  for (const [text, uid, gid, additionalGids] of cases)
    test(text === "" ? "none given" : text, () => {
      expect(resolveImageUser(root, text)).toEqual({ ok: true, user: { uid, gid, additionalGids } });
    });

  for (const text of ["nobody", "web:nogroup", "-1", "99999999999", "0x10"])
    test(`${text} is refused`, () => {
      expect(resolveImageUser(root, text).ok).toBe(false);
    });

  test("an image without the files has numbers only", () => {
    rmSync(join(root, "etc"), { recursive: true });
    expect(resolveImageUser(root, "5:6")).toMatchObject({ ok: true, user: { uid: 5, gid: 6 } });
    expect(resolveImageUser(root, "web").ok).toBe(false);
  });
});

describe("paths inside an image", () => {
  test("links are followed as if the image were the whole machine", () => {
    mkdirSync(join(root, "usr/share"), { recursive: true });
    writeFileSync(join(root, "usr/share/data"), "x");
    symlinkSync("/usr/share", join(root, "abs"));
    symlinkSync("../../../../usr/share/data", join(root, "etc/up"));
    expect(resolveInside(root, "/abs/data")).toBe(join(root, "usr/share/data"));
    expect(resolveInside(root, "/etc/up")).toBe(join(root, "usr/share/data"));
  });

  test("nothing for loops, directories, devices and what is missing", () => {
    symlinkSync("loop", join(root, "loop"));
    symlinkSync("/dev/zero", join(root, "zero"));
    for (const path of ["/loop", "/zero", "/etc", "/none", "/etc/passwd/x"])
      expect(resolveInside(root, path)).toBeUndefined();
  });
});
