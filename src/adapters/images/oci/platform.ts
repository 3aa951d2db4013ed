/** Which of an index's manifests is for this machine (image-spec image-index.md; variants as containerd ranks them). */
import type { Index, Platform } from "./manifest.ts";

/** The best fit, or undefined. Entries without a platform, and attestations ("unknown"), are never chosen. */
export function choosePlatform(index: Index, wanted: Platform): Index["manifests"][number] | undefined {
  let best: Index["manifests"][number] | undefined;
  let bestRank = Number.POSITIVE_INFINITY;
  for (const candidate of index.manifests) {
    const rank = candidate.platform === undefined ? undefined : platformRank(candidate.platform, wanted);
    // The first of equals: the order of an index is its author's preference.
    if (rank === undefined || rank >= bestRank) continue;
    best = candidate;
    bestRank = rank;
  }
  return best;
}

/** 0 is exact, more is older, undefined cannot run here. */
export function platformRank(offered: Platform, wanted: Platform): number | undefined {
  if (offered.os !== wanted.os) return undefined;
  if (offered.architecture !== wanted.architecture) return undefined;
  const has = variantNumber(offered);
  const wants = variantNumber(wanted);
  if (has === undefined || wants === undefined) return offered.variant === wanted.variant ? 0 : undefined;
  // A newer processor runs code for an older one of its line; 64-bit ARM starts at v8.
  return has <= wants ? wants - has : undefined;
}

export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = platform;
  const isPlain = variant === undefined || variant === "";
  return isPlain ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

const unstatedVariants: ReadonlyMap<string, number> = new Map([
  ["amd64", 1],
  ["arm64", 8],
  ["arm", 7],
]);

function variantNumber(platform: Platform): number | undefined {
  const { variant, architecture } = platform;
  if (variant === undefined || variant === "") return unstatedVariants.get(architecture) ?? 0;
  const match = /^v([0-9]{1,2})$/.exec(variant);
  return match === null ? undefined : Number(match[1]);
}
