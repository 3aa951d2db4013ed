/** REAL: stores on a small file system of their own that runs full, and stores whose agent is killed in the middle. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OciImageStoreOptions } from "../../src/adapters/images/oci/oci-image-store.ts";
import { ImageError } from "../../src/ports/image-store.ts";
import { eventually } from "../contract/eventually.ts";
import { openOciStore, type OciStoreHarness } from "./oci-store-harness.ts";
import { run } from "./registry.ts";
import { type ImageServer, type ServedImage, serveImage, startImageServer } from "./served-image.ts";

const isSkipped = process.getuid?.() !== 0 && process.env["CI"] !== "true";
if (isSkipped) console.log("skipped: mounting and unpacking need root");

const { signal } = new AbortController();
const megabyte = 1_000_000;
const noise = (bytes: number): Buffer => {
  const data = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 65_536) crypto.getRandomValues(data.subarray(at, at + 65_536));
  return data;
};

/** All that the store says is here is here, and nothing is in the making. */
async function expectWhole({ root, store }: OciStoreHarness): Promise<void> {
  for (const { layers } of await store.list())
    for (const layer of layers) expect(existsSync(layer)).toBe(true);
  expect(await readdir(join(root, "staging"))).toEqual([]);
}

describe.skipIf(isSkipped)("a full disk", () => {
  let disk: string;
  let harness: OciStoreHarness;
  const servers: ImageServer[] = [];

  beforeEach(async () => {
    disk = await mkdtemp(join(tmpdir(), "muster-disk-"));
    await run("mount", "-t", "tmpfs", "-o", "size=20m,mode=700", "none", disk);
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.stop();
    await harness.dispose();
    await run("umount", disk);
    await rm(disk, { recursive: true });
  });

  async function open(options: Partial<OciImageStoreOptions> = {}): Promise<OciStoreHarness> {
    harness = await openOciStore({ root: join(disk, "images"), attemptsMax: 2, ...options });
    return harness;
  }

  function serve(image: ServedImage, onLayer: () => Promise<void> = async () => {}): string {
    const server = startImageServer(image, (path) => {
      if (!image.layerDigests.some((digest) => path.endsWith(digest))) return undefined;
      const blob = image.blobs.get(path.slice(path.lastIndexOf("/") + 1)) ?? new Uint8Array(0);
      return onLayer().then(() => new Response(new Uint8Array(blob)));
    });
    servers.push(server);
    return `${server.host}/app:1`;
  }

  const imageOf = (bytes: number): ServedImage => serveImage([[{ path: "noise", data: noise(bytes) }]]);
  const filler = (): string => join(disk, "filler");

  async function expectFull(reference: string): Promise<ImageError> {
    const error: unknown = await harness.store
      .ensure(reference, { signal })
      .catch((reason: unknown) => reason);
    if (!(error instanceof ImageError)) throw new Error(`no ImageError: ${String(error)}`);
    expect(error.info).toMatchObject({ code: "disk-full" });
    return error;
  }

  test("above the upper mark nothing is pulled, and nothing is asked for but the manifest", async () => {
    await open({ diskHighPercent: 50, diskLowPercent: 40 });
    const kept = await harness.store.ensure(serve(imageOf(megabyte)), { signal });
    harness.store.protect(() => ({ references: [kept.reference], digests: [] }));
    await writeFile(filler(), Buffer.alloc(6 * megabyte));
    const reference = serve(imageOf(3 * megabyte));
    const error = await expectFull(reference);
    expect(error.message).toMatch(
      /is \d+ % full and at least \d MB more are wanted; images may fill it to 50 %/,
    );
    expect(servers.at(-1)?.asked).toHaveLength(1);
    expect(await harness.store.find(kept.reference)).toEqual(kept);
    await rm(filler());
    expect((await harness.store.ensure(reference, { signal })).layers).toHaveLength(1);
    await expectWhole(harness);
  });

  test("unused images make room, the oldest first, and no more of them than it takes", async () => {
    await open({ diskHighPercent: 70, diskLowPercent: 65 });
    const references = [1, 2, 3, 4].map(() => serve(imageOf(2 * megabyte)));
    const [oldest = "", used = "", ...others] = references.slice(0, 3);
    harness.store.protect(() => ({ references: [used], digests: [] }));
    for (const reference of references.slice(0, 3)) await harness.store.ensure(reference, { signal });
    await harness.store.ensure(references.at(-1) ?? "", { signal });
    expect(await harness.store.find(oldest)).toBeUndefined();
    for (const reference of [used, ...others]) expect(await harness.store.find(reference)).toBeDefined();
    await expectWhole(harness);
  });

  test("it runs full while a layer comes: nothing is left of it, what was here is, and it goes on when there is room", async () => {
    await open({ diskHighPercent: 100, diskLowPercent: 100 });
    const kept = await harness.store.ensure(serve(imageOf(megabyte)), { signal });
    let isFilling = true;
    const reference = serve(imageOf(3 * megabyte), async () => {
      if (isFilling) await fill(filler());
    });
    await expectFull(reference);
    expect(await harness.store.list()).toMatchObject([{ reference: kept.reference }]);
    await expectWhole(harness);
    isFilling = false;
    await rm(filler());
    expect((await harness.store.ensure(reference, { signal })).layers).toHaveLength(1);
  });

  test("it runs full while a layer is unpacked", async () => {
    await open({ diskHighPercent: 100, diskLowPercent: 100 });
    const reference = serve(serveImage([[{ path: "zeros", data: Buffer.alloc(30 * megabyte) }]]));
    await expectFull(reference);
    await expectWhole(harness);
    expect(await readdir(join(harness.root, "layers"))).toEqual([]);
    const small = serve(imageOf(megabyte));
    expect((await harness.store.ensure(small, { signal })).layers).toHaveLength(1);
  });

  test("no room for the index: the image is as if it had never been pulled, also for the next agent", async () => {
    await open({ diskHighPercent: 100, diskLowPercent: 100 });
    const image = imageOf(megabyte);
    const reference = serve(image);
    const { layers } = await harness.store.ensure(reference, { signal });
    await fill(filler());
    // All of it is here but another name, which has to be written down.
    const other = reference.replace("/app", "/other");
    await expectFull(other);
    expect(await harness.store.find(other)).toBeUndefined();
    const next = harness.reopen();
    expect(await next.find(reference)).toMatchObject({ layers });
    expect(await next.find(other)).toBeUndefined();
    await rm(filler());
    expect((await next.ensure(other, { signal })).layers).toEqual(layers);
  });
});

