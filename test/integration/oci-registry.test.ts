/** REAL: registries that lie, fail, stall, redirect or ask for a login, served on loopback by the test itself. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OciImageStoreOptions } from "../../src/adapters/images/oci/oci-image-store.ts";
import { type Image, ImageError } from "../../src/ports/image-store.ts";
import { eventually } from "../contract/eventually.ts";
import { goArchitecture, openOciStore, type OciStoreHarness } from "./oci-store-harness.ts";
import { tarArchive } from "./tar-archive.ts";

type Answer = Response | Promise<Response> | undefined;

const isSkipped = process.getuid?.() !== 0 && process.env["CI"] !== "true";
if (isSkipped) console.log("skipped: unpacking needs root");

const manifestType = "application/vnd.oci.image.manifest.v1+json";
const indexType = "application/vnd.oci.image.index.v1+json";

function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${Bun.CryptoHasher.hash("sha256", bytes, "hex")}`;
}

/** An image of one layer with one file of `fileBytes`, and all it is served as. */
function makeImage(fileBytes = 10_000, platform: object = { os: "linux", architecture: goArchitecture() }) {
  const archive = tarArchive([{ path: "file", data: crypto.getRandomValues(Buffer.alloc(fileBytes)) }]);
  const layer = Buffer.from(Bun.gzipSync(new Uint8Array(archive)));
  const config = JSON.stringify({
    ...platform,
    config: { Cmd: ["/file"] },
    rootfs: { type: "layers", diff_ids: [digestOf(archive)] },
  });
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: manifestType,
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      digest: digestOf(config),
      size: config.length,
    },
    layers: [
      {
        mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
        digest: digestOf(layer),
        size: layer.length,
      },
    ],
  });
  return { layer, config, manifest, layerDigest: digestOf(layer), configDigest: digestOf(config) };
}

