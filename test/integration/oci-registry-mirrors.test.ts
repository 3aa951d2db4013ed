/** REAL: mirrors, logins that cannot be used, many layers, sizes that lie: served on loopback by the test itself. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OciImageStoreOptions } from "../../src/adapters/images/oci/oci-image-store.ts";
import { KernelMounts } from "../../src/adapters/runtimes/oci/kernel-mounts.ts";
import { mountOverlay } from "../../src/adapters/runtimes/oci/overlay.ts";
import { ImageError } from "../../src/ports/image-store.ts";
import { openOciStore, type OciStoreHarness } from "./oci-store-harness.ts";
import { type ImageServer, serveImage, startImageServer } from "./served-image.ts";

const isSkipped = process.getuid?.() !== 0 && process.env["CI"] !== "true";
if (isSkipped) console.log("skipped: unpacking needs root");

const { signal } = new AbortController();

describe.skipIf(isSkipped)("registries and their mirrors", () => {
  let directory: string;
  let harness: OciStoreHarness | undefined;
  const servers: ImageServer[] = [];
  const image = serveImage([[{ path: "file", data: crypto.getRandomValues(Buffer.alloc(50_000)) }]]);

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "muster-mirrors-"));
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.stop();
    await harness?.dispose();
    await rm(directory, { recursive: true, force: true });
  });

  function serve(...args: Parameters<typeof startImageServer>): ImageServer {
    const server = startImageServer(...args);
    servers.push(server);
    return server;
  }

  async function open(options: Partial<OciImageStoreOptions>): Promise<OciStoreHarness> {
    harness = await openOciStore({ attemptsMax: 2, ...options });
    return harness;
  }

  async function refusal(attempt: Promise<unknown>): Promise<ImageError> {
    const error: unknown = await attempt.catch((reason: unknown) => reason);
    if (!(error instanceof ImageError)) throw new Error(`no ImageError: ${String(error)}`);
    return error;
  }

  test("a mirror is asked first, and the registry is left alone", async () => {
    const mirror = serve(image);
    const { store } = await open({ mirrors: { "docker.io": [mirror.host] } });
    const pulled = await store.ensure("app:1", { signal });
    expect(pulled).toMatchObject({ reference: "app:1", digest: image.digest });
    expect(mirror.asked[0]).toBe("GET /v2/library/app/manifests/1");
    expect(await store.ensure("app:1", { signal, pull: "always" })).toEqual(pulled);
    expect(mirror.asked.at(-1)).toBe("HEAD /v2/library/app/manifests/1");
  });

  test.each([
    ["is down", () => new Response("down", { status: 503 })],
    ["does not have it", () => new Response("no", { status: 404 })],
    ["wants a login", () => new Response("no", { status: 401 })],
  ])("a mirror that %s is passed over", async (_name, answer) => {
    const mirror = serve(image, answer);
    const registry = serve(image);
    const { store } = await open({ mirrors: { [registry.host]: ["127.0.0.1:1", mirror.host] } });
    expect((await store.ensure(`${registry.host}/app:1`, { signal })).digest).toBe(image.digest);
    expect(mirror.asked.length).toBeGreaterThan(0);
  });

  test("a mirror that breaks off in the middle, and one that lies: the registry makes it whole", async () => {
    const endless = (path: string): Response | undefined =>
      path.includes("/blobs/")
        ? new Response(new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(65_536)) }))
        : undefined;
    const mirror = serve(image, endless);
    const registry = serve(image);
    const { store } = await open({ mirrors: { [registry.host]: [mirror.host] } });
    const pulled = await store.ensure(`${registry.host}/app:1`, { signal });
    expect(await readFile(join(pulled.layers[0] ?? "", "file"))).toHaveLength(50_000);
  });

  test("a registry that is called like a thing of the language is a registry like any other", async () => {
    const { store } = await open({ credentialsPath: join(directory, "none.json"), attemptsMax: 1 });
    const error = await refusal(store.ensure("toString/app:1", { signal }));
    expect(error.info.code).toBe("registry-unreachable");
  });

  test("a login that only a helper knows is told, with the helper's name", async () => {
    const registry = serve(image, () => new Response("", { status: 401 }));
    const credentialsPath = join(directory, "config.json");
    const { store } = await open({ credentialsPath });
    const told = async (config: object): Promise<string> => {
      await writeFile(credentialsPath, JSON.stringify(config));
      const error = await refusal(store.ensure(`${registry.host}/app:1`, { signal }));
      expect(error.info.code).toBe("unauthorized");
      return error.message;
    };
    const { host } = registry;
    expect(await told({ credsStore: "desktop" })).toContain("docker-credential-desktop");
    expect(await told({ credsStore: "a", credHelpers: { [host]: "ecr" } })).toContain(
      "docker-credential-ecr",
    );
    expect(await told({ auths: { [host]: { identitytoken: "secret-token" } } })).toContain("identity token");
    expect(await told({ auths: { [host]: { identitytoken: "secret-token" } } })).not.toContain(
      "secret-token",
    );
    expect(await told({ auths: {} })).toContain("docker login");
  });

  test("a manifest that says it has a gigabyte is not waited for", async () => {
    const gigabyte = 2 ** 30;
    const huge = (path: string): Response | undefined =>
      path.includes("/manifests/")
        ? new Response(new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(1 << 20)) }), {
            headers: { "content-length": `${gigabyte}` },
          })
        : undefined;
    const registry = serve(image, huge);
    const { store } = await open({});
    const before = process.memoryUsage.rss();
    const error = await refusal(store.ensure(`${registry.host}/app:1`, { signal }));
    expect(error.info.code).toBe("bad-manifest");
    expect(process.memoryUsage.rss() - before).toBeLessThan(gigabyte / 4);
  });

  test("a layer that is longer or shorter than it says", async () => {
    const [layer = ""] = image.layerDigests;
    const bytes = image.blobs.get(layer) ?? new Uint8Array(0);
    for (const lie of [Buffer.concat([bytes, Buffer.alloc(1)]), bytes.slice(0, -1)]) {
      const registry = serve(image, (path) =>
        path.endsWith(layer) ? new Response(new Uint8Array(lie)) : undefined,
      );
      const opened = await open({});
      const error = await refusal(opened.store.ensure(`${registry.host}/app:1`, { signal }));
      expect(error.info.code).toBe("digest-mismatch");
      expect(await readdir(join(opened.root, "layers"))).toEqual([]);
      await opened.dispose();
    }
  });

  test("a bomb: little to transfer, much to unpack", async () => {
    const registry = serve(serveImage([[{ path: "zeros", data: Buffer.alloc(30_000_000) }]]));
    const { store, root } = await open({ layerBytesMax: 1_000_000 });
    const error = await refusal(store.ensure(`${registry.host}/app:1`, { signal }));
    expect(error.info).toMatchObject({ code: "bad-archive", entry: "zeros" });
    expect(await readdir(join(root, "layers"))).toEqual([]);
    expect(await readdir(join(root, "staging"))).toEqual([]);
  });

  test("two hundred layers are pulled, and mounted in their order", async () => {
    const count = 200;
    const many = serveImage(
      Array.from({ length: count }, (_, at) => [
        { path: `own-${at}`, data: `${at}` },
        { path: "last", data: `written by ${at}` },
      ]),
    );
    const registry = serve(many);
    const { store } = await open({});
    const { layers } = await store.ensure(`${registry.host}/many:1`, { signal });
    expect(layers).toHaveLength(count);
    const [upper, work, target] = ["upper", "work", "merged"].map((name) => join(directory, name));
    for (const path of [upper, work, target]) await mkdir(path ?? "");
    const mounts = new KernelMounts();
    try {
      mountOverlay(mounts, target ?? "", { layers, upper: upper ?? "", work: work ?? "" });
      expect(await readFile(join(target ?? "", "last"), "utf8")).toBe(`written by ${count - 1}`);
      expect((await readdir(target ?? "")).length).toBe(count + 1);
    } finally {
      mounts.unmount(target ?? "");
      mounts.close();
    }
  });

  test("images are removed while others with the same layers are pulled: nothing is missing in the end", async () => {
    const entries = (at: number) => [
      { path: `file-${at}`, data: crypto.getRandomValues(Buffer.alloc(20_000)) },
    ];
    const shared = entries(0);
    const images = [1, 2, 3].map((at) => serveImage([shared, entries(at)]));
    const hosts = images.map((one) => serve(one).host);
    const { store } = await open({});
    for (let round = 0; round < 10; round += 1) {
      const pulls = hosts.map((host) => store.ensure(`${host}/app:1`, { signal }));
      const prunes = [store.prune({ all: true }), store.prune({ all: true }), store.prune({ all: true })];
      await Promise.all([...pulls, ...prunes]);
      for (const kept of await store.list())
        for (const layer of kept.layers) expect(existsSync(layer)).toBe(true);
      await store.prune({ all: true });
    }
    const root = harness?.root ?? "";
    expect(await readdir(join(root, "layers"))).toEqual([]);
    expect(await readdir(join(root, "blobs/sha256"))).toEqual([]);
    expect(await readdir(join(root, "staging"))).toEqual([]);
  });
});
