import { describe, expect, test } from "bun:test";
import type { NodeId } from "../../model/ids.ts";
import { fleetOf } from "./fleet.ts";
import { foundingState } from "./founding.ts";
import type { CohortState } from "./state.ts";
import { planVoters, toleranceNotes, votersTarget } from "./voters.ts";
import { singleContainer } from "../../model/template.ts";

interface Situation {
  readonly alive: string;
  readonly suspect?: string;
  readonly dead?: string;
  readonly voters: string;
  readonly learners?: string;
  readonly caughtUp?: string;
  readonly replicas?: number;
  readonly holders?: string;
}

const letters = (word = ""): NodeId[] => [...word];
const named = (word = "") => letters(word).map((id) => ({ id, name: id }));

function fleetIn({ alive, suspect, dead }: Situation) {
  const free = { cpuMillis: 0, memoryBytes: 0 };
  return fleetOf({
    alive: named(alive).map((node) => ({ ...node, free })),
    suspect: named(suspect),
    dead: named(dead),
  });
}

function stateIn({ voters, replicas, holders }: Situation): CohortState {
  const state = foundingState({
    group: "g",
    deployment: "d".repeat(32),
    epoch: 1,
    founder: "a",
    spec: {
      namespace: "shop",
      name: "web",
      replicas: replicas ?? 1,
      template: singleContainer({ image: "web" }, { stopTimeoutMs: 0 }),
    },
    templateHash: "t",
    voters: letters(voters),
    requestId: "founding",
    atMs: 0,
  });
  const promises = letters(holders).map(
    (node, replica) =>
      [
        node,
        {
          id: node,
          replica,
          node,
          templateHash: "t",
          stage: "promised",
          phase: "running",
          seq: 1,
          ready: true,
          restarts: 0,
          sinceMs: 0,
          containers: [],
        },
      ] as const,
  );
  return { ...state, promises: new Map(promises) };
}

function plan(situation: Situation): string | undefined {
  const fleet = fleetIn(situation);
  const change = planVoters({
    state: stateIn(situation),
    voters: letters(situation.voters),
    learners: letters(situation.learners),
    fleet,
    isLost: (node) => fleet.dead.has(node),
    caughtUp: new Set(letters(situation.caughtUp)),
  });
  if (change === undefined) return undefined;
  const part = (sign: string, nodes: readonly NodeId[]): string =>
    nodes.length > 0 ? `${sign}${nodes.join("")}` : "";
  return [
    part("learn ", change.addLearners),
    part("promote ", change.promote),
    part("remove ", change.remove),
  ]
    .filter((text) => text !== "")
    .join(", ");
}

test("the wanted number is 1, 3 or 5", () => {
  expect([1, 2, 3, 4, 5, 100].map((nodes) => votersTarget(nodes, 9))).toEqual([1, 1, 3, 3, 5, 5]);
  expect(votersTarget(100, 4)).toBe(3);
});

describe("H9: voters grow and are refilled, one change at a time", () => {
  test.each<[string, Situation, string | undefined]>([
    ["one node is enough for itself", { alive: "a", voters: "a" }, undefined],
    ["the second node keeps a copy without a vote", { alive: "ab", voters: "a" }, "learn b"],
    ["and stays without a vote", { alive: "ab", voters: "a", learners: "b", caughtUp: "b" }, undefined],
    [
      "with a third node both are to vote",
      { alive: "abc", voters: "a", learners: "b", caughtUp: "b" },
      "learn c",
    ],
    [
      "one alone is not promoted: two voters are worse than one",
      { alive: "abc", voters: "a", learners: "bc", caughtUp: "b" },
      undefined,
    ],
    ["both together are", { alive: "abc", voters: "a", learners: "bc", caughtUp: "bc" }, "promote bc"],
    ["five when fleet and deployment have five", { alive: "abcde", voters: "abc", replicas: 5 }, "learn de"],
    ["holders are preferred", { alive: "abcdef", voters: "abc", replicas: 5, holders: "fe" }, "learn ef"],
    ["a dead voter's place is learned first", { alive: "abd", dead: "c", voters: "abc" }, "learn d"],
    [
      "and changed with the promotion",
      { alive: "abd", dead: "c", voters: "abc", learners: "d", caughtUp: "d" },
      "promote d, remove c",
    ],
    ["but only when it has caught up", { alive: "abd", dead: "c", voters: "abc", learners: "d" }, undefined],
    ["a dead voter without a replacement stays", { alive: "ab", dead: "c", voters: "abc" }, undefined],
    ["a suspect is not replaced", { alive: "abd", suspect: "c", voters: "abc" }, undefined],
    ["never shrunk when replicas shrink", { alive: "abcde", voters: "abcde", replicas: 1 }, undefined],
    ["nothing without a quorum", { alive: "ad", dead: "bc", voters: "abc" }, undefined],
    [
      "a lost learner leaves with its replacement's coming",
      { alive: "abe", dead: "cd", voters: "abc", learners: "d" },
      "learn e, remove d",
    ],
    [
      "a learner nobody needs any more leaves",
      { alive: "abcd", voters: "abc", learners: "d", caughtUp: "d" },
      "remove d",
    ],
    [
      "refill and growth go together when they fit",
      { alive: "abdef", dead: "c", voters: "abc", replicas: 5, learners: "def", caughtUp: "def" },
      "promote def, remove c",
    ],
    [
      "or the refill first",
      { alive: "abdef", dead: "c", voters: "abc", replicas: 5, learners: "def", caughtUp: "de" },
      "promote d, remove c",
    ],
  ])("%s", (_why, situation, expected) => {
    expect(plan(situation)).toBe(expected);
  });
});

test("a cohort whose voters are not known to the fleet is said to be on its own", () => {
  const notes = toleranceNotes(letters("a"), fleetIn({ alive: "abc", voters: "a" }));
  expect(notes).toEqual(["one voter of 3 nodes so far: losing a stops changes until it is back"]);
});
