/** Images of any number of layers, and a registry on loopback that serves them as the test wants. */
import { goArchitecture } from "./oci-store-harness.ts";
import { type ArchiveEntry, tarArchive } from "./tar-archive.ts";

export interface ServedImage {
  readonly manifest: string;
  readonly digest: string;
  /** Manifest, configuration and layers by digest. */
  readonly blobs: ReadonlyMap<string, Uint8Array>;
  readonly layerDigests: readonly string[];
}

export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${Bun.CryptoHasher.hash("sha256", bytes, "hex")}`;
}

export function serveImage(layers: readonly (readonly ArchiveEntry[])[]): ServedImage {
  const blobs = new Map<string, Uint8Array>();
  const diffIds: string[] = [];
  const descriptors = layers.map((entries) => {
    const archive = tarArchive(entries);
    const layer = Bun.gzipSync(new Uint8Array(archive));
    const digest = digestOf(layer);
    diffIds.push(digestOf(archive));
    blobs.set(digest, layer);
    return { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest, size: layer.length };
  });
  const config = JSON.stringify({
    os: "linux",
    architecture: goArchitecture(),
    rootfs: { type: "layers", diff_ids: diffIds },
  });
  blobs.set(digestOf(config), Buffer.from(config));
  const manifest = JSON.stringify({
    schemaVersion: 2,
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      digest: digestOf(config),
      size: config.length,
    },
    layers: descriptors,
  });
  return {
    manifest,
    digest: digestOf(manifest),
    blobs,
    layerDigests: descriptors.map(({ digest }) => digest),
  };
}

export interface ImageServer {
  /** `127.0.0.1:port` */
  readonly host: string;
  /** Paths asked for, in order. */
  readonly asked: string[];
  stop(): Promise<void>;
}

/** Serves `image` under every repository and tag; `answer` is asked first. */
export function startImageServer(
  image: ServedImage,
  answer: (path: string, request: Request) => Response | Promise<Response> | undefined = () => undefined,
): ImageServer {
  const asked: string[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    // Answers that break off on purpose.
    error: () => new Response(null, { status: 500 }),
    fetch: (request) => {
      const path = new URL(request.url).pathname;
      asked.push(`${request.method} ${path}`);
      return answer(path, request) ?? honest(image, path);
    },
  });
  return { host: `127.0.0.1:${server.port}`, asked, stop: () => server.stop(true) };
}

function honest(image: ServedImage, path: string): Response {
  const [, kind, name = ""] = /\/(manifests|blobs)\/([^/]+)$/.exec(path) ?? [];
  if (kind === "manifests")
    return new Response(image.manifest, { headers: { "docker-content-digest": image.digest } });
  const blob = image.blobs.get(name);
  return blob === undefined ? new Response("no", { status: 404 }) : new Response(new Uint8Array(blob));
}
