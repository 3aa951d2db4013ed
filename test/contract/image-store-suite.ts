/** What every image store keeps to. An adapter's test file gives `runImageStoreSuite` a setup and nothing else. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PullPolicy } from "../../src/model/spec.ts";
import {
  ImageError,
  type Image,
  type ImageConfig,
  type ImageExchange,
  type ImageStore,
  type PullProgress,
} from "../../src/ports/image-store.ts";

export interface ImageStoreHarness {
  readonly store: ImageStore & ImageExchange;
  /** Puts an image of at least one layer where the store pulls from; the answer is its reference by tag. Again: the tag moves. */
  publish(name: string, config: ImageConfig): Promise<string>;
  /** Well formed, and nothing is there. */
  missingReference(): string;
  /** Nothing can be pulled any more. */
  cutSource(): Promise<void>;
  /** What an agent that starts after a crash opens: another store over the same place. The old one is not used again. */
  reopen(): Promise<ImageStore & ImageExchange>;
  /** Removes all that was made. */
  dispose(): Promise<void>;
}

const config: ImageConfig = {
  entrypoint: ["/bin/sh"],
  command: ["-c", "sleep 1000"],
  env: ["PATH=/bin", "MODE=suite"],
  workingDirectory: "/srv",
  user: "1000:1000",
  stopSignal: "SIGTERM",
};

