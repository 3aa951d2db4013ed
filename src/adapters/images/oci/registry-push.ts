/** Sends images to registries (OCI distribution-spec 1.1, push): blobs first, the manifest that names them last. */
import { ImageError, type PullProgress } from "../../../ports/image-store.ts";
import { Gate } from "./gate.ts";
import { type Descriptor, type Manifest, mediaTypeOf } from "./manifest.ts";
import type { ImageReference } from "./reference.ts";
import { requireSuccess } from "./registry-client.ts";
import type { RegistrySession } from "./registry-session.ts";

export interface RegistryPushOptions {
  readonly parallelUploads: number;
  /** A longer blob is sent in pieces of so many bytes. */
  readonly chunkBytes: number;
}

export interface PushedImage {
  readonly manifest: Manifest;
  readonly manifestBytes: Uint8Array;
  readonly digest: string;
  /** Path of a blob. */
  readonly pathOf: (digest: string) => string;
  /** Another repository of the registry that has the blob, as far as is known. */
  readonly repositoryWith: (digest: string) => string | undefined;
}

export class RegistryPush {
  readonly #session: RegistrySession;
  readonly #options: RegistryPushOptions;

  constructor(ports: { readonly session: RegistrySession }, options: RegistryPushOptions) {
    this.#session = ports.session;
    this.#options = options;
  }

  /** Rejects with ImageError. */
  async push(
    destination: ImageReference,
    image: PushedImage,
    signal: AbortSignal,
    report: (progress: PullProgress) => void,
  ): Promise<void> {
    const { manifest } = image;
    const blobs = new Map([...manifest.layers, manifest.config].map((blob) => [blob.digest, blob]));
    const total = [...blobs.values()].reduce((sum, blob) => sum + blob.size, 0);
    const progress = { bytes: 0, bytesTotal: total, layersDone: 0, layersTotal: blobs.size };
    const gate = new Gate(this.#options.parallelUploads);
    const controller = new AbortController();
    const both = AbortSignal.any([signal, controller.signal]);
    const uploads = [...blobs.values()].map((blob) =>
      gate.run(async () => {
        await this.#blob(destination, blob, image, both);
        progress.bytes += blob.size;
        progress.layersDone += 1;
        report({ ...progress });
      }),
    );
    // The first to fail ends the others, so its reason is the one to tell.
    for (const upload of uploads) upload.catch((error: unknown) => controller.abort(error));
    const outcomes = await Promise.allSettled(uploads);
    signal.throwIfAborted();
    if (outcomes.some(({ status }) => status === "rejected")) throw controller.signal.reason;
    await this.#manifest(destination, image, signal);
  }

  async #blob(
    destination: ImageReference,
    blob: Descriptor,
    image: PushedImage,
    signal: AbortSignal,
  ): Promise<void> {
    const from = image.repositoryWith(blob.digest);
    const rights = {
      signal,
      actions: "pull,push",
      ...(from === undefined ? {} : { alsoFrom: from }),
    } as const;
    // A transfer that broke starts over: what the registry has of it is its own business.
    await this.#session.retry(destination, signal, async () => {
      signal.throwIfAborted();
      const isThere = await this.#session.once(
        destination,
        { ...rights, method: "HEAD", path: `blobs/${blob.digest}` },
        async ({ response }) => {
          if (response.status === 404) return false;
          requireSuccess(response, destination.written);
          return true;
        },
      );
      if (isThere) return;
      const mount =
        from === undefined
          ? ""
          : `?mount=${encodeURIComponent(blob.digest)}&from=${encodeURIComponent(from)}`;
      const upload = await this.#session.once(
        destination,
        { ...rights, method: "POST", path: `blobs/uploads/${mount}` },
        async ({ response }) => {
          requireSuccess(response, destination.written);
          return response.status === 201 ? undefined : locationOf(response, destination);
        },
      );
      if (upload !== undefined) await this.#upload(destination, upload, blob, image, signal);
    });
  }

  /** In one piece, or as many as it takes; the digest closes it. */
  async #upload(
    destination: ImageReference,
    address: string,
    blob: Descriptor,
    image: PushedImage,
    signal: AbortSignal,
  ): Promise<void> {
    const file = Bun.file(image.pathOf(blob.digest));
    const { chunkBytes } = this.#options;
    const headers = { "content-type": "application/octet-stream" };
    const rights = { signal, actions: "pull,push" } as const;
    const { written } = destination;
    let path = address;
    let sent = 0;
    while (blob.size > chunkBytes && sent < blob.size) {
      const end = Math.min(sent + chunkBytes, blob.size);
      const range = { ...headers, "content-range": `${sent}-${end - 1}` };
      const piece = {
        ...rights,
        method: "PATCH",
        path,
        headers: range,
        body: file.slice(sent, end),
      } as const;
      path = await this.#session.once(destination, piece, async ({ response }) => {
        requireSuccess(response, written);
        return locationOf(response, destination);
      });
      sent = end;
    }
    path += `${path.includes("?") ? "&" : "?"}digest=${encodeURIComponent(blob.digest)}`;
    const rest = file.slice(sent, blob.size);
    await this.#session.once(
      destination,
      { ...rights, method: "PUT", path, headers, body: rest },
      async ({ response }) => requireSuccess(response, written),
    );
  }

  async #manifest(destination: ImageReference, image: PushedImage, signal: AbortSignal): Promise<void> {
    const body = new Blob([new Uint8Array(image.manifestBytes)]);
    const headers = { "content-type": mediaTypeOf(image.manifestBytes) };
    const path = `manifests/${destination.version}`;
    const request = { method: "PUT", path, headers, body, signal, actions: "pull,push" } as const;
    await this.#session.request(destination, request, async ({ response }) =>
      requireSuccess(response, destination.written),
    );
  }
}

function locationOf(response: Response, { registry }: ImageReference): string {
  const location = response.headers.get("location");
  if (location !== null && location !== "") return location;
  throw new ImageError(`the registry ${registry} does not say where to upload`, {
    code: "failed",
    detail: `status ${response.status} without a Location`,
  });
}
