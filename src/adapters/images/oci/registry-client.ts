/** Reads manifests and blobs from registries (OCI distribution-spec 1.1, pull). */
import { ImageError } from "../../../ports/image-store.ts";
import type { BlobSink, ImageSource } from "./image-source.ts";
import { acceptedTypes, badManifest, type Descriptor, manifestBytesMax } from "./manifest.ts";
import { isDigest, type ImageReference } from "./reference.ts";
import { readAll, statusFailure, TransientFailure } from "./registry-http.ts";
import type { RegistrySession } from "./registry-session.ts";

export class RegistryClient implements ImageSource {
  readonly #session: RegistrySession;

  constructor(ports: { readonly session: RegistrySession }) {
    this.#session = ports.session;
  }

  async manifest(
    reference: ImageReference,
    version: string,
    signal: AbortSignal,
  ): Promise<{ readonly bytes: Uint8Array; readonly digest: string }> {
    const path = `manifests/${version}`;
    const headers = { accept: acceptedTypes };
    const text = reference.written;
    return this.#session.request(reference, { path, headers, signal }, async (exchange) => {
      requireSuccess(exchange.response, text);
      const bytes = await readAll(exchange, manifestBytesMax, () =>
        badManifest(text, `its manifest is over ${manifestBytesMax} bytes`),
      );
      const digest = sha256(bytes);
      const claimed = exchange.response.headers.get("docker-content-digest");
      const expected = version.startsWith("sha256:") ? version : claimed;
      if (expected !== null && expected !== digest) throw digestMismatch(expected, digest);
      return { bytes, digest };
    });
  }

  /** What the reference stands for now, without its content where the registry says so. */
  async digestOf(reference: ImageReference, signal: AbortSignal): Promise<string> {
    const { version, written } = reference;
    const headers = { accept: acceptedTypes };
    const request = { method: "HEAD", path: `manifests/${version}`, headers, signal } as const;
    const claimed = await this.#session.request(reference, request, async ({ response }) => {
      requireSuccess(response, written);
      return response.headers.get("docker-content-digest");
    });
    if (claimed !== null && isDigest(claimed)) return claimed;
    return (await this.manifest(reference, version, signal)).digest;
  }

  async blob(
    reference: ImageReference,
    descriptor: Descriptor,
    sink: BlobSink,
    signal: AbortSignal,
  ): Promise<void> {
    const path = `blobs/${descriptor.digest}`;
    await this.#session.retry(reference, signal, async () => {
      const from = sink.received;
      if (from > 0 && from === descriptor.size) return;
      const headers: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {};
      await this.#session.once(reference, { path, headers, signal }, async (exchange) => {
        if (exchange.response.status === 416) {
          await sink.restart();
          throw new TransientFailure("it cannot go on where it broke off");
        }
        requireSuccess(exchange.response, reference.written);
        const range = exchange.response.headers.get("content-range") ?? "";
        const continues = exchange.response.status === 206 && range.startsWith(`bytes ${from}-`);
        if (from > 0 && !continues) await sink.restart();
        for await (const chunk of exchange.body()) {
          if (sink.received + chunk.length > descriptor.size)
            throw digestMismatch(descriptor.digest, `more than the declared ${descriptor.size} bytes`);
          await sink.write(chunk);
        }
      });
    });
  }
}

/** Throws what a status that is no success means for `reference`: TransientFailure or ImageError. */
export function requireSuccess(response: Response, reference: string): void {
  if (response.status >= 200 && response.status < 300) return;
  const failure = statusFailure(response);
  if (failure !== undefined) throw failure;
  if (response.status === 404)
    throw new ImageError(`there is no image ${reference}`, {
      code: "not-found",
      reference,
    });
  if (response.status === 401 || response.status === 403)
    throw new ImageError(`the registry does not let us at ${reference}`, {
      code: "unauthorized",
      reference,
    });
  throw new ImageError(`asked for ${reference}, the registry answered ${response.status}`, {
    code: "failed",
    detail: `unexpected status ${response.status}`,
  });
}

export function digestMismatch(expected: string, actual: string): ImageError {
  return new ImageError(`digest mismatch: expected ${expected}, got ${actual}`, {
    code: "digest-mismatch",
    expected,
    actual,
  });
}

export function sha256(bytes: Uint8Array): string {
  return `sha256:${Bun.CryptoHasher.hash("sha256", bytes, "hex")}`;
}
