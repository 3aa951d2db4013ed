/** Names inside a layer, as byte strings (one character per byte): cleaned, and refused when they reach for more. */
import { ArchiveError } from "./tar-reader.ts";

const nameBytesMax = 255;
const pathBytesMax = 4095;

export interface LayerPath {
  /** Relative to the layer's root, without `.` and empty components; empty for the root itself. */
  readonly full: string;
  readonly parent: string;
  readonly name: string;
}

/**
 * A leading slash means the layer's root, as for every container engine; `..` has no honest use in a layer
 * and is refused.
 */
export function parseLayerPath(raw: string, entry: string): LayerPath {
  if (raw.includes("\0")) throw new ArchiveError(entry, "a NUL in a name");
  if (raw.length > pathBytesMax) throw new ArchiveError(entry, `a path of ${raw.length} bytes`);
  const components = raw.split("/").filter((part) => part !== "" && part !== ".");
  for (const part of components) {
    if (part === "..") throw new ArchiveError(entry, '".." in a path leads out of the layer');
    if (part.length > nameBytesMax) throw new ArchiveError(entry, `a name of ${part.length} bytes`);
  }
  return {
    full: components.join("/"),
    parent: components.slice(0, -1).join("/"),
    name: components.at(-1) ?? "",
  };
}

const whiteoutPrefix = ".wh.";
const reservedPrefix = ".wh..wh.";
const opaqueName = ".wh..wh..opq";

export type Whiteout =
  | { readonly kind: "hide"; readonly name: string }
  | { readonly kind: "opaque" }
  | { readonly kind: "reserved" };

/** What a name says about the layers below (image-spec layer.md, whiteouts); undefined for an ordinary name. */
export function parseWhiteout(name: string, entry: string): Whiteout | undefined {
  if (!name.startsWith(whiteoutPrefix)) return undefined;
  if (name === opaqueName) return { kind: "opaque" };
  if (name.startsWith(reservedPrefix)) return { kind: "reserved" };
  const hidden = name.slice(whiteoutPrefix.length);
  if (hidden === "" || hidden === "." || hidden === "..")
    throw new ArchiveError(entry, "a whiteout of no name");
  return { kind: "hide", name: hidden };
}