/** Takes all there is. */
async function fill(path: string): Promise<void> {
  await run("dd", "if=/dev/zero", `of=${path}`, "bs=4k", "status=none").catch(() => "");
}

describe.skipIf(isSkipped)("an agent that is killed in the middle of a pull", () => {
  test("leaves whole images only, and the next one goes on", async () => {
    const layers = Array.from({ length: 6 }, (_, at) => [{ path: `file-${at}`, data: noise(400_000) }]);
    const image = serveImage(layers);
    const server = startImageServer(image);
    const directory = await mkdtemp(join(tmpdir(), "muster-killed-"));
    const root = join(directory, "images");
    const harness = await openOciStore({ root });
    try {
      await mkdir(root);
      let pulled = 0;
      for (let round = 0; round < 12; round += 1) {
        const reference = `${server.host}/app:${round}`;
        const script = join(import.meta.dir, "pull-child.ts");
        const child = Bun.spawn([process.execPath, script, root, reference], { stdout: "pipe" });
        const asked = server.asked.length + 1 + (round % 9);
        await eventually("the pull is under way or over", async () =>
          server.asked.length >= asked || child.exitCode !== null ? true : undefined,
        );
        child.kill("SIGKILL");
        await child.exited;
        const store = harness.reopen();
        if ((await store.find(reference)) !== undefined) pulled += 1;
        await expectWhole({ ...harness, store });
        const blobs = join(root, "blobs/sha256");
        for (const name of await readdir(blobs))
          expect(Bun.CryptoHasher.hash("sha256", await Bun.file(join(blobs, name)).bytes(), "hex")).toBe(
            name,
          );
        // Every other time from nothing.
        if (round % 2 === 1) await store.prune({ all: true });
      }
      expect(pulled).toBeLessThan(12);
      const store = harness.reopen();
      const whole = await store.ensure(`${server.host}/app:last`, { signal });
      expect(whole.layers).toHaveLength(6);
      await store.prune({ all: true });
      expect(await readdir(join(root, "layers"))).toEqual([]);
    } finally {
      await server.stop();
      await harness.dispose();
      await rm(directory, { recursive: true, force: true });
    }
  });
});
