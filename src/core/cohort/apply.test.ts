import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { defined } from "../../model/assert.ts";
import type { DeploymentSpec } from "../../model/spec.ts";
import { applyCommand } from "./apply.ts";
import type { CohortCommand, StewardChange, UserChange } from "./commands.ts";
import { foundingIndex, foundingState } from "./founding.ts";
import { decodeState, encodeState } from "./state-codec.ts";
import { brokenMax, historyMax, isOccupying, requestsMax, type CohortState } from "./state.ts";
import { singleContainer } from "../../model/template.ts";

function specOf(replicas: number, image = "web:1"): DeploymentSpec {
  return {
    namespace: "shop",
    name: "web",
    replicas,
    template: singleContainer({ image }),
  };
}

function founded(replicas: number): CohortState {
  return foundingState({
    group: "g",
    deployment: "d".repeat(32),
    epoch: 1,
    founder: "a",
    spec: specOf(replicas),
    templateHash: "web:1",
    voters: ["a"],
    requestId: "founding",
    atMs: 5,
  });
}

/** Applies changes one after the other and keeps what history said. */
class Log {
  state: CohortState;
  lines: string[] = [];
  constructor(state: CohortState) {
    this.state = state;
  }

  steward(...changes: StewardChange[]): this {
    for (const change of changes) this.#apply({ ...change, atMs: 7, actor: "a", proposal: 0 });
    return this;
  }

  user(requestId: string, change: UserChange): this {
    this.#apply({ ...change, requestId, atMs: 7, actor: "user", proposal: 0 });
    return this;
  }

  #apply(command: CohortCommand): void {
    const { state, history } = applyCommand(this.state, command, this.state.index + 1);
    this.state = state;
    this.lines.push(...history.map((event) => event.kind));
  }

  stages(): string[] {
    return [...this.state.promises.values()].map(
      ({ id, replica, node, stage }) => `${id} ${replica}@${node} ${stage}`,
    );
  }

  answer(requestId: string) {
    return defined(this.state.requests.get(requestId), "an answer");
  }
}

function award(...places: [replica: number, node: string][]): StewardChange {
  const awards = places.map(([replica, node]) => ({ replica, node }));
  return { kind: "award", templateHash: "web:1", awards, reason: "best offer" };
}

function report(
  node: string,
  promise: string,
  seq: number,
  phase: "starting" | "running" | "stopped",
): StewardChange {
  const ready = phase === "running";
  const one = { promise, seq, phase, ready, restarts: 0, sinceMs: 9, containers: [] };
  return { kind: "report", batches: [{ node, reports: [one] }] };
}

