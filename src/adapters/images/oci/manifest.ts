/** Manifests, indexes and image configurations: OCI image-spec 1.1 and Docker's schema 2, read alike. */
import * as v from "valibot";
import { type ImageConfig, ImageError } from "../../../ports/image-store.ts";
import { isDigest } from "./reference.ts";

const digestSchema = v.pipe(v.string(), v.check(isDigest, "only sha256 digests are supported"));
const sizeSchema = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const platformSchema = v.object({
  os: v.string(),
  architecture: v.string(),
  variant: v.optional(v.string()),
});

const descriptorSchema = v.object({
  mediaType: v.optional(v.string(), ""),
  digest: digestSchema,
  size: sizeSchema,
});

const manifestSchema = v.object({
  mediaType: v.optional(v.string()),
  config: descriptorSchema,
  layers: v.array(descriptorSchema),
});

const indexSchema = v.object({
  mediaType: v.optional(v.string()),
  manifests: v.array(
    v.object({
      ...descriptorSchema.entries,
      platform: v.optional(platformSchema),
    }),
  ),
});

const stringsSchema = v.nullish(v.array(v.string()), []);

const configSchema = v.object({
  os: v.string(),
  architecture: v.string(),
  variant: v.optional(v.string()),
  rootfs: v.object({ diff_ids: v.nullish(v.array(digestSchema), []) }),
  config: v.nullish(
    v.object({
      Entrypoint: stringsSchema,
      Cmd: stringsSchema,
      Env: stringsSchema,
      WorkingDir: v.nullish(v.string(), ""),
      User: v.nullish(v.string(), ""),
      StopSignal: v.nullish(v.string(), ""),
      Labels: v.nullish(v.record(v.string(), v.string()), {}),
      ExposedPorts: v.nullish(v.record(v.string(), v.unknown()), {}),
      Volumes: v.nullish(v.record(v.string(), v.unknown()), {}),
    }),
  ),
  created: v.nullish(v.string()),
});

export type Descriptor = v.InferOutput<typeof descriptorSchema>;
export type Manifest = v.InferOutput<typeof manifestSchema>;
export type Index = v.InferOutput<typeof indexSchema>;
export type Platform = v.InferOutput<typeof platformSchema>;

export interface ParsedConfig {
  readonly platform: Platform;
  /** Digests of the unpacked layers, lowest first. */
  readonly diffIds: readonly string[];
  readonly config: ImageConfig;
  readonly about: ImageAbout;
}

/** What an image says of itself that does not change how it runs. */
export interface ImageAbout {
  readonly created?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly exposedPorts: readonly string[];
  readonly volumes: readonly string[];
}

export const manifestBytesMax = 4 * 1024 * 1024;
export const configBytesMax = 8 * 1024 * 1024;
/** What overlayfs can stack. */
const layersMax = 500;

export const ociTypes = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar",
  gzipLayer: "application/vnd.oci.image.layer.v1.tar+gzip",
} as const;

/** What a registry is told that we can read. */
export const acceptedTypes = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");

/** A manifest or an index, told apart by what they hold. Throws ImageError `bad-manifest`. */
export function parseManifest(
  bytes: Uint8Array,
  reference: string,
):
  | { readonly kind: "manifest"; readonly manifest: Manifest }
  | { readonly kind: "index"; readonly index: Index } {
  const json = parseJson(bytes, "the manifest", reference);
  if (isRecord(json)) {
    if (json["schemaVersion"] === 1) throw badManifest(reference, "it has Docker's schema 1; push it again");
    if ("manifests" in json)
      return {
        kind: "index",
        index: check(indexSchema, json, "the index", reference),
      };
  }
  const manifest = check(manifestSchema, json, "the manifest", reference);
  const type = manifest.config.mediaType;
  const isImage = type === "" || /\b(oci|docker)\b.*image.*json$/.test(type);
  if (!isImage)
    throw badManifest(reference, `it is no container image: its configuration is of type "${type}"`);
  if (manifest.layers.length > layersMax)
    throw badManifest(reference, `it has more than ${layersMax} layers`);
  if (manifest.config.size > configBytesMax) throw badManifest(reference, "its configuration is too large");
  return { kind: "manifest", manifest };
}

/** Throws ImageError `bad-manifest`. */
export function parseConfig(bytes: Uint8Array, manifest: Manifest, reference: string): ParsedConfig {
  const what = "the image's configuration";
  const json = parseJson(bytes, what, reference);
  const parsed = check(configSchema, json, what, reference);
  const diffIds = parsed.rootfs.diff_ids ?? [];
  if (diffIds.length !== manifest.layers.length)
    throw badManifest(
      reference,
      `its manifest has ${manifest.layers.length} layers and its configuration ${diffIds.length}`,
    );
  const run = parsed.config;
  const stopSignal = run?.StopSignal ?? "";
  return {
    platform: {
      os: parsed.os,
      architecture: parsed.architecture,
      variant: parsed.variant,
    },
    diffIds,
    config: {
      entrypoint: run?.Entrypoint ?? [],
      command: run?.Cmd ?? [],
      env: run?.Env ?? [],
      workingDirectory: run?.WorkingDir ?? "",
      user: run?.User ?? "",
      ...(stopSignal === "" ? {} : { stopSignal }),
    },
    about: {
      ...(typeof parsed.created === "string" ? { created: parsed.created } : {}),
      labels: run?.Labels ?? {},
      exposedPorts: Object.keys(run?.ExposedPorts ?? {}),
      volumes: Object.keys(run?.Volumes ?? {}),
    },
  };
}

/** Digests of the unpacked layers that a configuration names. Throws ImageError `bad-manifest`. */
export function diffIdsOf(bytes: Uint8Array, reference: string): readonly string[] {
  const what = "the image's configuration";
  return check(configSchema, parseJson(bytes, what, reference), what, reference).rootfs.diff_ids ?? [];
}

/** What a manifest says it is; those that do not say are OCI's. */
export function mediaTypeOf(manifest: Uint8Array): string {
  const json = parseJson(manifest, "the manifest", "the image");
  const type = isRecord(json) ? json["mediaType"] : undefined;
  return typeof type === "string" && type !== "" ? type : ociTypes.manifest;
}

export function badManifest(reference: string, detail: string): ImageError {
  return new ImageError(`${reference} cannot be used: ${detail}`, {
    code: "bad-manifest",
    reference,
    detail,
  });
}

function parseJson(bytes: Uint8Array, what: string, reference: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw badManifest(reference, `${what} is not JSON`);
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function check<T extends v.GenericSchema>(
  schema: T,
  value: unknown,
  what: string,
  reference: string,
): v.InferOutput<T> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue) ?? "";
  throw badManifest(reference, `${what}${path === "" ? "" : ` at ${path}`}: ${issue.message}`);
}
