/** A node's images over a store in memory: what its book keeps, what users are told, what giving up does. */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  MemoryImageStore,
  type MemoryImages,
  MemoryRegistry,
} from "../../src/adapters/images/memory-image-store.ts";
import { SystemClock } from "../../src/adapters/system/system-clock.ts";
import { ProblemError, type ProblemCode } from "../../src/model/problem.ts";
import { singleContainer } from "../../src/model/template.ts";
import { type ImageEvent, NodeImages, type NodeImagesPorts } from "../../src/node/node-images.ts";
import type { ImageConfig } from "../../src/ports/image-store.ts";

const config: ImageConfig = { entrypoint: [], command: [], env: [], workingDirectory: "", user: "" };

function open(book: NodeImagesPorts["book"] = { entries: () => [] }) {
  const registry = new MemoryRegistry();
  const images: MemoryImages = new Map();
  const store = new MemoryImageStore({ registry, images });
  const node = new NodeImages({ images: store, clock: new SystemClock(), book });
  node.start();
  return { registry, store, node };
}

async function codeOf(work: Promise<unknown>): Promise<ProblemCode | undefined> {
  const error: unknown = await work.catch((reason: unknown) => reason);
  return error instanceof ProblemError ? error.problem.code : undefined;
}

const all = (events: AsyncIterable<ImageEvent>): Promise<ImageEvent[]> => Array.fromAsync(events);

test("what promises name and what their containers run stays", async () => {
  const digests: string[] = [];
  const terms = {
    id: "p",
    group: "g",
    deployment: "d",
    namespace: "default",
    name: "web",
    epoch: 1,
    replica: 0,
    templateHash: "",
    template: singleContainer({ image: "registry.test/promised:1" }),
  };
  const { registry, node } = open({
    entries: () => [{ terms, containers: digests.map((imageDigest) => ({ imageDigest })) }],
  });
  for (const [name, user] of [
    ["promised", "a"],
    ["running", "b"],
    ["unused", "c"],
  ]) {
    registry.publish(`registry.test/${name}:1`, { ...config, user: user ?? "" });
    await all(node.pull(`registry.test/${name}:1`, { pull: "always" }));
  }
  digests.push((await node.inspect("registry.test/running:1")).digest);
  expect(await codeOf(node.remove("registry.test/promised:1"))).toBe("conflict");
  expect((await node.prune({ all: true })).images).toEqual(["registry.test/unused:1"]);
  expect((await node.list()).every(({ isInUse }) => isInUse)).toBe(true);
  digests.pop();
  expect((await node.prune({ all: true })).images).toEqual(["registry.test/running:1"]);
});

test("failures are problems that say what to do", async () => {
  const { registry, node } = open();
  expect(await codeOf(all(node.pull("registry.test/none:1", { pull: "missing" })))).toBe("not-found");
  expect(await codeOf(all(node.pull("registry.test/none:1", { pull: "never" })))).toBe("not-found");
  expect(await codeOf(all(node.pull("NOT AN IMAGE", { pull: "missing" })))).toBe("invalid-request");
  expect(await codeOf(node.inspect("registry.test/none:1"))).toBe("not-found");
  expect(await codeOf(Array.fromAsync(node.save(["registry.test/none:1"])))).toBe("not-found");
  expect(await codeOf(all(node.load("/nowhere", {})))).toBe("not-found");
  registry.isReachable = false;
  const attempt = all(node.pull("registry.test/none:1", { pull: "missing" }));
  const error: unknown = await attempt.catch((reason: unknown) => reason);
  expect(error).toMatchObject({ problem: { code: "image-failed", next: expect.any(String) } });
});

test("an image goes out and comes back", async () => {
  const { registry, node } = open();
  registry.publish("registry.test/app:1", config);
  const [last] = (await all(node.pull("registry.test/app:1", { pull: "missing" }))).toReversed();
  expect(last).toMatchObject({ kind: "done", image: { reference: "registry.test/app:1" } });
  const directory = await mkdtemp(join(tmpdir(), "muster-node-images-"));
  try {
    const path = join(directory, "archive");
    await Bun.write(path, Buffer.concat(await Array.fromAsync(node.save(["registry.test/app:1"]))));
    const loaded = await all(node.load(path, { name: "registry.test/again:1" }));
    expect(loaded).toMatchObject([{ kind: "done", image: { reference: "registry.test/again:1" } }]);
  } finally {
    await rm(directory, { recursive: true });
  }
  await all(node.push("registry.test/again:1", "registry.test/pushed:1"));
  expect(registry.pull("registry.test/pushed:1")).toEqual(config);
});

test("who stops listening gives the work up; how far it is comes at the reader's pace", async () => {
  const { store } = open();
  const given = Promise.withResolvers<AbortSignal>();
  store.ensure = (_reference, { signal, onProgress }) => {
    given.resolve(signal);
    for (let bytes = 1; bytes <= 1000; bytes += 1)
      onProgress?.({ bytes, bytesTotal: 1000, layersDone: 0, layersTotal: 1 });
    return new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => reject(new Error("given up")));
    });
  };
  const node = new NodeImages({ images: store, clock: new SystemClock(), book: { entries: () => [] } });
  const events = node.pull("registry.test/app:1", { pull: "always" });
  const { value } = await events.next();
  expect(value).toMatchObject({ kind: "progress", progress: { bytes: 1000 } });
  await events.return(undefined);
  expect((await given.promise).aborted).toBe(true);
});
