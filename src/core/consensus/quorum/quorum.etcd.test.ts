import { expect, test } from "bun:test";
import { defined } from "../../../model/assert.ts";
import type { MemberId } from "../entry.ts";
import { readEtcdFolder } from "../../../../test/datadriven/etcd-data.ts";
import { argValues, type TranscriptCase } from "../transcript.ts";
import { type JointVoters, jointCommitted, jointVote } from "./joint.ts";

const verdicts = { won: "VoteWon", lost: "VoteLost", pending: "VotePending" } as const;

function parseVoters(one: TranscriptCase): JointVoters {
  const ids = (key: string): Set<MemberId> => new Set(argValues(one, key).filter((id) => id !== "zero"));
  return { incoming: ids("cfg"), outgoing: ids("cfgj") };
}

/** Values stand in the order in which voters are first named, "_" for a voter without one. */
function assign(voters: JointVoters, values: readonly string[]): Map<MemberId, string> {
  const result = new Map<MemberId, string>();
  [...voters.incoming.union(voters.outgoing)].forEach((voter, i) => {
    const value = values[i];
    if (value !== undefined && value !== "_") result.set(voter, value);
  });
  return result;
}

function evaluate(one: TranscriptCase): string {
  const voters = parseVoters(one);
  if (one.command === "vote") {
    const votes = new Map(
      [...assign(voters, argValues(one, "votes"))].map(([id, vote]) => [id, vote === "y"]),
    );
    const swapped = { incoming: voters.outgoing, outgoing: voters.incoming };
    expect(jointVote(swapped, votes)).toBe(jointVote(voters, votes));
    return verdicts[jointVote(voters, votes)];
  }
  const indexes = assign(voters, argValues(one, "idx"));
  const index = jointCommitted(voters, (voter) => {
    const value = indexes.get(voter);
    return value === undefined ? undefined : Number(value);
  });
  return index === Number.POSITIVE_INFINITY ? "∞" : String(index);
}

test("every quorum case of etcd-io/raft", async () => {
  let ran = 0;
  for (const file of await readEtcdFolder("quorum")) {
    for (const one of file.cases) {
      const expected = defined(one.expected.at(-1), "an expected result").replace(
        "<empty majority quorum>",
        "",
      );
      expect(`${file.name}:${one.line} ${evaluate(one)}`).toBe(`${file.name}:${one.line} ${expected}`);
      ran++;
    }
  }
  console.log(`quorum: ${ran} cases`);
  expect(ran).toBe(127);
});
