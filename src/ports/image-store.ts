/**
 * Images on this node: pulled from registries, verified, unpacked into layers that every runtime can
 * mount. Nothing is visible before its digest is proven, and a crash in mid-pull leaves nothing half visible.
 */

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

export interface PullProgress {
  readonly bytes: number;
  readonly bytesTotal: number;
}

export interface ImageStore {
  /** The image if it is here, without asking anybody. */
  find(reference: string): Promise<Image | undefined>;
  /** The image, pulled first when it is not here. Two pulls of one reference at a time are one. Rejects with ImageError. */
  ensure(
    reference: string,
    options: {
      readonly signal: AbortSignal;
      readonly onProgress?: (progress: PullProgress) => void;
    },
  ): Promise<Image>;
  list(): Promise<readonly Image[]>;
}

export type ImageErrorInfo =
  | {
      readonly code: "bad-reference";
      readonly reference: string;
      readonly detail: string;
    }
  | { readonly code: "not-found"; readonly reference: string }
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
