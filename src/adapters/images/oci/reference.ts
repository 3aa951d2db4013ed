/** Image references as people write them, read as Docker reads them: `busybox` is docker.io/library/busybox:latest. */
import { ImageError } from "../../../ports/image-store.ts";

export interface ImageReference {
  /** As the user wrote it. */
  readonly written: string;
  /** As in the reference: `docker.io`, `ghcr.io`, `127.0.0.1:5000`, `[::1]:5000`. */
  readonly registry: string;
  /** `library/busybox` */
  readonly repository: string;
  /** The tag, or the digest when there is one: a digest says exactly which, so a tag beside it says nothing. */
  readonly version: string;
  readonly isDigest: boolean;
}

const defaultRegistry = "docker.io";
const repositoryBytesMax = 255;
const repositoryPattern =
  /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const digestPattern = /^sha256:[0-9a-f]{64}$/;
const registryPattern =
  /^(?:\[[0-9a-fA-F:.]+\]|(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*)(?::[0-9]{1,5})?$/;

/** Throws ImageError `bad-reference`. */
export function parseReference(text: string): ImageReference {
  const refuse = (detail: string): never => {
    throw new ImageError(`"${text}" is not an image reference: ${detail}`, {
      code: "bad-reference",
      reference: text,
      detail,
    });
  };
  if (text === "") return refuse("it is empty");
  if (/\s/.test(text)) return refuse("it has white space in it");
  if (/^[a-z+]+:\/\//i.test(text))
    return refuse('write it without "https://", as in registry.example/app:1.0');
  const { name, tag, digest } = split(text);
  if (digest !== undefined && !digestPattern.test(digest))
    return refuse(`"${digest}" is not a digest (sha256: and 64 hexadecimal digits)`);
  if (tag !== undefined && !tagPattern.test(tag))
    return refuse(`"${tag}" is not a tag (letters, digits, "_", "." and "-", at most 128)`);
  const { registry, repository } = splitRegistry(name);
  if (!registryPattern.test(registry)) return refuse(`"${registry}" is not a registry's host or host:port`);
  if (repository.toLowerCase() !== repository)
    return refuse(`the name must be in lower case: "${name.toLowerCase()}"`);
  if (!repositoryPattern.test(repository))
    return refuse(
      `"${repository}" is not a name (lower-case letters and digits, separated by ".", "_", "-" or "/")`,
    );
  if (repository.length > repositoryBytesMax)
    return refuse(`the name is longer than ${repositoryBytesMax} characters`);
  return {
    written: text,
    registry,
    repository,
    version: digest ?? tag ?? "latest",
    isDigest: digest !== undefined,
  };
}

/** One spelling for all that mean the same image. */
export function formatReference(reference: ImageReference): string {
  const separator = reference.isDigest ? "@" : ":";
  return `${reference.registry}/${reference.repository}${separator}${reference.version}`;
}

export function isDigest(text: string): boolean {
  return digestPattern.test(text);
}

function split(text: string): {
  readonly name: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
} {
  const at = text.indexOf("@");
  const digest = at === -1 ? undefined : text.slice(at + 1);
  const tagged = at === -1 ? text : text.slice(0, at);
  // A colon before the last slash belongs to the registry's port.
  const colon = tagged.lastIndexOf(":");
  const hasTag = colon > tagged.lastIndexOf("/") && !tagged.endsWith("]");
  return {
    name: hasTag ? tagged.slice(0, colon) : tagged,
    tag: hasTag ? tagged.slice(colon + 1) : undefined,
    digest,
  };
}

/** The first component is a registry when it looks like a host: a dot, a port, brackets, or `localhost`. */
function splitRegistry(name: string): {
  readonly registry: string;
  readonly repository: string;
} {
  const slash = name.indexOf("/");
  const first = slash === -1 ? "" : name.slice(0, slash);
  const isHost = /[.:[]/.test(first) || first === "localhost" || first.toLowerCase() !== first;
  const registry = isHost ? first : defaultRegistry;
  const repository = isHost ? name.slice(slash + 1) : name;
  if (registry !== defaultRegistry && registry !== "index.docker.io") return { registry, repository };
  return {
    registry: defaultRegistry,
    repository: repository.includes("/") ? repository : `library/${repository}`,
  };
}
