/** Everything an agent makes on a machine of a lab, as the kernel lists it: for comparing before and after. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Fleet } from "./fleet.ts";

export interface MachinePicture {
  readonly cgroups: readonly string[];
  readonly mounts: readonly string[];
  readonly links: readonly string[];
  readonly addresses: readonly string[];
  readonly routes: readonly string[];
  /** Files of network namespaces and of containers in the data directory. */
  readonly files: readonly string[];
  readonly rules: readonly string[];
  readonly programs: readonly string[];
}

const filesOfContainers = [
  ...["containers/containers", "containers/exits", "containers/runtime", "containers/sandboxes"],
  ...["network/endpoints", "network/netns"],
];

/** The agent's own process, its log and its store are not in it. */
export async function pictureOf(fleet: Fleet, machine: string): Promise<MachinePicture> {
  const dataDirectory = fleet.dataDirectory(machine);
  const on = (...words: readonly string[]): Promise<string> => fleet.lab("exec", machine, "--", ...words);
  const mounts = await on("cat", "/proc/mounts");
  return {
    cgroups: cgroupsBelow(`muster-${fleet.name}/${machine}`),
    mounts: lines(mounts).filter((line) => line.includes(dataDirectory)),
    links: lines(await on("ip", "-o", "link")).map((line) => line.split(": ")[1]?.split("@")[0] ?? line),
    // Link-local ones are made from the link's random MAC and change with each start of the machine.
    addresses: lines(await on("ip", "-o", "address", "show", "scope", "global")).map((line) =>
      line.split(/\s+/).slice(1, 4).join(" "),
    ),
    routes: [...lines(await on("ip", "-4", "route")), ...lines(await on("ip", "-6", "route"))],
    files: filesOfContainers.flatMap((name) =>
      namesIn(join(dataDirectory, name)).map((file) => `${name}/${file}`),
    ),
    rules: lines(await on("nft", "list", "ruleset")),
    programs: lines(await on("ps", "-eo", "comm=")).filter((name) =>
      /^(conmon|runc|exe|sleep|sh)/.test(name),
    ),
  };
}

function lines(text: string): readonly string[] {
  return text
    .split("\n")
    .map((line) => line.trimEnd())
    .filter((line) => line !== "")
    .toSorted();
}

function namesIn(path: string): readonly string[] {
  try {
    return readdirSync(path).toSorted();
  } catch {
    // Not made yet.
    return [];
  }
}

/** In every tree of control groups. */
function cgroupsBelow(group: string): readonly string[] {
  const top = "/sys/fs/cgroup";
  const trees = ["", ...namesIn(top)].map((tree) => join(top, tree, group));
  return [...new Set(trees)].flatMap((path) => groupsIn(path)).toSorted();
}

function groupsIn(path: string): readonly string[] {
  try {
    readFileSync(join(path, "cgroup.procs"));
  } catch {
    return [];
  }
  const below = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return below.flatMap(({ name }) => [join(path, name), ...groupsIn(join(path, name))]);
}
