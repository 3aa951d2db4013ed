/** The files that `-f` names, read and checked: for the commands that take manifests. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { ProblemError } from "../../model/problem.ts";
import type { DeploymentSpec } from "../../model/spec.ts";
import type { ManifestFile } from "../manifest/manifest.ts";
import type { CliContext, Console } from "./console.ts";
import { usageFailure } from "./failure.ts";

/** Most files of one command, and most bytes of one of them: far over what a manifest may have. */
const filesMax = 1_000;
const fileBytesMax = 8 * 1024 * 1024;
const depthMax = 16;

export const fileOption = [
  "-f, --file <path>",
  "manifest file, directory of them and of directories, or - for standard input; may be repeated",
  (path: string, previous: readonly string[]): readonly string[] => [...previous, path],
  [],
] as const;

/** All deployments of all files; throws when one of them is not right. */
export async function readSpecs(
  paths: readonly string[],
  namespace: string,
  context: CliContext,
): Promise<readonly DeploymentSpec[]> {
  if (paths.length === 0) throw usageFailure("no file given", "name one with -f");
  if (paths.filter((path) => path === "-").length > 1)
    throw usageFailure("standard input can be read once only", "give -f - once");
  const files: ManifestFile[] = [];
  for (const path of paths) files.push(...(await readManifests(path, context.console)));
  const { parseManifests } = await import("../manifest/manifest.ts");
  const specs = parseManifests(files, namespace);
  if (!specs.ok) throw new ProblemError(specs.error);
  return specs.value;
}

async function readManifests(path: string, console: Console): Promise<readonly ManifestFile[]> {
  if (path === "-") return [{ file: "-", text: await readInput(console) }];
  try {
    if (!(await Bun.file(path).stat()).isDirectory()) return [await readManifest(path)];
    const names = await manifestsIn(path, 0);
    if (names.length === 0) throw usageFailure(`${path} holds no .yaml, .yml or .json file`);
    if (names.length > filesMax) throw usageFailure(`${path} holds more than ${filesMax} manifests`);
    const files: ManifestFile[] = [];
    for (const name of names) files.push(await readManifest(name));
    return files;
  } catch (error) {
    if (error instanceof Error && "code" in error && typeof error.code === "string")
      throw usageFailure(`cannot read ${path}: ${error.message}`);
    throw error;
  }
}

async function readInput(console: Console): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of console.input()) {
    bytes += chunk.byteLength;
    if (bytes > fileBytesMax) throw usageFailure("standard input is larger than 8 MiB");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

async function readManifest(path: string): Promise<ManifestFile> {
  const file = Bun.file(path);
  if (file.size > fileBytesMax) throw usageFailure(`${path} is larger than 8 MiB`);
  return { file: path, text: await file.text() };
}

/** Sorted by path. What begins with a dot is somebody else's; links to directories are not followed, so that it ends. */
async function manifestsIn(directory: string, depth: number): Promise<readonly string[]> {
  if (depth > depthMax) throw usageFailure(`${directory} lies more than ${depthMax} directories deep`);
  const entries = await readdir(directory, { withFileTypes: true });
  const paths: string[] = [];
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.name.startsWith(".")) continue;
    const path = join(directory, entry.name);
    if (entry.isDirectory()) paths.push(...(await manifestsIn(path, depth + 1)));
    else if (/\.(ya?ml|json)$/.test(entry.name)) paths.push(path);
  }
  return paths;
}
