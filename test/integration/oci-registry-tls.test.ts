/** REAL: registries behind TLS of an authority nobody knows, as companies have them; certificates made by openssl. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ImageError } from "../../src/ports/image-store.ts";
import { openOciStore } from "./oci-store-harness.ts";
import { run } from "./registry.ts";
import { serveImage } from "./served-image.ts";

const needs = Bun.which("openssl") !== null && process.getuid?.() === 0;
const isSkipped = !needs && process.env["CI"] !== "true";
if (isSkipped) console.log("skipped: certificates need openssl, unpacking needs root");

const { signal } = new AbortController();
const image = serveImage([[{ path: "file", data: "content" }]]);
let directory = "";

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "muster-tls-"));
  if (isSkipped) return;
  await makeAuthority("server");
  await makeAuthority("client");
});
afterAll(() => rm(directory, { recursive: true }));

const at = (name: string): string => join(directory, name);

/** `NAME-ca.crt`, and `NAME.crt` with `NAME.key` signed by it for this machine. */
async function makeAuthority(name: string): Promise<void> {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"];
  const authority = ["-keyout", at(`${name}-ca.key`), "-out", at(`${name}-ca.crt`), "-subj", `/CN=${name}s`];
  await run("openssl", "req", "-x509", ...key, "-days", "2", ...authority);
  const request = ["-keyout", at(`${name}.key`), "-out", at(`${name}.csr`), "-subj", `/CN=${name}`];
  await run("openssl", "req", ...key, ...request);
  await writeFile(at("ext"), "subjectAltName=IP:0.0.0.0\n");
  const signer = ["-CA", at(`${name}-ca.crt`), "-CAkey", at(`${name}-ca.key`), "-CAcreateserial"];
  const out = ["-days", "2", "-extfile", at("ext"), "-out", at(`${name}.crt`)];
  await run("openssl", "x509", "-req", "-in", at(`${name}.csr`), ...signer, ...out);
}

async function serve(isClientAsked: boolean) {
  return Bun.serve({
    // Reaches this machine and is no name of loopback, which is spoken to without TLS.
    hostname: "0.0.0.0",
    port: 0,
    tls: {
      cert: await readFile(at("server.crt"), "utf8"),
      key: await readFile(at("server.key"), "utf8"),
      ...(isClientAsked
        ? { ca: await readFile(at("client-ca.crt"), "utf8"), requestCert: true, rejectUnauthorized: true }
        : {}),
    },
    fetch: (request) => {
      const { pathname } = new URL(request.url);
      if (pathname.includes("/manifests/")) return new Response(image.manifest);
      return new Response(
        new Uint8Array(image.blobs.get(pathname.slice(pathname.lastIndexOf("/") + 1)) ?? []),
      );
    },
  });
}

test.skipIf(isSkipped)(
  "an authority of its own in the registry's directory is trusted for that registry",
  async () => {
    const server = await serve(false);
    const certificatesDirectory = at("certs.d");
    const harness = await openOciStore({ certificatesDirectory, attemptsMax: 2 });
    const host = `0.0.0.0:${server.port}`;
    const pull = () => harness.store.ensure(`${host}/app:1`, { signal });
    try {
      const error: unknown = await pull().catch((reason: unknown) => reason);
      if (!(error instanceof ImageError)) throw new Error(`no ImageError: ${String(error)}`);
      expect(error.info.code).toBe("registry-unreachable");
      expect(error.message).toContain(`/etc/docker/certs.d/${host}/ca.crt`);
      await mkdir(join(certificatesDirectory, host), { recursive: true });
      await writeFile(join(certificatesDirectory, host, "ca.crt"), await readFile(at("server-ca.crt")));
      expect((await pull()).digest).toBe(image.digest);
    } finally {
      await server.stop(true);
      await harness.dispose();
    }
  },
);

test.skipIf(isSkipped)("a registry that wants to know its client is shown the certificate", async () => {
  const server = await serve(true);
  const certificatesDirectory = at("certs-of-clients.d");
  const harness = await openOciStore({ certificatesDirectory, attemptsMax: 2 });
  const host = `0.0.0.0:${server.port}`;
  const own = join(certificatesDirectory, host);
  const pull = () => harness.store.ensure(`${host}/app:1`, { signal });
  try {
    await mkdir(own, { recursive: true });
    await writeFile(join(own, "ca.crt"), await readFile(at("server-ca.crt")));
    expect(await pull().catch((reason: unknown) => reason)).toBeInstanceOf(ImageError);
    await writeFile(join(own, "me.cert"), await readFile(at("client.crt")));
    await writeFile(join(own, "me.key"), await readFile(at("client.key")));
    expect((await pull()).digest).toBe(image.digest);
  } finally {
    await server.stop(true);
    await harness.dispose();
  }
});
