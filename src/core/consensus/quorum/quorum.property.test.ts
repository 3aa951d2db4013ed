import { expect, test } from "bun:test";
import { createRng, type Rng } from "../../rng.ts";
import { type JointVoters, jointCommitted, jointVote } from "./joint.ts";

const runs = 2000;

function drawVoters(rng: Rng): Set<string> {
  return new Set(Array.from({ length: 1 + rng.int(7) }, () => `m${rng.int(9)}`));
}

function draw(seed: number): { voters: JointVoters; acked: Map<string, number>; rng: Rng } {
  const rng = createRng(seed);
  const voters = {
    incoming: drawVoters(rng),
    outgoing: rng.int(2) === 0 ? new Set<string>() : drawVoters(rng),
  };
  const acked = new Map<string, number>();
  for (const voter of voters.incoming.union(voters.outgoing))
    if (rng.int(4) > 0) acked.set(voter, rng.int(20));
  return { voters, acked, rng };
}

/** The definition, slowly: some majority of each half holds the index. */
function isHeld(
  { incoming, outgoing }: JointVoters,
  acked: ReadonlyMap<string, number>,
  index: number,
): boolean {
  const holds = (half: ReadonlySet<string>): boolean => {
    const holders = [...half].filter((voter) => (acked.get(voter) ?? 0) >= index).length;
    return half.size === 0 || 2 * holders > half.size;
  };
  return holds(incoming) && holds(outgoing);
}

test("the committed index is the greatest that a majority of each half holds", () => {
  for (let seed = 0; seed < runs; seed++) {
    const { voters, acked } = draw(seed);
    const index = jointCommitted(voters, (voter) => acked.get(voter));
    expect(`seed ${seed}: ${isHeld(voters, acked, index)}`).toBe(`seed ${seed}: true`);
    expect(`seed ${seed}: ${isHeld(voters, acked, index + 1)}`).toBe(`seed ${seed}: false`);
  }
});

test("an election is won exactly when its voters would commit, and lost when no missing vote can help", () => {
  for (let seed = 0; seed < runs; seed++) {
    const { voters, acked } = draw(seed);
    const votes = new Map([...acked].map(([voter, index]) => [voter, index >= 10]));
    const all = [...voters.incoming.union(voters.outgoing)];
    const withMissing = (vote: boolean): Map<string, number> =>
      new Map(all.map((voter) => [voter, (votes.get(voter) ?? vote) ? 1 : 0]));
    const expected = isHeld(voters, withMissing(false), 1)
      ? "won"
      : isHeld(voters, withMissing(true), 1)
        ? "pending"
        : "lost";
    expect(`seed ${seed}: ${jointVote(voters, votes)}`).toBe(`seed ${seed}: ${expected}`);
  }
});

test("two quorums of one configuration always share a voter", () => {
  for (let seed = 0; seed < runs; seed++) {
    const { voters, rng } = draw(seed);
    const all = [...voters.incoming.union(voters.outgoing)];
    const votes = new Map(all.map((voter) => [voter, rng.int(2) === 0]));
    const others = new Map([...votes].map(([voter, vote]) => [voter, !vote]));
    const areBothWon = jointVote(voters, votes) === "won" && jointVote(voters, others) === "won";
    expect(`seed ${seed}: ${areBothWon}`).toBe(`seed ${seed}: false`);
  }
});
