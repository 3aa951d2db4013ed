/** REAL: archives and pushes beside skopeo and umoci: what they write is read, what is written they read. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Image, ImageError } from "../../src/ports/image-store.ts";
import { goArchitecture, openOciStore, type OciStoreHarness } from "./oci-store-harness.ts";
import {
  buildBusyboxImage,
  missingImageTools,
  pushLayout,
  run,
  startRegistry,
  type TestRegistry,
} from "./registry.ts";

const missing = missingImageTools();
const isSkipped = missing.length > 0 && process.env["CI"] !== "true";
if (isSkipped) console.log(`skipped: archives beside skopeo and umoci need ${missing.join(", ")}`);

const { signal } = new AbortController();

describe.skipIf(isSkipped)("archives", () => {
  let directory: string;
  let layout: string;
  let harness: OciStoreHarness;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "muster-archives-"));
    layout = join(directory, "oci");
    harness = await openOciStore();
    await buildBusyboxImage(directory, layout, "1");
    const tree = join(directory, "tree");
    await mkdir(tree);
    await writeFile(join(tree, "hello"), crypto.getRandomValues(Buffer.alloc(100_000)));
    await run("umoci", "insert", "--image", `${layout}:1`, tree, "/data");
    await run("umoci", "config", "--image", `${layout}:1`, "--config.cmd", "/bin/sh", "--config.user", "app");
  });
  afterEach(async () => {
    await harness.dispose();
    await rm(directory, { recursive: true, force: true });
  });

  const name = "registry.test/team/app:3";
  const load = async (path: string, as?: string): Promise<Image> => {
    const images = await harness.store.load(path, { signal, ...(as === undefined ? {} : { name: as }) });
    expect(images).toHaveLength(1);
    const [image] = images;
    if (image === undefined) throw new Error("nothing was loaded");
    return image;
  };
  const skopeo = (from: string, to: string) => run("skopeo", "copy", "--quiet", from, to);

  async function refusal(attempt: Promise<unknown>): Promise<ImageError> {
    const error: unknown = await attempt.catch((reason: unknown) => reason);
    if (!(error instanceof ImageError)) throw new Error(`no ImageError: ${String(error)}`);
    return error;
  }

  test("every form holds the same image", async () => {
    const first = await load(layout, name);
    expect(first.layers).toHaveLength(2);
    expect(first.config).toMatchObject({ command: ["/bin/sh"], user: "app" });
    const tar = join(directory, "oci.tar");
    await skopeo(`oci:${layout}:1`, `oci-archive:${tar}:${name}`);
    const docker = join(directory, "docker.tar");
    await skopeo(`oci:${layout}:1`, `docker-archive:${docker}:${name}`);
    const plain = await Bun.file(docker).bytes();
    await writeFile(`${docker}.gz`, Bun.gzipSync(plain));
    await writeFile(`${docker}.zst`, Bun.zstdCompressSync(plain));
    for (const path of [tar, docker, `${docker}.gz`, `${docker}.zst`]) {
      await harness.store.remove(name);
      const image = await load(path);
      expect(image.reference).toBe(name);
      expect(image.layers).toEqual(first.layers);
      expect(image.config).toEqual(first.config);
    }
    expect(await readdir(join(harness.root, "staging"))).toEqual([]);
  });

  test("the archives of older docker versions, with links between layers", async () => {
    const docker = join(directory, "docker.tar");
    await skopeo(`oci:${layout}:1`, `docker-archive:${docker}:${name}`);
    const unpacked = join(directory, "docker");
    await mkdir(unpacked);
    await run("tar", "-C", unpacked, "-xf", docker);
    // skopeo writes for each layer a file by its digest and a link to it by the older scheme.
    const manifest = await Bun.file(join(unpacked, "manifest.json")).json();
    const links = (await readdir(unpacked)).filter((one) => /^[0-9a-f]{64}$/.test(one));
    expect(links).toHaveLength(manifest[0].Layers.length);
    const bySize = await Promise.all(
      links.map(async (one) => ({ one, bytes: await Bun.file(join(unpacked, one, "layer.tar")).bytes() })),
    );
    manifest[0].Layers = await Promise.all(
      manifest[0].Layers.map(async (file: string) => {
        const bytes = await Bun.file(join(unpacked, file)).bytes();
        return `${bySize.find((entry) => Bun.deepEquals(entry.bytes, bytes))?.one}/layer.tar`;
      }),
    );
    await writeFile(join(unpacked, "manifest.json"), JSON.stringify(manifest));
    const old = join(directory, "old.tar");
    await run("tar", "-C", unpacked, "-cf", old, ".");
    expect((await load(old)).layers).toEqual((await load(layout, "other.test/app:1")).layers);
  });

  test("an archive that does not say its name needs one", async () => {
    const error = await refusal(harness.store.load(layout, { signal }));
    expect(error.info.code).toBe("bad-reference");
    expect(error.message).toContain("--name");
    expect((await load(layout, "registry.test/app")).reference).toBe("registry.test/app:1");
  });

  test("what is saved, skopeo and umoci read", async () => {
    const image = await load(layout, name);
    const path = join(directory, "saved.tar");
    await Bun.write(path, Buffer.concat(await Array.fromAsync(harness.store.save([name], { signal }))));
    const again = join(directory, "again");
    await skopeo(`oci-archive:${path}:3`, `oci:${again}:1`);
    const raw = await run("skopeo", "inspect", "--raw", `oci:${again}:1`);
    expect(`sha256:${Bun.CryptoHasher.hash("sha256", raw, "hex")}`).toBe(image.digest);
    await run("umoci", "unpack", "--image", `${again}:1`, join(directory, "bundle"));
    // By the list that "docker load" reads.
    const asDocker = join(directory, "as-docker");
    await skopeo(`docker-archive:${path}:${name}`, `oci:${asDocker}:1`);
    expect((await load(asDocker, "registry.test/as/docker:1")).layers).toEqual(image.layers);
    await run("tar", "-tf", path);
  });

  test("images that share layers are saved with each blob once", async () => {
    await load(layout, name);
    await run("umoci", "config", "--image", `${layout}:1`, "--config.cmd", "/bin/other");
    await load(layout, "registry.test/team/other:1");
    const path = join(directory, "both.tar");
    const pieces = harness.store.save([name, "registry.test/team/other:1"], { signal });
    await Bun.write(path, Buffer.concat(await Array.fromAsync(pieces)));
    const entries = (await run("tar", "-tf", path)).trim().split("\n");
    expect(new Set(entries).size).toBe(entries.length);
    expect(entries.filter((entry) => entry.startsWith("blobs/"))).toHaveLength(2 + 2 + 2);
    await harness.store.prune({ all: true });
    const loaded = await harness.store.load(path, { signal });
    expect(loaded.map(({ reference }) => reference)).toEqual([name, "registry.test/team/other:1"]);
  });

  test("an archive that lies is refused, and nothing of it is kept", async () => {
    const blobs = join(layout, "blobs/sha256");
    const sizes = await Promise.all(
      (await readdir(blobs)).map(async (one) => ({
        one,
        size: (await Bun.file(join(blobs, one)).stat()).size,
      })),
    );
    const largest = sizes.toSorted((a, b) => b.size - a.size)[0]?.one ?? "";
    const bytes = await Bun.file(join(blobs, largest)).bytes();
    bytes[1000] = (bytes[1000] ?? 0) ^ 1;
    await writeFile(join(blobs, largest), bytes);
    expect((await refusal(load(layout, name))).info.code).toBe("digest-mismatch");
    await writeFile(join(blobs, largest), bytes.subarray(0, 5000));
    expect((await refusal(load(layout, name))).info.code).toBe("digest-mismatch");
    await rm(join(blobs, largest));
    expect((await refusal(load(layout, name))).info).toMatchObject({ code: "bad-archive" });
    expect(await harness.store.list()).toEqual([]);
    expect(await readdir(join(harness.root, "staging"))).toEqual([]);
  });

  test("an archive that names files outside of itself does not get them", async () => {
    const outside = join(directory, "outside.json");
    const hostile = join(directory, "hostile");
    await mkdir(hostile);
    await writeFile(outside, JSON.stringify({ os: "linux", architecture: goArchitecture(), rootfs: {} }));
    await symlink(outside, join(hostile, "link.json"));
    for (const Config of ["../outside.json", outside, "link.json"]) {
      await writeFile(join(hostile, "manifest.json"), JSON.stringify([{ Config, Layers: [] }]));
      const error = await refusal(load(hostile, name));
      expect(error.info.code).toBe("bad-archive");
      expect(error.message).toContain("missing");
    }
  });

  test("what is no archive says so", async () => {
    const path = join(directory, "no.tar");
    for (const content of ["", "hello", Bun.gzipSync("hello"), Buffer.from("1f8b0800deadbeef", "hex")]) {
      await writeFile(path, content);
      expect((await refusal(load(path, name))).info.code).toBe("bad-archive");
    }
    await run("tar", "-C", directory, "-cf", path, "tree");
    const error = await refusal(load(path, name));
    expect(error.message).toContain("neither");
    expect((await refusal(load("/dev/zero", name))).info.code).toBe("bad-archive");
    expect((await refusal(load(join(directory, "tree"), name))).info.code).toBe("bad-archive");
  });
});

describe.skipIf(isSkipped)("pushes", () => {
  let directory: string;
  let registry: TestRegistry;
  let harness: OciStoreHarness;
  let proxy: ReturnType<typeof Bun.serve> | undefined;
  let seen: { readonly method: string; readonly path: string; readonly status: number }[];

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "muster-pushes-"));
    registry = await startRegistry();
    harness = await openOciStore({ uploadChunkBytes: 200_000 });
    seen = [];
    proxy = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: async (request) => {
        const { pathname, search, host } = new URL(request.url);
        const headers = new Headers(request.headers);
        headers.set("host", host);
        const body = await request.arrayBuffer();
        const response = await fetch(`http://${registry.host}${pathname}${search}`, {
          method: request.method,
          headers,
          redirect: "manual",
          ...(body.byteLength === 0 ? {} : { body }),
        });
        seen.push({ method: request.method, path: pathname + search, status: response.status });
        return new Response(request.method === "HEAD" ? null : await response.arrayBuffer(), response);
      },
    });
  });
  afterEach(async () => {
    await proxy?.stop(true);
    await registry.stop();
    await harness.dispose();
    await rm(directory, { recursive: true, force: true });
  });

  const uploads = () => seen.filter(({ method }) => method === "PUT" || method === "PATCH");

  /** An image of a large and a small layer, on the node and nowhere else. */
  async function makeImage(name: string): Promise<Image> {
    const layout = join(directory, "oci");
    await buildBusyboxImage(directory, layout, "1");
    const tree = join(directory, "tree");
    await mkdir(tree);
    await writeFile(join(tree, "small"), "small");
    await run("umoci", "insert", "--image", `${layout}:1`, tree, "/data");
    const [image] = await harness.store.load(layout, { signal, name });
    if (image === undefined) throw new Error("nothing was loaded");
    return image;
  }

  test("in pieces and whole; again, nothing is sent but the manifest", async () => {
    const host = `127.0.0.1:${proxy?.port}`;
    const image = await makeImage("local.test/app:1");
    const progress: number[] = [];
    const onProgress = ({ bytes }: { readonly bytes: number }) => progress.push(bytes);
    await harness.store.push("local.test/app:1", `${host}/pushed/app:2`, { signal, onProgress });
    expect(uploads().filter(({ method }) => method === "PATCH").length).toBeGreaterThan(1);
    expect(uploads().every(({ status }) => status < 300)).toBe(true);
    expect(progress).toEqual(progress.toSorted((a, b) => a - b));
    const raw = await run(
      "skopeo",
      "inspect",
      "--raw",
      "--tls-verify=false",
      `docker://${registry.host}/pushed/app:2`,
    );
    expect(`sha256:${Bun.CryptoHasher.hash("sha256", raw, "hex")}`).toBe(image.digest);
    seen.length = 0;
    await harness.store.push("local.test/app:1", `${host}/pushed/app:3`, { signal });
    expect(uploads().map(({ method, path }) => `${method} ${path}`)).toEqual([
      "PUT /v2/pushed/app/manifests/3",
    ]);
    expect((await harness.store.ensure(`${registry.host}/pushed/app:3`, { signal })).digest).toBe(
      image.digest,
    );
  });

  test("blobs that another repository of the registry has are taken from there", async () => {
    const host = `127.0.0.1:${proxy?.port}`;
    await makeImage("local.test/app:1");
    await harness.store.push("local.test/app:1", `${host}/first/app:1`, { signal });
    await harness.store.ensure(`${host}/first/app:1`, { signal });
    seen.length = 0;
    await harness.store.push("local.test/app:1", `${host}/second/app:1`, { signal });
    expect(seen.filter(({ path }) => path.includes("mount=")).map(({ status }) => status)).toEqual([
      201, 201, 201,
    ]);
    expect(uploads()).toHaveLength(1);
  });

  test("a push to a digest that is another one's, or to nobody, is refused", async () => {
    await makeImage("local.test/app:1");
    const other = `${registry.host}/app@sha256:${"a".repeat(64)}`;
    const push = (to: string) => harness.store.push("local.test/app:1", to, { signal });
    expect(await push(other).catch((error: unknown) => error)).toMatchObject({
      info: { code: "bad-reference" },
    });
    await registry.stop();
    const patient = await openOciStore({ attemptsMax: 2 });
    try {
      await patient.store.load(join(directory, "oci"), { signal, name: "local.test/app:1" });
      const error = await patient.store
        .push("local.test/app:1", `${registry.host}/app:1`, { signal })
        .catch((reason: unknown) => reason);
      expect(error).toMatchObject({ info: { code: "registry-unreachable" } });
    } finally {
      await patient.dispose();
    }
  });

  test("an index of several platforms, and a name that has not moved is not pulled again", async () => {
    const host = `127.0.0.1:${proxy?.port}`;
    const layout = join(directory, "oci");
    await buildBusyboxImage(directory, layout, "1");
    await pushLayout(layout, "1", `${registry.host}/multi/app:own`);
    await run("umoci", "config", "--image", `${layout}:1`, "--architecture", "s390x");
    await pushLayout(layout, "1", `${registry.host}/multi/app:other`);
    const type = "application/vnd.oci.image.manifest.v1+json";
    const describe = async (tag: string, architecture: string) => {
      const response = await fetch(`http://${registry.host}/v2/multi/app/manifests/${tag}`, {
        headers: { accept: type },
      });
      const bytes = await response.bytes();
      const digest = `sha256:${Bun.CryptoHasher.hash("sha256", bytes, "hex")}`;
      return { mediaType: type, digest, size: bytes.length, platform: { os: "linux", architecture } };
    };
    const own = await describe("own", goArchitecture());
    const index = {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [await describe("other", "s390x"), own],
    };
    const put = await fetch(`http://${registry.host}/v2/multi/app/manifests/all`, {
      method: "PUT",
      headers: { "content-type": index.mediaType },
      body: JSON.stringify(index),
    });
    expect(put.status).toBe(201);
    const reference = `${host}/multi/app:all`;
    expect((await harness.store.ensure(reference, { signal })).digest).toBe(own.digest);
    seen.length = 0;
    await harness.store.ensure(reference, { signal, pull: "always" });
    expect(seen.map(({ method, path }) => `${method} ${path}`)).toEqual(["HEAD /v2/multi/app/manifests/all"]);
  });
});

test.skipIf(isSkipped)("a loaded image needs its archive no more", async () => {
  const directory = await mkdtemp(join(tmpdir(), "muster-archive-copy-"));
  const harness = await openOciStore();
  try {
    const layout = join(directory, "oci");
    await buildBusyboxImage(directory, layout, "1");
    await harness.store.load(layout, { signal, name: "local.test/app:1" });
    await rm(layout, { recursive: true });
    const [layer = ""] = (await harness.store.ensure("local.test/app:1", { signal, pull: "never" })).layers;
    expect(await Bun.file(join(layer, "bin/busybox")).bytes()).toEqual(
      await Bun.file("/bin/busybox").bytes(),
    );
  } finally {
    await harness.dispose();
    await rm(directory, { recursive: true, force: true });
  }
});
