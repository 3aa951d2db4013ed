/** A registry behind its mirrors: each is asked in turn, the registry itself last. Digests are checked whoever answers. */
import { ImageError } from "../../../ports/image-store.ts";
import type { Logger } from "../../../ports/logger.ts";
import type { BlobSink, ImageSource } from "./image-source.ts";
import type { Descriptor } from "./manifest.ts";
import type { ImageReference } from "./reference.ts";
import type { RegistryClient } from "./registry-client.ts";

export class MirroredSource implements ImageSource {
  readonly #client: RegistryClient;
  readonly #log: Logger;
  readonly #mirrors: ReadonlyMap<string, readonly string[]>;

  /** `mirrors`: by the registry's name in references, `host:port` of those that hold the same. */
  constructor(
    ports: { readonly client: RegistryClient; readonly log: Logger },
    mirrors: Readonly<Record<string, readonly string[]>>,
  ) {
    this.#client = ports.client;
    this.#log = ports.log;
    this.#mirrors = new Map(Object.entries(mirrors));
  }

  manifest(
    reference: ImageReference,
    version: string,
    signal: AbortSignal,
  ): Promise<{ readonly bytes: Uint8Array; readonly digest: string }> {
    return this.#first(reference, signal, (from) => this.#client.manifest(from, version, signal));
  }

  digestOf(reference: ImageReference, signal: AbortSignal): Promise<string> {
    return this.#first(reference, signal, (from) => this.#client.digestOf(from, signal));
  }

  blob(
    reference: ImageReference,
    descriptor: Descriptor,
    sink: BlobSink,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#first(reference, signal, async (from) => {
      try {
        await this.#client.blob(from, descriptor, sink, signal);
      } catch (error) {
        // What a liar sent is nothing to go on from.
        if (error instanceof ImageError && error.info.code === "digest-mismatch") await sink.restart();
        throw error;
      }
    });
  }

  async #first<T>(
    reference: ImageReference,
    signal: AbortSignal,
    ask: (from: ImageReference) => Promise<T>,
  ): Promise<T> {
    for (const mirror of this.#mirrors.get(reference.registry) ?? []) {
      try {
        return await ask({ ...reference, registry: mirror });
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof ImageError)) throw error;
        this.#log.info("a mirror does not help", { mirror, image: reference.written, error: error.message });
      }
    }
    return ask(reference);
  }
}
