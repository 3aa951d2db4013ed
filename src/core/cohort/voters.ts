/** How many voters a cohort wants, which nodes, and what that means for its users. */
import type { NodeId } from "../../model/ids.ts";
import { nodeName, type Fleet } from "./fleet.ts";
import type { VoterChange } from "./messages.ts";
import { isOccupying, type CohortState } from "./state.ts";

/** 1 for one or two nodes (two voters tolerate less than one), else 3; 5 when both fleet and deployment have five. */
export function votersTarget(nodeCount: number, replicas: number): number {
  if (nodeCount < 3) return 1;
  return nodeCount >= 5 && replicas >= 5 ? 5 : 3;
}

export interface VoterSituation {
  readonly state: CohortState;
  readonly voters: readonly NodeId[];
  readonly learners: readonly NodeId[];
  readonly fleet: Fleet;
  readonly isLost: (node: NodeId) => boolean;
  /** Learners whose log is close enough to the leader's. */
  readonly caughtUp: ReadonlySet<NodeId>;
}

/**
 * The next step towards the wanted voters, or undefined. Newcomers learn first. A dead voter leaves
 * only in the change that brings its replacement, and growth is by two, so the number stays odd and
 * a quorum of the old and of the new is never smaller than it was.
 */
export function planVoters(situation: VoterSituation): VoterChange | undefined {
  const { state, voters, learners, fleet, isLost } = situation;
  if (state.status !== "active") return undefined;
  const dead = voters.filter(isLost);
  const live = voters.length - dead.length;
  if (live <= voters.length / 2) return undefined;
  const nodeCount = fleet.alive.size + fleet.suspect.size;
  const target = Math.max(votersTarget(nodeCount, state.spec.replicas), voters.length);
  const wantedVoters = target - live;
  // With two nodes the other one keeps a copy of the log, though it has no vote.
  const wantedLearners = wantedVoters === 0 && nodeCount === 2 && voters.length === 1 ? 1 : wantedVoters;
  const lostLearners = learners.filter(isLost);
  const liveLearners = learners.filter((node) => !isLost(node));
  const newcomers = candidatesOf(situation).slice(0, Math.max(0, wantedLearners - liveLearners.length));
  if (newcomers.length > 0) return { addLearners: newcomers, promote: [], remove: lostLearners };
  const idle = liveLearners.slice(wantedLearners);
  if (idle.length > 0) return { addLearners: [], promote: [], remove: [...lostLearners, ...idle] };
  return promotion(situation, dead, wantedVoters);
}

function promotion(
  { voters, learners, fleet, caughtUp }: VoterSituation,
  dead: readonly NodeId[],
  wantedVoters: number,
): VoterChange | undefined {
  const ready = learners.filter((node) => caughtUp.has(node) && fleet.alive.has(node));
  let count = Math.min(ready.length, wantedVoters);
  const sizeAfter = (): number => voters.length + count - Math.min(count, dead.length);
  if (count > 0 && sizeAfter() % 2 === 0) count -= 1;
  if (count === 0) return undefined;
  return {
    addLearners: [],
    promote: ready.slice(0, count),
    remove: dead.slice(0, count),
  };
}

/** Live nodes outside the group: holders first, then the most free memory, then the lowest id. */
function candidatesOf({ state, voters, learners, fleet }: VoterSituation): NodeId[] {
  const holders = new Set<NodeId>();
  for (const promise of state.promises.values()) if (isOccupying(promise)) holders.add(promise.node);
  const inGroup = new Set([...voters, ...learners]);
  return [...fleet.alive.values()]
    .filter((node) => !inGroup.has(node.id))
    .sort(
      (a, b) =>
        Number(holders.has(b.id)) - Number(holders.has(a.id)) ||
        b.free.memoryBytes - a.free.memoryBytes ||
        (a.id < b.id ? -1 : 1),
    )
    .map((node) => node.id);
}

/** What a user should know after a write: which loss the cohort does not tolerate. Empty when any one node may go. */
export function toleranceNotes(voters: readonly NodeId[], fleet: Fleet): readonly string[] {
  const nodeCount = fleet.alive.size + fleet.suspect.size;
  if (nodeCount === 1) return ["one node: no loss is tolerated"];
  const [only] = voters;
  if (voters.length === 1 && only !== undefined) {
    const name = nodeName(fleet, only);
    const fact = nodeCount === 2 ? "two nodes" : `one voter of ${nodeCount} nodes so far`;
    return [`${fact}: losing ${name} stops changes until it is back`];
  }
  const up = voters.filter((node) => fleet.alive.has(node));
  if (up.length - 1 > voters.length / 2) return [];
  const names = up.map((node) => nodeName(fleet, node)).sort();
  return [
    `${up.length} of ${voters.length} voters are up: losing ${names.join(" or ")} stops changes until it is back`,
  ];
}
