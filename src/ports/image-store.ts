/**
 * Images on this node: pulled from registries, verified, unpacked into layers that every runtime can
 * mount. Nothing is visible before its digest is proven, and a crash in mid-pull leaves nothing half visible.
 *
 * Life cycle of an image: `ensure` or `load` brings it, its name moves on when the registry gives that name to
 * another one (the old one stays under its digest until it is pruned), `remove` and `prune` take it away. What
 * `protect` names is never taken.
 */
import type { PullPolicy } from "../model/spec.ts";

/** What the image says about how to run it (image-spec config). */
export interface ImageConfig {
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  /** `NAME=value` lines. */
  readonly env: readonly string[];
  readonly workingDirectory: string;
  /** `uid[:gid]` or names, as in the image; empty for root. */
  readonly user: string;
  /** Such as SIGTERM; undefined means SIGTERM. */
  readonly stopSignal?: string;
}

export interface Image {
  /** As the user wrote it. */
  readonly reference: string;
  /** `sha256:...` of the platform's manifest. */
  readonly digest: string;
  /** Absolute directories of the unpacked layers, lowest first. */
  readonly layers: readonly string[];
  readonly config: ImageConfig;
  /** As a registry holds it: configuration and compressed layers. */
  readonly sizeBytes: number;
}

/** An image as the store keeps it. */
export interface StoredImage extends Image {
  /** Wall clock, milliseconds since 1970; 0 when unknown. */
  readonly pulledAtMs: number;
  readonly isInUse: boolean;
  /** Its name is another image's since; only its digest finds it. */
  readonly isReplaced: boolean;
}

export interface ImageLayer {
  /** Digest of the archive as registries hold it. */
  readonly digest: string;
  /** Digest of the archive when unpacked. */
  readonly diffId: string;
  readonly sizeBytes: number;
}

/** All that an image says of itself. */
export interface ImageDetails extends StoredImage {
  /** Such as `linux/amd64`. */
  readonly platform: string;
  /** RFC 3339; undefined when the image does not say. */
  readonly created?: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Such as `80/tcp`. */
  readonly exposedPorts: readonly string[];
  readonly volumes: readonly string[];
  readonly layerDetails: readonly ImageLayer[];
}

export interface PullProgress {
  readonly bytes: number;
  readonly bytesTotal: number;
  readonly layersDone: number;
  readonly layersTotal: number;
}

/** Images that must stay: by reference as users write them, or by digest. */
export interface ImageUse {
  readonly references: Iterable<string>;
  readonly digests: Iterable<string>;
}

export interface PruneReport {
  /** References of the images that are gone. */
  readonly images: readonly string[];
  /** What the file system gained. */
  readonly bytes: number;
}

export interface ImageStore {
  /** The image if it is here, without asking anybody. */
  find(reference: string): Promise<Image | undefined>;
  /**
   * The image, pulled first as `pull` says (default `missing`). With `always` the registry is asked which
   * digest the reference stands for; when that one is here nothing is pulled. With `never` nobody is asked: `not-here`.
   * Two pulls of one reference at a time are one. Rejects with ImageError.
   */
  ensure(
    reference: string,
    options: {
      readonly signal: AbortSignal;
      readonly pull?: PullPolicy;
      readonly onProgress?: (progress: PullProgress) => void;
    },
  ): Promise<Image>;
  list(): Promise<readonly StoredImage[]>;
  /** Rejects with ImageError `not-here`. */
  inspect(reference: string): Promise<ImageDetails>;
  /** Says what must stay; called by the node once, before anything is removed. Without it nothing is in use. */
  protect(inUse: () => ImageUse): void;
  /** Takes the name away, and with its last name the image. Rejects with ImageError `not-here` or `in-use`. */
  remove(reference: string): Promise<PruneReport>;
  /** Removes what no name leads to; with `all` every image that is not in use. What is being pulled stays. */
  prune(options: { readonly all: boolean }): Promise<PruneReport>;
}

/** Images in and out of this node other than by a pull. Rejects with ImageError. */
export interface ImageExchange {
  /**
   * Takes the images of an archive on this machine: an OCI layout, as a directory or a tar file, or what
   * `docker save` writes; tar files may be compressed by gzip or zstd. `name` names what the archive leaves nameless.
   */
  load(
    path: string,
    options: {
      readonly signal: AbortSignal;
      readonly name?: string;
      readonly onProgress?: (progress: PullProgress) => void;
    },
  ): Promise<readonly Image[]>;
  /** An archive of images that are here, in pieces as they are asked for: an OCI layout that `docker load` reads, too. */
  save(references: readonly string[], options: { readonly signal: AbortSignal }): AsyncGenerator<Uint8Array>;
  /** Sends an image to the registry that `destination` names, under that name; blobs that are there are not sent. */
  push(
    reference: string,
    destination: string,
    options: { readonly signal: AbortSignal; readonly onProgress?: (progress: PullProgress) => void },
  ): Promise<Image>;
}

export type ImageErrorInfo =
  | {
      readonly code: "bad-reference";
      readonly reference: string;
      readonly detail: string;
    }
  | { readonly code: "not-found"; readonly reference: string }
  /** Not on this node, and nobody was to be asked for it. */
  | { readonly code: "not-here"; readonly reference: string }
  | { readonly code: "in-use"; readonly reference: string }
  | { readonly code: "unauthorized"; readonly reference: string }
  | {
      readonly code: "registry-unreachable";
      readonly registry: string;
      readonly detail: string;
    }
  | {
      readonly code: "digest-mismatch";
      readonly expected: string;
      readonly actual: string;
    }
  | {
      readonly code: "bad-archive";
      readonly layer: string;
      readonly entry: string;
      readonly detail: string;
    }
  | {
      readonly code: "bad-manifest";
      readonly reference: string;
      readonly detail: string;
    }
  | {
      readonly code: "no-platform";
      readonly reference: string;
      readonly wanted: string;
      readonly offered: readonly string[];
    }
  | { readonly code: "plain-http"; readonly registry: string }
  | { readonly code: "disk-full"; readonly path: string }
  | { readonly code: "failed"; readonly detail: string };

export class ImageError extends Error {
  override readonly name = "ImageError";
  readonly info: ImageErrorInfo;
  constructor(message: string, info: ImageErrorInfo, options?: { cause?: unknown }) {
    super(message, options);
    this.info = info;
  }
}
