/** Whether what a user wants to have mounted can be, said before anything is made. */
import { statSync } from "node:fs";
import { isAbsolute, normalize } from "node:path";
import type { ContainerMount, ContainerSpec } from "../../../ports/container-runtime.ts";

/** Here the system's own mounts are; anything else over or inside them would undo the container's confinement. */
const systemTrees = ["/proc", "/sys"] as const;
const reserved = new Set(["/", "/dev", "/dev/pts", "/dev/mqueue"]);

/** In words for people; undefined when nothing is wrong. */
export function mountProblem(spec: ContainerSpec): string | undefined {
  const mounts = spec.mounts ?? [];
  const files = spec.files ?? [];
  const targets = [...mounts.map(({ target }) => target), ...files.map(({ path }) => path)];
  const twice = targets.find((target, index) => targets.indexOf(target) !== index);
  if (twice !== undefined) return `two things are to be mounted at ${twice}`;
  for (const target of targets) {
    const problem = targetProblem(target);
    if (problem !== undefined) return problem;
  }
  return mounts.map(sourceProblem).find((problem) => problem !== undefined);
}

function targetProblem(target: string): string | undefined {
  if (!isAbsolute(target) || normalize(target) !== target || target.includes("\0"))
    return `${JSON.stringify(target)} is not an absolute and normal path`;
  if (reserved.has(target) || systemTrees.some((tree) => `${target}/`.startsWith(`${tree}/`)))
    return `${target} is the system's own`;
  return undefined;
}

function sourceProblem(mount: ContainerMount): string | undefined {
  if (mount.kind !== "bind") return undefined;
  if (!isAbsolute(mount.source) || mount.source.includes("\0"))
    return `${JSON.stringify(mount.source)} is not an absolute path`;
  const stat = statSync(mount.source, { throwIfNoEntry: false });
  if (stat === undefined) return `there is no ${mount.source} on this node to mount at ${mount.target}`;
  return undefined;
}
