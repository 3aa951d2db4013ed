/** What the machine offers, asked once: programs, control groups, limits, privileges. */
import { readFileSync } from "node:fs";
import { ownCapabilities } from "./capabilities.ts";
import { hasSwapLimit, readCgroupTree, type CgroupTree } from "./cgroups.ts";
import { KernelMounts } from "./kernel-mounts.ts";
import { unavailable } from "./runtime-failure.ts";
import { runtimeProgram, type RuntimeProgram } from "./runtime-program.ts";

/** What Docker grants, where the agent itself has as much. */
const filesMax = 1_048_576;

/** What the runtime found on this machine, and keeps open. */
export interface Machine {
  readonly conmonPath: string;
  readonly tree: CgroupTree;
  readonly mounts: KernelMounts;
  readonly hasSwapLimit: boolean;
  readonly filesMax: number;
  /** Its own adjustment for the kernel's out-of-memory killer, -1000 to 1000; lowering one takes a privilege. */
  readonly oomScoreAdj: number;
  /** The agent's own privileges: it cannot give away more. */
  readonly capabilities: ReadonlySet<string>;
  /** An OCI runtime by name or absolute path, looked for at its first use; throws RuntimeError when it is not there. */
  program(name: string): RuntimeProgram;
}

export function openMachine(options: { readonly conmonPath: string }): Machine {
  const tree = readCgroupTree();
  const programs = new Map<string, RuntimeProgram>();
  return {
    conmonPath: locate(options.conmonPath),
    tree,
    mounts: new KernelMounts(),
    hasSwapLimit: hasSwapLimit(tree),
    filesMax: Math.min(filesMax, ownFilesMax()),
    oomScoreAdj: Number(readFileSync("/proc/self/oom_score_adj", "utf8")),
    capabilities: ownCapabilities(),
    program: (name) => {
      const known = programs.get(name) ?? runtimeProgram(name, tree, Bun.which);
      if (known === undefined) throw unavailable(name, "it is not installed");
      programs.set(name, known);
      return known;
    },
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
