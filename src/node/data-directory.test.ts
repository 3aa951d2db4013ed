import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { claimDataDirectory } from "./data-directory.ts";

const root = mkdtempSync(join(tmpdir(), "muster-data-"));
afterAll(() => rmSync(root, { recursive: true }));

test("a new one is for its owner only, and is taken again", () => {
  const path = join(root, "a", "b");
  claimDataDirectory(path);
  expect(statSync(path).mode & 0o777).toBe(0o700);
  writeFileSync(join(path, "muster.db"), "");
  writeFileSync(join(path, "agent.log"), "");
  claimDataDirectory(path);
});

test("one with other files is named, and nothing is written into it", () => {
  writeFileSync(join(root, "precious"), "x");
  expect(() => claimDataDirectory(root)).toThrow(/not Muster's: a, precious/);
  expect(readdirSync(root).sort()).toEqual(["a", "precious"]);
});

test("a file in its place is a problem and not a stack", () => {
  expect(() => claimDataDirectory(join(root, "precious"))).toThrow(/cannot be the data directory/);
});
