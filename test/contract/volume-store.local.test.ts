import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { LocalVolumes } from "../../src/adapters/volumes/local-volumes.ts";
import { VolumeError } from "../../src/ports/volume-store.ts";
import { runVolumeStoreSuite } from "./volume-store-suite.ts";

const deployment = "1".repeat(32);

function openLocal(): { root: string; volumes: LocalVolumes; dispose: () => Promise<void> } {
  const top = mkdtempSync(join(tmpdir(), "muster-volumes-"));
  const root = join(top, "volumes");
  const dispose = async (): Promise<void> => rmSync(top, { recursive: true });
  return { root, volumes: new LocalVolumes({ root }), dispose };
}

runVolumeStoreSuite("local", async () => openLocal());

test("a volume is open to any user of a container, and closed to the machine's", async () => {
  const { volumes, dispose } = openLocal();
  const path = await volumes.directory(deployment, "data");
  expect(statSync(path).mode & 0o777).toBe(0o777);
  expect(statSync(dirname(path)).mode & 0o777).toBe(0o700);
  await dispose();
});

test("what was written is there for the next replica and the next agent", async () => {
  const { root, volumes, dispose } = openLocal();
  writeFileSync(join(await volumes.directory(deployment, "data"), "file"), "kept");
  const again = await new LocalVolumes({ root }).directory(deployment, "data");
  expect(readFileSync(join(again, "file"), "utf8")).toBe("kept");
  await dispose();
});

test("a link in the place of a volume is not followed", async () => {
  const { volumes, dispose } = openLocal();
  const path = await volumes.directory(deployment, "data");
  symlinkSync("/etc", join(dirname(path), "sly"));
  expect(volumes.directory(deployment, "sly")).rejects.toBeInstanceOf(VolumeError);
  await dispose();
});
