/** The fleet as cohorts are told of it, and this node as the fleet is told of it. Pure. */
import type { Candidate, NamedNode } from "../core/cohort/messages.ts";
import type { MemberMeta, MemberRecord } from "../model/member.ts";
import type { Resources } from "../model/spec.ts";
import type { Fleet } from "./group.ts";
import type { AgentOptions } from "./options.ts";

/** Free memory is gossiped in steps of this size: small changes are no news. */
const memoryStepBytes = 16 * 1024 * 1024;

/** Members that left count as dead: what they had promised is to be placed elsewhere. */
export function fleetSnapshot(members: readonly MemberRecord[]): Fleet {
  const alive: Candidate[] = [];
  const suspect: NamedNode[] = [];
  const dead: NamedNode[] = [];
  for (const { id, name, status, meta } of members) {
    const free = { cpuMillis: meta.freeCpuMillis, memoryBytes: meta.freeMemoryBytes };
    if (status === "alive")
      alive.push({ id, name, free, ...(meta.zone === undefined ? {} : { zone: meta.zone }) });
    else if (status === "suspect") suspect.push({ id, name });
    else dead.push({ id, name });
  }
  return { alive, suspect, dead };
}

export function gossipedMeta(
  { version, architecture, zone, capacity }: AgentOptions,
  free: Resources,
): MemberMeta {
  return {
    version,
    architecture,
    ...(zone === undefined ? {} : { zone }),
    capacityCpuMillis: capacity.cpuMillis,
    capacityMemoryBytes: capacity.memoryBytes,
    freeCpuMillis: free.cpuMillis,
    freeMemoryBytes: Math.floor(free.memoryBytes / memoryStepBytes) * memoryStepBytes,
    protocolVersions: [1, 1],
  };
}
