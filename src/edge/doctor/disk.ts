/** The disk below the data directory: how much room it has, and whether an overlay can lie on it. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Answer, DiskFacts } from "./machine-facts.ts";
import { tryProgram } from "./try-program.ts";

export async function lookAtDisk(dataDirectory: string, isRoot: boolean): Promise<DiskFacts> {
  const path = resolve(dataDirectory);
  const existing = deepestExisting(path);
  const stats = statfsSync(existing);
  return {
    path,
    existing,
    type: stats.type,
    freeBytes: stats.bavail * stats.bsize,
    totalBytes: stats.blocks * stats.bsize,
    freeFiles: stats.ffree,
    totalFiles: stats.files,
    overlay: isRoot ? await tryOverlay(existing) : undefined,
  };
}

function deepestExisting(path: string): string {
  let existing = path;
  while (!existsSync(existing)) existing = dirname(existing);
  return existing;
}

/** In a mount namespace that ends with the program, so nothing is left to unmount. */
async function tryOverlay(existing: string): Promise<Answer | undefined> {
  let directory: string;
  try {
    directory = mkdtempSync(join(existing, ".muster-doctor-"));
  } catch (error) {
    return { exitCode: 1, out: "", said: error instanceof Error ? error.message : String(error) };
  }
  try {
    const [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map((name) => {
      mkdirSync(join(directory, name));
      return join(directory, name);
    });
    if (merged === undefined) return undefined;
    const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    return await tryProgram([
      "unshare",
      "--mount",
      "mount",
      "-t",
      "overlay",
      "overlay",
      "-o",
      options,
      merged,
    ]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