describe.skipIf(isSkipped)("registries", () => {
  let harness: OciStoreHarness;
  let server: ReturnType<typeof Bun.serve> | undefined;
  let directory: string;
  let requests: Request[];
  const image = makeImage();

  beforeEach(async () => {
    requests = [];
    directory = await mkdtemp(join(tmpdir(), "muster-lying-"));
  });
  afterEach(async () => {
    await server?.stop(true);
    server = undefined;
    await harness.dispose();
    await rm(directory, { recursive: true, force: true });
  });

  /** Serves `image`; `answer` is asked first. The answer is the reference. */
  async function serve(
    answer: (path: string, request: Request) => Answer,
    options: Partial<OciImageStoreOptions> = {},
  ): Promise<string> {
    harness = await openOciStore({ attemptsMax: 3, ...options });
    server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      idleTimeout: 0,
      // One of them breaks off on purpose.
      error: () => new Response(null, { status: 500 }),
      fetch: (request) => {
        requests.push(request);
        const path = new URL(request.url).pathname.replace("/v2/lie/app", "");
        return answer(path, request) ?? honest(path);
      },
    });
    return `127.0.0.1:${server.port}/lie/app:1`;
  }

  function honest(path: string): Response {
    if (path === "/manifests/1" || path === `/manifests/${digestOf(image.manifest)}`)
      return new Response(image.manifest, { headers: { "content-type": manifestType } });
    if (path === `/blobs/${image.configDigest}`) return new Response(image.config);
    if (path === `/blobs/${image.layerDigest}`) return new Response(new Uint8Array(image.layer));
    return new Response("no", { status: 404 });
  }

  const ensure = (reference: string, signal = new AbortController().signal): Promise<Image> =>
    harness.store.ensure(reference, { signal });

  async function refusal(attempt: Promise<unknown>): Promise<ImageError> {
    const error: unknown = await attempt.then(
      () => new Error("it succeeded"),
      (reason: unknown) => reason,
    );
    if (!(error instanceof ImageError)) throw error;
    return error;
  }

  /** Nothing half done: no image, no layer, nothing in the making. */
  async function expectNothingKept(): Promise<void> {
    expect(await harness.store.list()).toEqual([]);
    expect(await readdir(join(harness.root, "layers"))).toEqual([]);
    expect(await readdir(join(harness.root, "staging"))).toEqual([]);
  }

  const isLayer = (path: string) => path === `/blobs/${image.layerDigest}`;
  const bytesOf = (buffer: Buffer) => new Response(new Uint8Array(buffer));

  test("an honest one", async () => {
    const reference = await serve(() => undefined);
    expect((await ensure(reference)).config.command).toEqual(["/file"]);
    expect((await ensure(reference)).digest).toBe(digestOf(image.manifest));
    expect(requests).toHaveLength(3);
  });

  test("two pulls at a time are one", async () => {
    const reference = await serve(() => undefined);
    const [first, second] = await Promise.all([ensure(reference), ensure(reference)]);
    expect(second).toEqual(first);
    expect(requests).toHaveLength(3);
  });

  test("what a crash left in the making is gone when the store opens, and pulls go on from there", async () => {
    const reference = await serve(() => undefined);
    const pulled = await ensure(reference);
    const leftover = join(harness.root, "staging", "unpacked");
    await mkdir(join(leftover, "half"), { recursive: true });
    await writeFile(join(harness.root, "staging", "x.part"), "half");
    let store = harness.reopen();
    expect(await store.find(reference)).toEqual(pulled);
    expect(await readdir(join(harness.root, "staging"))).toEqual([]);
    // A layer that is gone, and an index that cannot be read, cost a pull and no more.
    await rm(pulled.layers[0] ?? "", { recursive: true });
    store = harness.reopen();
    expect(await store.find(reference)).toBeUndefined();
    const { signal } = new AbortController();
    expect(await store.ensure(reference, { signal })).toEqual(pulled);
    expect(requests.filter((request) => request.url.includes("/blobs/"))).toHaveLength(2);
  });

  test("a blob that is another one of the same length", async () => {
    const flipped = Buffer.from(image.layer);
    flipped.writeUInt8(flipped.readUInt8(20) ^ 1, 20);
    const reference = await serve((path) => (isLayer(path) ? bytesOf(flipped) : undefined));
    const error = await refusal(ensure(reference));
    expect(error.info).toMatchObject({ code: "digest-mismatch", expected: image.layerDigest });
    await expectNothingKept();
  });

  test("a blob that is too short", async () => {
    const short = image.layer.subarray(0, 100);
    const reference = await serve((path) => (isLayer(path) ? bytesOf(short) : undefined));
    expect((await refusal(ensure(reference))).info.code).toBe("digest-mismatch");
    await expectNothingKept();
  });

  test("a blob without end is cut off at the first byte too many", async () => {
    let sent = 0;
    const endless = () =>
      new Response(
        new ReadableStream({
          pull(controller) {
            const piece =
              sent < image.layer.length ? image.layer.subarray(sent, sent + 4096) : Buffer.alloc(65_536);
            sent += piece.length;
            controller.enqueue(new Uint8Array(piece));
          },
        }),
      );
    const reference = await serve((path) => (isLayer(path) ? endless() : undefined));
    const error = await refusal(ensure(reference));
    expect(error.info).toMatchObject({ code: "digest-mismatch" });
    expect(error.message).toContain(`more than the declared ${image.layer.length} bytes`);
    await expectNothingKept();
  });

  test("a manifest that is not the one the digest names", async () => {
    const other = makeImage().manifest;
    const reference = await serve((path) =>
      path.startsWith("/manifests/") ? new Response(other) : undefined,
    );
    const pinned = `${reference}@${digestOf(image.manifest)}`;
    const error = await refusal(ensure(pinned));
    expect(error.info).toMatchObject({ code: "digest-mismatch", expected: digestOf(image.manifest) });
    await expectNothingKept();
  });

  test("a pinned digest that holds", async () => {
    const reference = await serve(() => undefined);
    const pinned = `${reference}@${digestOf(image.manifest)}`;
    expect((await ensure(pinned)).reference).toBe(pinned);
  });

  test("a manifest that does not end", async () => {
    const huge = () =>
      new Response(new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(65_536)) }));
    const reference = await serve((path) => (path === "/manifests/1" ? huge() : undefined));
    expect((await refusal(ensure(reference))).info.code).toBe("bad-manifest");
  });

  test.each([
    ["not JSON", "{"],
    ["schema 1", '{"schemaVersion":1,"fsLayers":[]}'],
    ["a digest that is a path", '{"config":{"digest":"sha256:../../etc","size":1},"layers":[]}'],
    ["a negative size", `{"config":{"digest":"sha256:${"a".repeat(64)}","size":-1},"layers":[]}`],
    [
      "no image",
      `{"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"sha256:${"a".repeat(64)}","size":2},"layers":[]}`,
    ],
  ])("a manifest with %s", async (_name, manifest) => {
    const reference = await serve((path) => (path === "/manifests/1" ? new Response(manifest) : undefined));
    expect((await refusal(ensure(reference))).info.code).toBe("bad-manifest");
    await expectNothingKept();
  });

  test("failures that pass are tried again, and a broken transfer goes on", async () => {
    let failures = 0;
    const ranges: (string | null)[] = [];
    const reference = await serve((path, request) => {
      if (path === "/manifests/1" && failures < 2) {
        failures += 1;
        return new Response("busy", { status: failures === 1 ? 503 : 429 });
      }
      if (!isLayer(path)) return undefined;
      const range = request.headers.get("range");
      ranges.push(range);
      if (range === null) return halfThenReset();
      const from = Number(/bytes=(\d+)-/.exec(range)?.[1]);
      const headers = { "content-range": `bytes ${from}-${image.layer.length - 1}/${image.layer.length}` };
      return new Response(new Uint8Array(image.layer.subarray(from)), { status: 206, headers });
    });
    const pulled = await ensure(reference);
    expect(pulled.layers).toHaveLength(1);
    expect(ranges).toHaveLength(2);
    expect(ranges[1]).toMatch(/^bytes=[1-9]\d*-$/);
  });

  /** Half of the layer, then the connection breaks. */
  function halfThenReset(): Response {
    let isFirst = true;
    return new Response(
      new ReadableStream({
        async pull(controller) {
          if (isFirst) controller.enqueue(new Uint8Array(image.layer.subarray(0, 5000)));
          else {
            // The first piece has to be on its way before the end of the connection overtakes it.
            await new Promise((resolve) => setTimeout(resolve, 20));
            controller.error(new Error("broken"));
          }
          isFirst = false;
        },
      }),
    );
  }

  test("failures that stay are told", async () => {
    const reference = await serve(() => new Response("down", { status: 500 }));
    const error = await refusal(ensure(reference));
    expect(error.info).toMatchObject({ code: "registry-unreachable" });
    expect(requests).toHaveLength(3);
  });

  test("nobody listens", async () => {
    harness = await openOciStore({ attemptsMax: 2 });
    const error = await refusal(ensure("127.0.0.1:1/a/b"));
    expect(error.info).toMatchObject({ code: "registry-unreachable", registry: "127.0.0.1:1" });
    expect(error.message).toContain("connection refused");
  });

  test("a registry that falls silent in the middle", async () => {
    const stall = () =>
      new Response(
        new ReadableStream({
          start: (controller) => controller.enqueue(new Uint8Array(image.layer.subarray(0, 100))),
        }),
      );
    const options = { stallTimeoutMs: 100, attemptsMax: 2 };
    const reference = await serve((path) => (isLayer(path) ? stall() : undefined), options);
    const error = await refusal(ensure(reference));
    expect(error.info.code).toBe("registry-unreachable");
    expect(error.message).toContain("silent for 0.1 s");
    await expectNothingKept();
  });

  test("a pull that is given up leaves nothing", async () => {
    const silent = () => new Response(new ReadableStream({ start: () => {} }));
    const reference = await serve((path) => (isLayer(path) ? silent() : undefined));
    const abort = new AbortController();
    const pulling = refusal(ensure(reference, abort.signal));
    await eventually("the layer is asked for", async () =>
      requests.some((request) => request.url.includes(image.layerDigest)) ? true : undefined,
    );
    abort.abort();
    expect((await pulling).info.code).toBe("failed");
    await eventually("nothing in the making", async () =>
      (await readdir(join(harness.root, "staging"))).length === 0 ? true : undefined,
    );
    await expectNothingKept();
  });

  test.each([
    ["a file", "file:///etc/passwd", "failed"],
    ["data", "data:text/plain,x", "failed"],
    ["another host without TLS", "http://192.0.2.1/x", "plain-http"],
  ])("a redirect to %s is not followed", async (_name, location, code) => {
    const redirect = () => new Response(null, { status: 307, headers: { location } });
    const reference = await serve((path) => (isLayer(path) ? redirect() : undefined));
    expect((await refusal(ensure(reference))).info).toMatchObject({ code });
    await expectNothingKept();
  });

  test("redirects in a circle end", async () => {
    const reference = await serve((_path, request) => Response.redirect(request.url, 307));
    expect((await refusal(ensure(reference))).info.code).toBe("failed");
  });

  test("a redirect to another host is followed, and gets no password", async () => {
    let seen: string | null = "never asked";
    const storage = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: (request) => {
        seen = request.headers.get("authorization");
        return bytesOf(image.layer);
      },
    });
    try {
      const reference = await serve(
        (path, request) => {
          if (request.headers.get("authorization") !== "Basic dTpw")
            return new Response("", { status: 401, headers: { "www-authenticate": "Basic realm=x" } });
          return isLayer(path) ? Response.redirect(`${storage.url}x`, 307) : undefined;
        },
        await withPassword(),
      );
      const host = reference.split("/")[0] ?? "";
      await writePasswords(host);
      expect((await ensure(reference)).layers).toHaveLength(1);
      expect(seen).toBeNull();
    } finally {
      await storage.stop(true);
    }
  });

  const configPath = () => join(directory, "docker", "config.json");
  async function withPassword(): Promise<Partial<OciImageStoreOptions>> {
    await mkdir(join(directory, "docker"));
    return { credentialsPath: configPath() };
  }
  /** u:p */
  const writePasswords = (host: string) =>
    writeFile(configPath(), JSON.stringify({ auths: { [host]: { auth: "dTpw" } } }));

  test("a token, anonymously", async () => {
    const reference = await serve((path, request) => {
      const { origin, searchParams } = new URL(request.url);
      if (path === "/token")
        return Response.json({ token: `for ${searchParams.get("service")} ${searchParams.get("scope")}` });
      if (request.headers.get("authorization") === "Bearer for reg.test repository:lie/app:pull")
        return undefined;
      const challenge = `Bearer realm="${origin}/token",service="reg.test",scope="repository:lie/app:pull"`;
      return new Response("", { status: 401, headers: { "www-authenticate": challenge } });
    });
    expect((await ensure(reference)).layers).toHaveLength(1);
    expect(requests.filter((request) => request.url.includes("/token"))).toHaveLength(1);
  });

  test("a login that is refused, or wanted where it is not safe", async () => {
    let realm = "http://192.0.2.1/token";
    const reference = await serve((path) => {
      if (path === "/token") return new Response("", { status: 401 });
      return new Response("", { status: 401, headers: { "www-authenticate": `Bearer realm="${realm}"` } });
    });
    expect((await refusal(ensure(reference))).info.code).toBe("plain-http");
    realm = `http://${reference.split("/")[0]}/token`;
    const error = await refusal(ensure(reference));
    expect(error.info).toEqual({ code: "unauthorized", reference });
  });

  test("an index: the platform's manifest is chosen, or those there are are named", async () => {
    let architecture = goArchitecture();
    const entry = (arch: string, digest: string) => ({
      mediaType: manifestType,
      digest,
      size: image.manifest.length,
      platform: { os: "linux", architecture: arch },
    });
    const reference = await serve((path) => {
      if (path !== "/manifests/1") return undefined;
      const manifests = [
        entry("s390x", `sha256:${"1".repeat(64)}`),
        entry(architecture, digestOf(image.manifest)),
        {
          ...entry("unknown", `sha256:${"2".repeat(64)}`),
          platform: { os: "unknown", architecture: "unknown" },
        },
      ];
      return Response.json({ schemaVersion: 2, mediaType: indexType, manifests });
    });
    expect((await ensure(reference)).digest).toBe(digestOf(image.manifest));
    architecture = "riscv64";
    const second = await openOciStore();
    try {
      const error = await refusal(second.store.ensure(reference, { signal: new AbortController().signal }));
      expect(error.info).toMatchObject({ code: "no-platform", offered: ["linux/s390x", "linux/riscv64"] });
    } finally {
      await second.dispose();
    }
  });

  test("TLS is not given up for a host that is not exempt, and the option is named", async () => {
    const reference = await serve(() => undefined);
    const port = server?.port ?? 0;
    const named = reference.replace("127.0.0.1", "localtest.invalid");
    expect((await refusal(ensure(named))).info.code).toBe("registry-unreachable");
    // 0.0.0.0 reaches this machine and is no loopback name.
    const error = await refusal(ensure(`0.0.0.0:${port}/lie/app:1`));
    expect(error.info).toEqual({ code: "plain-http", registry: `0.0.0.0:${port}` });
    expect(error.message).toContain("plainHttpRegistries");
    const exempt = await openOciStore({ plainHttpRegistries: [`0.0.0.0:${port}`] });
    try {
      const { signal } = new AbortController();
      expect((await exempt.store.ensure(`0.0.0.0:${port}/lie/app:1`, { signal })).layers).toHaveLength(1);
    } finally {
      await exempt.dispose();
    }
  });
});
