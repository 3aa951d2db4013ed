import { describe, expect, test } from "bun:test";
import { defined } from "../../model/assert.ts";
import type { InstancePhase } from "../../model/promise.ts";
import { foundingState } from "./founding.ts";
import { reconcile } from "./reconcile.ts";
import type { CohortState, PromiseRecord, PromiseStage } from "./state.ts";
import { singleContainer } from "../../model/template.ts";

type Shape = [replica: number, version: "old" | "new", how: InstancePhase | PromiseStage, node?: string];

/** `replicas` slots wanted with template "new"; promise ids are `p<slot><version>`. */
function stateOf(
  replicas: number,
  shapes: readonly Shape[],
  status: CohortState["status"] = "active",
): CohortState {
  const base = foundingState({
    group: "g",
    deployment: "d".repeat(32),
    epoch: 1,
    founder: "a",
    spec: {
      namespace: "shop",
      name: "web",
      replicas,
      template: singleContainer({ image: "web" }, { stopTimeoutMs: 0 }),
    },
    templateHash: "new",
    voters: ["a"],
    requestId: "founding",
    atMs: 0,
  });
  const promises = shapes.map(([replica, templateHash, how, node]): PromiseRecord => {
    const isStage = how === "awarded" || how === "releasing" || how === "broken" || how === "promised";
    return {
      id: `p${replica}${templateHash}`,
      replica,
      node: node ?? "n",
      templateHash,
      stage: isStage ? how : "promised",
      phase: isStage ? "admitted" : how,
      ready: how === "running",
      containers: [],
      seq: 0,
      restarts: 0,
      sinceMs: 0,
    };
  });
  return { ...base, status, promises: new Map(promises.map((promise) => [promise.id, promise])) };
}

function wantedOf(state: CohortState, lost: readonly string[] = []) {
  const { breaks, releases, missing } = reconcile(state, (node) => lost.includes(node));
  return { breaks: [...breaks], released: releases.flatMap((release) => release.promises), missing };
}

const nothing = { breaks: [], released: [], missing: [] };

describe("slots", () => {
  test("whole is whole, in whatever phase its promises are", () => {
    expect(
      wantedOf(
        stateOf(4, [
          [0, "new", "running"],
          [1, "new", "awarded"],
          [2, "new", "backoff"],
          [3, "new", "completed"],
        ]),
      ),
    ).toEqual(nothing);
  });

  test("a slot without a promise is missing, one that is releasing is not yet, one that is broken is", () => {
    const state = stateOf(4, [
      [1, "new", "running"],
      [2, "new", "releasing"],
      [3, "new", "broken"],
    ]);
    expect(wantedOf(state)).toEqual({ ...nothing, missing: [0, 3] });
  });

  test("lost nodes' promises are broken and missing in one pass, those being released too", () => {
    const state = stateOf(2, [
      [0, "new", "running", "x"],
      [1, "new", "running"],
      [2, "new", "releasing", "x"],
    ]);
    expect(wantedOf(state, ["x"])).toEqual({
      breaks: [["x", ["p0new", "p2new"]]],
      released: [],
      missing: [0],
    });
  });

  test("scaling down releases the highest slots and leaves the others alone", () => {
    const state = stateOf(1, [
      [0, "new", "running"],
      [1, "new", "running"],
      [2, "new", "releasing"],
      [3, "new", "awarded"],
    ]);
    expect(wantedOf(state)).toEqual({ ...nothing, released: ["p1new", "p3new"] });
  });

  test("a deployment that is deleted releases all and misses nothing", () => {
    const state = stateOf(2, [[0, "old", "running"]], "deleting");
    expect(wantedOf(state)).toEqual({ ...nothing, released: ["p0old"] });
  });
});

describe("H8: an update takes one slot at a time", () => {
  test("the lowest running one goes when all others run", () => {
    const state = stateOf(3, [
      [2, "old", "running"],
      [1, "old", "running"],
      [0, "new", "running"],
    ]);
    expect(wantedOf(state).released).toEqual(["p1old"]);
  });

  test("one that serves nobody goes first", () => {
    const state = stateOf(3, [
      [0, "old", "running"],
      [1, "old", "backoff"],
      [2, "old", "awarded"],
    ]);
    expect(wantedOf(state).released).toEqual(["p1old"]);
  });

  test.each<[string, Shape[]]>([
    ["a slot is empty", []],
    ["the old one still stops", [[1, "old", "releasing"]]],
    ["the new one starts", [[1, "new", "starting"]]],
    ["the new one does not come up", [[1, "new", "backoff"]]],
  ])("it waits while %s", (_why, shapes) => {
    expect(wantedOf(stateOf(2, [[0, "old", "running"], ...shapes])).released).toEqual([]);
  });

  test("it does not wait for slots that have no place for another reason", () => {
    const unplaced = { key: "memory:2", reasons: ["2 nodes: not enough memory"] };
    const lacking = {
      ...stateOf(3, [
        [0, "old", "running"],
        [1, "old", "running"],
      ]),
      emptyOtherwise: 1,
    };
    expect(wantedOf(lacking)).toEqual({ ...nothing, missing: [2] });
    expect(wantedOf({ ...lacking, unplaced })).toEqual({ ...nothing, released: ["p0old"], missing: [2] });
    const next = { ...stateOf(3, [[1, "old", "running"]]), emptyOtherwise: 1, unplaced };
    expect(wantedOf(next).released).toEqual([]);
  });

  test("a newer declaration replaces what does not come up before anything that runs", () => {
    const state = stateOf(2, [
      [0, "old", "running"],
      [1, "old", "backoff"],
    ]);
    expect(wantedOf(state).released).toEqual(["p1old"]);
  });

  test("a replica that runs and is not ready is waited for", () => {
    const state = stateOf(2, [
      [0, "new", "running"],
      [1, "old", "running"],
    ]);
    const fresh = defined(state.promises.get("p0new"), "the new one");
    const promises = new Map([...state.promises, [fresh.id, { ...fresh, ready: false }]]);
    expect(wantedOf(state).released).toEqual(["p1old"]);
    expect(wantedOf({ ...state, promises }).released).toEqual([]);
  });

  test("it goes together with scaling down", () => {
    const state = stateOf(1, [
      [0, "old", "running"],
      [1, "old", "running"],
    ]);
    expect(wantedOf(state).released.toSorted()).toEqual(["p0old", "p1old"]);
  });
});