describe("requests", () => {
  test("the founding declaration is answered from the state", () => {
    expect(new Log(founded(3)).answer("founding")).toMatchObject({
      ok: true,
      value: { desired: 3, changed: true, epoch: 1, index: foundingIndex },
    });
  });

  test("H3: a request id is applied once, whatever it asks the second time", () => {
    const log = new Log(founded(3)).user("r", { kind: "scale", replicas: 5 });
    log.user("other", { kind: "scale", replicas: 2 }).user("r", { kind: "scale", replicas: 5 });
    expect(log.state.spec.replicas).toBe(2);
    expect(log.answer("r")).toMatchObject({ ok: true, value: { desired: 5, index: 2 } });
  });

  test("what is so already is not changed and leaves no history", () => {
    const log = new Log(founded(3)).user("r", {
      kind: "declare",
      spec: specOf(3),
      templateHash: "web:1",
      createOnly: false,
    });
    expect(log.answer("r")).toMatchObject({ ok: true, value: { changed: false } });
    expect(log.lines).toEqual([]);
    expect(log.state.specVersion).toBe(1);
  });

  test("refusals change nothing", () => {
    const log = new Log(founded(3))
      .user("run", { kind: "declare", spec: specOf(9), templateHash: "web:1", createOnly: true })
      .user("many", { kind: "scale", replicas: 10_001 })
      .user("half", { kind: "scale", replicas: 0.5 })
      .user("alien", {
        kind: "declare",
        spec: { ...specOf(1), name: "db" },
        templateHash: "web:1",
        createOnly: false,
      });
    expect(log.answer("run")).toMatchObject({ ok: false, error: { code: "already-exists" } });
    for (const id of ["many", "half", "alien"])
      expect(log.answer(id)).toMatchObject({ ok: false, error: { code: "invalid-request" } });
    expect(log.state.spec).toEqual(specOf(3));
  });

  test("H7: deletion sticks: it raises the charter, refuses declarations and ends when nothing is left", () => {
    const log = new Log(founded(2)).steward(award([0, "a"], [1, "b"]));
    log.user("del", { kind: "delete" });
    expect(log.state).toMatchObject({ status: "deleting", charterVersion: 2 });
    log.user("again", { kind: "declare", spec: specOf(3), templateHash: "web:1", createOnly: false });
    expect(log.answer("again")).toMatchObject({ ok: false, error: { code: "conflict" } });
    log.steward(award([0, "c"]), { kind: "release", promises: ["g/1", "g/2"], reason: "deleted" });
    log.steward({ kind: "released", promises: ["g/1"], reason: "gone" });
    expect(log.state.status).toBe("deleting");
    log.steward({ kind: "break", promises: ["g/2"], reason: "node b is dead" });
    expect(log.state.status).toBe("deleted");
    expect(log.user("late", { kind: "delete" }).answer("late")).toMatchObject({
      ok: false,
      error: { code: "not-found" },
    });
  });

  test("answers are kept for the newest requests only", () => {
    const log = new Log(founded(3));
    for (let i = 0; i < requestsMax + 10; i++) log.user(`r${i}`, { kind: "scale", replicas: 3 });
    expect(log.state.requests.size).toBe(requestsMax);
    expect(log.state.requests.has("founding")).toBe(false);
    expect(log.state.requests.has(`r${requestsMax + 9}`)).toBe(true);
  });
});