export function runImageStoreSuite(name: string, setup: () => Promise<ImageStoreHarness>): void {
  describe(`image store contract: ${name}`, () => {
    let harness: ImageStoreHarness;
    let store: ImageStore & ImageExchange;

    beforeEach(async () => {
      harness = await setup();
      store = harness.store;
    });
    afterEach(async () => {
      await harness.dispose();
    });

    const ensure = (reference: string, signal: AbortSignal = new AbortController().signal) =>
      store.ensure(reference, { signal });

    const ensureBy = (reference: string, pull: PullPolicy): Promise<Image> =>
      store.ensure(reference, { signal: new AbortController().signal, pull });

    test("nothing is here at first", async () => {
      const reference = await harness.publish("suite/first", config);
      expect(await store.list()).toEqual([]);
      expect(await store.find(reference)).toBeUndefined();
    });

    test("an image is pulled once and found from then on", async () => {
      const reference = await harness.publish("suite/app", config);
      const image = await ensure(reference);
      expect(image.reference).toBe(reference);
      expect(image.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
      expect(image.layers.length).toBeGreaterThan(0);
      for (const layer of image.layers) expect(layer).toStartWith("/");
      expect(image.config).toEqual(config);
      expect(image.sizeBytes).toBeGreaterThan(0);
      expect(await store.find(reference)).toEqual(image);
      expect(await store.list()).toEqual([expect.objectContaining({ ...image })]);
      await harness.cutSource();
      expect(await ensure(reference)).toEqual(image);
    });

    test("several images, several pulls at a time", async () => {
      const references = await Promise.all(
        ["suite/a", "suite/b", "suite/c"].map((n) => harness.publish(n, config)),
      );
      const images = await Promise.all(
        references.flatMap((reference) => [ensure(reference), ensure(reference)]),
      );
      expect(new Set(images.map((image) => image.reference)).size).toBe(3);
      expect(images[0]).toEqual(images[1]);
      expect((await store.list()).length).toBe(3);
    });

    test("what is not there is not found, and leaves nothing", async () => {
      const reference = harness.missingReference();
      const error = await rejection(ensure(reference));
      expect(error.info).toMatchObject({ code: "not-found", reference });
      expect(error.message).toContain(reference);
      expect(await store.list()).toEqual([]);
    });

    test("a reference that cannot be one is refused", async () => {
      for (const reference of ["", "UPPER CASE", "name:", "a@sha256:beef"]) {
        const error = await rejection(ensure(reference));
        expect(error.info).toMatchObject({ code: "bad-reference", reference });
      }
    });

    test("an aborted pull rejects, and can be tried again", async () => {
      const reference = await harness.publish("suite/aborted", config);
      const abort = new AbortController();
      abort.abort();
      await rejection(ensure(reference, abort.signal));
      expect((await ensure(reference)).reference).toBe(reference);
    });

    test("who gives up does not spoil it for others", async () => {
      const reference = await harness.publish("suite/shared", config);
      const abort = new AbortController();
      const impatient = ensure(reference, abort.signal).catch((error: unknown) => error);
      const patient = ensure(reference);
      abort.abort();
      expect((await patient).reference).toBe(reference);
      await impatient;
    });

    test("progress never goes back and never past the total", async () => {
      const reference = await harness.publish("suite/progress", config);
      const seen: PullProgress[] = [];
      await store.ensure(reference, {
        signal: new AbortController().signal,
        onProgress: (progress) => seen.push(progress),
      });
      let before = 0;
      for (const progress of seen) {
        expect(progress.bytes).toBeGreaterThanOrEqual(before);
        expect(progress.bytes).toBeLessThanOrEqual(progress.bytesTotal);
        expect(progress.layersDone).toBeLessThanOrEqual(progress.layersTotal);
        before = progress.bytes;
      }
    });

    test("never: what is here is found, and nobody is asked for the rest", async () => {
      const reference = await harness.publish("suite/never", config);
      const error = await rejection(ensureBy(reference, "never"));
      expect(error.info).toEqual({ code: "not-here", reference });
      const image = await ensure(reference);
      expect(await ensureBy(reference, "never")).toEqual(image);
    });

    test("always: a name that has moved on is followed, and the old image stays under its digest", async () => {
      const reference = await harness.publish("suite/moving", config);
      const first = await ensure(reference);
      expect(await ensureBy(reference, "always")).toEqual(first);
      expect(await store.list()).toHaveLength(1);
      await harness.publish("suite/moving", { ...config, user: "moved" });
      expect(await ensure(reference)).toEqual(first);
      const second = await ensureBy(reference, "always");
      expect(second.config.user).toBe("moved");
      expect(await store.find(reference)).toEqual(second);
      const replaced = (await store.list()).find((image) => image.isReplaced);
      expect(replaced).toMatchObject({ digest: first.digest, layers: first.layers });
      expect((await store.find(replaced?.reference ?? ""))?.digest).toBe(first.digest);
      await harness.cutSource();
      await rejection(ensureBy(reference, "always"));
      expect(await ensure(reference)).toEqual(second);
    });

    test("an image says all that is known of it", async () => {
      const reference = await harness.publish("suite/details", config);
      const image = await ensure(reference);
      const details = await store.inspect(reference);
      expect(details).toMatchObject({ ...image, isInUse: false, isReplaced: false });
      expect(details.platform).toContain("/");
      expect(details.layerDetails.length).toBeGreaterThan(0);
      const missing = await rejection(store.inspect(harness.missingReference()));
      expect(missing.info.code).toBe("not-here");
    });

    test("a removed image is gone, and can be pulled again", async () => {
      const reference = await harness.publish("suite/removed", config);
      const image = await ensure(reference);
      const report = await store.remove(reference);
      expect(report.images).toEqual([reference]);
      expect(await store.find(reference)).toBeUndefined();
      expect(await store.list()).toEqual([]);
      expect((await rejection(store.remove(reference))).info).toEqual({ code: "not-here", reference });
      expect(await ensure(reference)).toEqual(image);
    });

    test("what is in use by name stays", async () => {
      const [used, unused] = [
        await harness.publish("suite/used", config),
        await harness.publish("suite/unused", { ...config, user: "other" }),
      ];
      const image = await ensure(used);
      await ensure(unused);
      store.protect(() => ({ references: [used, "no reference at all"], digests: [] }));
      expect((await rejection(store.remove(used))).info).toEqual({ code: "in-use", reference: used });
      expect((await store.list()).filter(({ isInUse }) => isInUse)).toHaveLength(1);
      expect((await store.prune({ all: true })).images).toEqual([unused]);
      expect(await ensure(used)).toEqual(image);
      expect((await store.list()).map(({ reference }) => reference)).toEqual([used]);
    });

    test("what is in use by digest stays when its name moves on", async () => {
      const reference = await harness.publish("suite/running", config);
      const running = await ensure(reference);
      await harness.publish("suite/running", { ...config, user: "next" });
      await ensureBy(reference, "always");
      store.protect(() => ({ references: [reference], digests: [running.digest] }));
      expect((await store.prune({ all: false })).images).toEqual([]);
      expect(await store.list()).toHaveLength(2);
      store.protect(() => ({ references: [reference], digests: [] }));
      expect((await store.prune({ all: false })).images).toHaveLength(1);
      expect((await store.list()).map((image) => image.isReplaced)).toEqual([false]);
    });

    const { signal } = new AbortController();

    /** Saves to a file, takes the image away, and gives the file to `use`. */
    async function archived(reference: string, use: (path: string) => Promise<void>): Promise<void> {
      const directory = await mkdtemp(join(tmpdir(), "muster-saved-"));
      try {
        const path = join(directory, "image.tar");
        const pieces = await Array.fromAsync(store.save([reference], { signal }));
        await Bun.write(path, Buffer.concat(pieces));
        await store.remove(reference);
        await use(path);
      } finally {
        await rm(directory, { recursive: true });
      }
    }

    test("what was saved can be loaded without the registry", async () => {
      const reference = await harness.publish("suite/saved", config);
      const image = await ensure(reference);
      await harness.cutSource();
      await archived(reference, async (path) => {
        const [loaded] = await store.load(path, { signal });
        expect(loaded).toMatchObject({ digest: image.digest, config: image.config, layers: image.layers });
        expect(await ensureBy(reference, "never")).toEqual(image);
      });
    });

    test("what is loaded can be given another name", async () => {
      const reference = await harness.publish("suite/named", config);
      const { digest } = await ensure(reference);
      await archived(reference, async (path) => {
        const name = "registry.test/other/name:7";
        expect(await store.load(path, { signal, name })).toMatchObject([{ reference: name, digest }]);
        expect(await store.find(reference)).toBeUndefined();
      });
    });

    test("what is no archive, or not here, is refused", async () => {
      const noArchive = await rejection(store.load(import.meta.path, { signal }));
      expect(noArchive.info.code).toBe("bad-archive");
      const nothing = await rejection(store.load("/nowhere/at/all", { signal }));
      expect(nothing.info.code).toBe("not-here");
      const missing = harness.missingReference();
      const unsaved = await rejection(Array.fromAsync(store.save([missing], { signal })));
      expect(unsaved.info).toEqual({ code: "not-here", reference: missing });
      expect((await rejection(store.push(missing, missing, { signal }))).info.code).toBe("not-here");
    });

    test("what was pushed under another name can be pulled under it", async () => {
      const reference = await harness.publish("suite/pushed", config);
      const image = await ensure(reference);
      const destination = reference.replace("suite/pushed", "elsewhere/copy");
      expect(await store.push(reference, destination, { signal })).toMatchObject({
        reference: destination,
        digest: image.digest,
      });
      expect(await store.find(destination)).toBeUndefined();
      expect(await ensure(destination)).toEqual({ ...image, reference: destination });
    });

    test("images survive the agent", async () => {
      const reference = await harness.publish("suite/kept", config);
      const image = await ensure(reference);
      store = await harness.reopen();
      expect(await store.find(reference)).toEqual(image);
      expect(await store.list()).toEqual([expect.objectContaining({ ...image })]);
    });
  });
}

async function rejection(attempt: Promise<unknown>): Promise<ImageError> {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof ImageError) return error;
    throw error;
  }
  throw new Error("expected an ImageError, and it succeeded");
}
