/**
 * Takes a lab away by the names of its parts alone, so that it also works for what a killed `lab up`
 * left half made. Nothing else on the machine has such names.
 */
import { existsSync, readdirSync } from "node:fs";
import { removeCgroups } from "./cgroups.ts";
import { command } from "./command.ts";
import { LabError } from "./errors.ts";
import { findMarked, machineMark, powerOffMarked } from "./machine.ts";

/** A command that the killed process had started may still be making something: then there is one more pass. */
const passesMax = 20;
const pauseMs = 20;

export function labPrefix(name: string): string {
  return `muster-${name}`;
}

/** True while machines or networks of a lab with this name are there, whatever its directory. */
export function isLabThere(name: string): boolean {
  const mark = machineMark(name, "");
  return networkNamespaces(name).length > 0 || findMarked((argument) => argument.startsWith(mark)).length > 0;
}

/** Resolves with true when there was anything. */
export async function removeLeftovers(name: string): Promise<boolean> {
  const mark = machineMark(name, "");
  let hasFound = false;
  for (let pass = 0; pass < passesMax; pass++) {
    const processes = await powerOffMarked((argument) => argument.startsWith(mark));
    const namespaces = networkNamespaces(name);
    for (const namespace of namespaces) await command(["ip", "netns", "del", namespace], { mayFail: true });
    if (processes + namespaces.length === 0) break;
    hasFound = true;
    await Bun.sleep(pauseMs);
  }
  if (!(await removeCgroups(labPrefix(name)))) {
    throw new LabError(
      `control groups of lab ${name} are still in use`,
      { code: "unsuitable", what: `/sys/fs/cgroup/*/${labPrefix(name)}` },
      { next: "look who is in them (cgroup.procs), then: muster lab down" },
    );
  }
  return hasFound;
}

function networkNamespaces(name: string): readonly string[] {
  const directory = "/run/netns";
  if (!existsSync(directory)) return [];
  return readdirSync(directory).filter((one) => one.startsWith(`${labPrefix(name)}-`));
}