describe("promises", () => {
  test("H1: an award for an occupied slot, a slot out of range or another template is void", () => {
    const log = new Log(founded(2)).steward(award([0, "a"], [0, "b"], [2, "c"]), award([0, "c"], [1, "c"]));
    log.steward({ ...award([1, "d"]), kind: "award", templateHash: "web:0", awards: [], reason: "" });
    expect(log.stages()).toEqual(["g/1 0@a awarded", "g/2 1@c awarded"]);
  });

  test("H1: a slot is free once its promise is broken or gone, not while it is releasing", () => {
    const log = new Log(founded(1)).steward(award([0, "a"]), {
      kind: "release",
      promises: ["g/1"],
      reason: "update",
    });
    expect(log.steward(award([0, "b"])).stages()).toEqual(["g/1 0@a releasing"]);
    log.steward({ kind: "break", promises: ["g/1"], reason: "node a is dead" }, award([0, "b"]));
    expect(log.stages()).toEqual(["g/1 0@a broken", "g/2 0@b awarded"]);
  });

  test("H2: ids count up and are never used twice", () => {
    const log = new Log(founded(1)).steward(award([0, "a"]), {
      kind: "answer",
      promised: [],
      refused: [{ promise: "g/1", refusal: { node: "a", reason: "memory", detail: "full" } }],
    });
    expect(log.steward(award([0, "a"])).stages()).toEqual(["g/2 0@a awarded"]);
    expect(log.lines).toEqual(["awarded", "refused", "awarded"]);
  });

  test("a report makes an unanswered award a promise, and a refusal after that is too late", () => {
    const log = new Log(founded(1)).steward(award([0, "a"]), report("a", "g/1", 1, "running"), {
      kind: "answer",
      promised: [],
      refused: [{ promise: "g/1", refusal: { node: "a", reason: "busy", detail: "" } }],
    });
    expect(log.stages()).toEqual(["g/1 0@a promised"]);
    expect(log.lines).toEqual(["awarded", "promised", "running"]);
  });

  test("only a newer report of the promise's own node counts", () => {
    const log = new Log(founded(1)).steward(
      award([0, "a"]),
      report("a", "g/1", 2, "running"),
      report("a", "g/1", 1, "starting"),
      report("b", "g/1", 3, "stopped"),
    );
    expect(log.state.promises.get("g/1")).toMatchObject({ phase: "running", seq: 2 });
  });

  test("an instance that stops unasked breaks its promise, one that was to stop is released", () => {
    const asked = new Log(founded(1)).steward(
      award([0, "a"]),
      { kind: "release", promises: ["g/1"], reason: "scaled" },
      report("a", "g/1", 1, "stopped"),
    );
    expect(asked.lines).toEqual(["awarded", "releasing", "released"]);
    const unasked = new Log(founded(1)).steward(award([0, "a"]), report("a", "g/1", 1, "stopped"));
    expect(unasked.lines).toEqual(["awarded", "promised", "broken"]);
    expect(unasked.stages()).toEqual([]);
  });

  test("templates stay as long as an occupied slot needs them", () => {
    const log = new Log(founded(1)).steward(award([0, "a"]));
    log.user("r", { kind: "declare", spec: specOf(1, "web:2"), templateHash: "web:2", createOnly: false });
    expect([...log.state.templates.keys()]).toEqual(["web:2", "web:1"]);
    log.steward({ kind: "release", promises: ["g/1"], reason: "update" }, report("a", "g/1", 1, "stopped"));
    expect([...log.state.templates.keys()]).toEqual(["web:2"]);
  });

  test("broken promises and history are bounded", () => {
    const log = new Log(founded(1));
    for (let i = 1; i <= brokenMax + 5; i++)
      log.steward(award([0, "a"]), { kind: "break", promises: [`g/${i}`], reason: "node a is dead" });
    expect(log.state.promises.size).toBe(brokenMax);
    expect(log.state.promises.has("g/5")).toBe(false);
    for (let i = 0; i < historyMax; i++) log.user(`s${i}`, { kind: "scale", replicas: i % 2 });
    expect(log.state.history.length).toBe(historyMax);
    expect(log.state.historyCount).toBeGreaterThan(historyMax);
  });
});

describe("stewards, voters, reasons", () => {
  test("H4: a steward's entry of an older term changes nothing", () => {
    const log = new Log(founded(1)).steward(
      { kind: "steward", node: "b", term: 4 },
      { kind: "steward", node: "a", term: 3 },
    );
    expect(log.state).toMatchObject({ steward: "b", stewardTerm: 4 });
    expect(log.lines).toEqual(["steward"]);
  });

  test("changed voters raise the charter's version and are history", () => {
    const log = new Log(founded(1)).steward({ kind: "voters-changed", voters: ["b", "c", "d"] });
    expect(log.state).toMatchObject({ voters: ["b", "c", "d"], charterVersion: 2 });
    expect(log.lines).toEqual(["voter-added", "voter-added", "voter-added", "voter-removed"]);
  });

  test("the same reasons are said once", () => {
    const full: StewardChange = {
      kind: "unplaceable",
      key: "memory:2",
      reasons: ["2 nodes: not enough memory"],
    };
    const log = new Log(founded(1)).steward(full, full, { kind: "placeable" }, { kind: "placeable" });
    expect(log.lines).toEqual(["unplaceable", "placeable"]);
  });
});

