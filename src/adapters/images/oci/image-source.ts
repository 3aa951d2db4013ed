/** Where manifests and blobs come from: a registry, its mirrors, or an archive on this machine. */
import type { Descriptor } from "./manifest.ts";
import type { ImageReference } from "./reference.ts";

/** Where a blob goes. A source does not look at the bytes. */
export interface BlobSink {
  /** Bytes taken so far; a broken transfer goes on from here. */
  readonly received: number;
  /** Forgets all bytes: the transfer starts over. */
  restart(): Promise<void>;
  write(chunk: Uint8Array): Promise<void>;
}

/** Rejects with ImageError. */
export interface ImageSource {
  /** A manifest or index by tag or digest, and the digest of what came. */
  manifest(
    reference: ImageReference,
    version: string,
    signal: AbortSignal,
  ): Promise<{ readonly bytes: Uint8Array; readonly digest: string }>;
  /** The bytes of a blob into `sink`, never more than its descriptor declares. */
  blob(reference: ImageReference, descriptor: Descriptor, sink: BlobSink, signal: AbortSignal): Promise<void>;
}
