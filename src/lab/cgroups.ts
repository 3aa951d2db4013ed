/** The control groups that a lab's containers are in, in every tree: version 1, hybrid or version 2 alone. */
import { existsSync, readFileSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";

const top = "/sys/fs/cgroup";
const goneWaitMs = 2_000;

/** Removes what a lab or a machine of it left behind, once its processes are out of it; at most 2 s. */
export async function removeCgroups(group: string): Promise<boolean> {
  const until = performance.now() + goneWaitMs;
  for (;;) {
    const left = ["", ...subdirectories(top)].filter((tree) => !removeTree(join(top, tree, group)));
    if (left.length === 0) return true;
    if (performance.now() > until) return false;
    await Bun.sleep(5);
  }
}

/** Processes by container, of one machine's group: what runs, whatever an agent may say. */
export function processesByContainer(group: string): ReadonlyMap<string, readonly number[]> {
  const found = new Map<string, readonly number[]>();
  const tree = [join(top, "unified", group), join(top, group), join(top, "pids", group)].find((path) =>
    existsSync(path),
  );
  if (tree === undefined) return found;
  for (const container of subdirectories(tree)) {
    const pids = processesBelow(join(tree, container));
    if (pids.length > 0) found.set(container, pids);
  }
  return found;
}

function processesBelow(path: string): number[] {
  let own = "";
  try {
    own = readFileSync(join(path, "cgroup.procs"), "utf8");
  } catch {
    // Removed while we looked.
  }
  const pids = own
    .split("\n")
    .filter((line) => line !== "")
    .map(Number);
  return [...pids, ...subdirectories(path).flatMap((name) => processesBelow(join(path, name)))];
}

function subdirectories(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}

/** True when nothing is there any more. */
function removeTree(path: string): boolean {
  if (!existsSync(path)) return true;
  for (const name of subdirectories(path)) removeTree(join(path, name));
  try {
    rmdirSync(path);
    return true;
  } catch {
    return !existsSync(path);
  }
}