const nodes = fc.constantFrom("a", "b", "c");
const ids = fc.array(
  fc.integer({ min: 1, max: 12 }).map((n) => `g/${n}`),
  { maxLength: 4 },
);
const hashes = fc.constantFrom("web:1", "web:2");
const replicas = fc.nat(4);
const phases = fc.constantFrom(
  "admitted",
  "starting",
  "running",
  "backoff",
  "completed",
  "stopping",
  "stopped",
);
const stamps = fc.record({ atMs: fc.nat(99), actor: nodes, proposal: fc.nat(9) });
const requestId = fc.nat(20).map((n) => `r${n}`);
const reason = fc.constant("because");
const changes = fc.oneof(
  fc.record({
    kind: fc.constant("award" as const),
    templateHash: hashes,
    awards: fc.array(fc.record({ replica: replicas, node: nodes }), { maxLength: 4 }),
    reason,
  }),
  fc.record({
    kind: fc.constant("answer" as const),
    promised: ids,
    refused: fc.array(
      fc.record({
        promise: fc.integer({ min: 1, max: 12 }).map((n) => `g/${n}`),
        refusal: fc.record({ node: nodes, reason: fc.constant("busy" as const), detail: reason }),
      }),
      { maxLength: 2 },
    ),
  }),
  fc.record({
    kind: fc.constant("report" as const),
    batches: fc.array(
      fc.record({
        node: nodes,
        reports: fc.array(
          fc.record({
            promise: fc.integer({ min: 1, max: 12 }).map((n) => `g/${n}`),
            seq: fc.nat(9),
            phase: phases,
            ready: fc.boolean(),
            containers: fc.constant([]),
            restarts: fc.nat(2),
            sinceMs: fc.nat(99),
          }),
          { maxLength: 3 },
        ),
      }),
      { maxLength: 3 },
    ),
  }),
  fc.record({
    kind: fc.constantFrom("break" as const, "release" as const, "released" as const),
    promises: ids,
    reason,
  }),
  fc.record({ kind: fc.constant("steward" as const), node: nodes, term: fc.nat(9) }),
  fc.record({
    kind: fc.constant("voters-changed" as const),
    voters: fc.uniqueArray(nodes, { minLength: 1 }),
  }),
  fc.record({ kind: fc.constant("unplaceable" as const), key: reason, reasons: fc.array(reason) }),
  fc.record({ kind: fc.constant("placeable" as const) }),
  fc.record({ kind: fc.constant("scale" as const), requestId, replicas: fc.nat(5) }),
  fc.record({ kind: fc.constant("delete" as const), requestId: fc.constant("only") }),
  fc.tuple(requestId, fc.nat(5), hashes, fc.boolean()).map(([id, count, templateHash, createOnly]) => ({
    kind: "declare" as const,
    requestId: id,
    spec: specOf(count, templateHash),
    templateHash,
    createOnly,
  })),
);
const logs = fc.array(
  fc.tuple(changes, stamps).map(([change, stamp]): CohortCommand => ({ ...change, ...stamp })),
  { maxLength: 60 },
);

describe("any log whatever", () => {
  test("H1, H2: no slot is promised twice, no id is used twice, applying is deterministic, and the codec loses nothing", () => {
    fc.assert(
      fc.property(logs, (log) => {
        let state = founded(3);
        let twin = founded(3);
        const awarded = new Set<string>();
        log.forEach((command, position) => {
          const index = position + 2;
          const applied = applyCommand(state, command, index);
          twin = applyCommand(
            decodeState(structuredClone(encodeState(twin))),
            structuredClone(command),
            index,
          ).state;
          state = applied.state;
          expect(encodeState(twin)).toEqual(encodeState(state));
          expect(applyCommand(state, command, index)).toEqual({ state, history: [] });
          const slots = [...state.promises.values()].filter(isOccupying).map((promise) => promise.replica);
          expect(new Set(slots).size).toBe(slots.length);
          for (const event of applied.history) {
            if (event.kind !== "awarded") continue;
            const id = defined(event.promise, "the promise of an award");
            expect(awarded.has(id)).toBe(false);
            awarded.add(id);
          }
          for (const promise of state.promises.values())
            if (isOccupying(promise)) expect(state.templates.has(promise.templateHash)).toBe(true);
        });
      }),
      { seed: 3, numRuns: 400 },
    );
  });

  test("the encoded state has nothing a plain codec loses", () => {
    fc.assert(
      fc.property(logs, (log) => {
        const state = log.reduce(
          (before, command, i) => applyCommand(before, command, i + 2).state,
          founded(3),
        );
        expect(JSON.parse(JSON.stringify(encodeState(state)))).toEqual(encodeState(state));
      }),
      { seed: 4, numRuns: 100 },
    );
  });
});
