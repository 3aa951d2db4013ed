/** What the machine offers, asked once: programs, control groups, limits. */
import { readFileSync } from "node:fs";
import { hasSwapLimit, readCgroupTree, type CgroupTree } from "./cgroups.ts";
import { OverlayMounts } from "./overlay.ts";
import { unavailable } from "./runtime-failure.ts";

/** What Docker grants, where the agent itself has as much. */
const filesMax = 1_048_576;

/** What the runtime found on this machine, and keeps open. */
export interface Machine {
  readonly runtimePath: string;
  readonly conmonPath: string;
  readonly tree: CgroupTree;
  readonly overlays: OverlayMounts;
  readonly hasSwapLimit: boolean;
  readonly filesMax: number;
}

export function openMachine(options: { readonly runtimePath: string; readonly conmonPath: string }): Machine {
  const tree = readCgroupTree();
  return {
    runtimePath: locate(options.runtimePath),
    conmonPath: locate(options.conmonPath),
    tree,
    overlays: new OverlayMounts(),
    hasSwapLimit: hasSwapLimit(tree),
    filesMax: Math.min(filesMax, ownFilesMax()),
  };
}

function locate(program: string): string {
  const path = Bun.which(program);
  if (path === null) throw unavailable(program, "it is not installed");
  return path;
}

/** Raising the hard limit takes a privilege that the agent may not have, so the agent's own is the bound. */
function ownFilesMax(): number {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(limits)?.[1];
  return hard === undefined ? filesMax : Number(hard);
}
