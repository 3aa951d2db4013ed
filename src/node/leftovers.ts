/** Groups that went on without this node while it was away: deleted, deposed, or left without its vote. */
import type { Charter } from "../model/charter.ts";
import type { NodeId } from "../model/ids.ts";
import type { Directory } from "./directory.ts";
import type { Group } from "./group.ts";
import type { Groups } from "./groups.ts";

/** Drops every group that has no steward and that its charter at the guardians says is not this node's any more. */
export async function dropLeftovers(groups: Groups, directory: Directory, self: NodeId): Promise<void> {
  for (const group of groups.all()) {
    if (group.steward !== undefined) continue;
    const charter = await directory.charterOf(group.charter.deployment);
    if (charter !== undefined && isLeftover(group, charter, self)) await groups.drop(group.id);
  }
}

function isLeftover(group: Group, charter: Charter, self: NodeId): boolean {
  if (charter.epoch < group.charter.epoch) return false;
  if (charter.group !== group.id) return true;
  return charter.deleted || (!charter.voters.includes(self) && charter.version > group.charter.version);
}
