/** What every image store keeps to. An adapter's test file gives `runImageStoreSuite` a setup and nothing else. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  ImageError,
  type ImageConfig,
  type ImageStore,
  type PullProgress,
} from "../../src/ports/image-store.ts";

export interface ImageStoreHarness {
  readonly store: ImageStore;
  /** Puts an image of at least one layer where the store pulls from; the answer is its reference by tag. */
  publish(name: string, config: ImageConfig): Promise<string>;
  /** Well formed, and nothing is there. */
  missingReference(): string;
  /** Nothing can be pulled any more. */
  cutSource(): Promise<void>;
  /** What an agent that starts after a crash opens: another store over the same place. The old one is not used again. */
  reopen(): Promise<ImageStore>;
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
    let store: ImageStore;

    beforeEach(async () => {
      harness = await setup();
      store = harness.store;
    });
    afterEach(async () => {
      await harness.dispose();
    });

    const ensure = (reference: string, signal: AbortSignal = new AbortController().signal) =>
      store.ensure(reference, { signal });

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
      expect(await store.list()).toEqual([image]);
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
        before = progress.bytes;
      }
    });

    test("images survive the agent", async () => {
      const reference = await harness.publish("suite/kept", config);
      const image = await ensure(reference);
      store = await harness.reopen();
      expect(await store.find(reference)).toEqual(image);
      expect(await store.list()).toEqual([image]);
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
