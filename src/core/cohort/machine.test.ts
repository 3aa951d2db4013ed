import { describe, expect, test } from "bun:test";
import { defined } from "../../model/assert.ts";
import type { NodeId } from "../../model/ids.ts";
import type { CallAnswer, Refusal } from "../../model/placement.ts";
import type { InstancePhase } from "../../model/promise.ts";
import type { DeploymentSpec, PortSpec } from "../../model/spec.ts";
import type { Instant } from "../machine.ts";
import { createSpreadPolicy } from "../placement/policy.ts";
import { createRng } from "../rng.ts";
import { foundingState } from "./founding.ts";
import { CohortMachine } from "./machine.ts";
import type { CohortEffect, CohortInput } from "./messages.ts";
import { defaultCohortOptions as options } from "./options.ts";
import { mainContainer, singleContainer } from "../../model/template.ts";

type Kind = CohortEffect["kind"];
type Effect<K extends Kind> = Extract<CohortEffect, { readonly kind: K }>;

function specOf(replicas: number, image = "web:1", ports: readonly PortSpec[] = []): DeploymentSpec {
  return {
    namespace: "shop",
    name: "web",
    replicas,
    template: singleContainer({ image, ports }),
  };
}

/** Machine "a" of a fleet, whose proposals are committed at once unless `holdsLog`. */
class Bench {
  readonly machine: CohortMachine;
  now: Instant = 0;
  holdsLog = false;
  effects: CohortEffect[] = [];
  #index = 1;
  #term = 0;
  #held: Effect<"propose">[] = [];
  readonly #dead = new Set<NodeId>();
  readonly #suspect = new Set<NodeId>();
  #nodes: NodeId[];

  constructor(nodes: NodeId[], spec: DeploymentSpec, voters: NodeId[] = ["a"]) {
    this.#nodes = nodes;
    this.machine = new CohortMachine(
      { self: "a", policy: createSpreadPolicy(createRng(1)), wallOffsetMs: 1_000_000 },
      options,
      foundingState({
        group: "g",
        deployment: "d".repeat(32),
        epoch: 1,
        founder: "a",
        spec,
        templateHash: mainContainer(spec.template).image,
        voters,
        requestId: "founding",
        atMs: 0,
      }),
    );
    this.members();
    this.feed({ kind: "config", voters, learners: [], joint: false });
  }

  lead(): this {
    this.#term += 1;
    return this.feed({ kind: "role", role: "steward", term: this.#term });
  }

  feed(input: CohortInput): this {
    for (const effect of this.machine.step(input, this.now)) {
      this.effects.push(effect);
      if (effect.kind === "propose") this.#held.push(effect);
    }
    if (!this.holdsLog) this.commit();
    return this;
  }

  commit(): this {
    for (let next = this.#held.shift(); next !== undefined; next = this.#held.shift()) {
      this.#index += 1;
      this.feed({ kind: "committed", index: this.#index, term: this.#term, command: next.command });
    }
    return this;
  }

  drop(): this {
    const held = this.#held;
    this.#held = [];
    for (const { proposal } of held) this.feed({ kind: "dropped", proposal, reason: "too-many" });
    return this;
  }

  /** Lets time pass, timer by timer. */
  pass(ms: number): this {
    const until = this.now + ms;
    for (
      let next = this.machine.deadline();
      next !== undefined && next <= until;
      next = this.machine.deadline()
    ) {
      this.now = Math.max(this.now, next);
      this.feed({ kind: "timeout" });
    }
    this.now = until;
    return this;
  }

  /** The effects of one kind since the last time, all of them forgotten then. */
  took<K extends Kind>(kind: K): Effect<K>[] {
    const found = this.effects.filter((effect): effect is Effect<K> => effect.kind === kind);
    this.effects = [];
    return found;
  }

  members(change: { dead?: NodeId[]; suspect?: NodeId[]; alive?: NodeId[]; free?: number } = {}): this {
    for (const id of change.alive ?? []) {
      this.#dead.delete(id);
      this.#suspect.delete(id);
      if (!this.#nodes.includes(id)) this.#nodes = [...this.#nodes, id];
    }
    for (const id of change.dead ?? []) this.#dead.add(id);
    for (const id of change.suspect ?? []) this.#suspect.add(id);
    const named = (id: NodeId) => ({ id, name: `node-${id}` });
    return this.feed({
      kind: "members",
      alive: this.#nodes
        .filter((id) => !this.#dead.has(id) && !this.#suspect.has(id))
        .map((id) => ({ ...named(id), free: { cpuMillis: change.free ?? 1000, memoryBytes: 1000 } })),
      suspect: [...this.#suspect].map(named),
      dead: [...this.#dead].map(named),
    });
  }

  offers(slots: Record<NodeId, number>): this {
    const calls = this.took("call");
    for (const { callId, to, request } of calls) {
      const count = slots[to];
      if (count === undefined) continue;
      const free = { cpuMillis: 1000, memoryBytes: 1000 };
      const offer = {
        node: to,
        slots: Math.min(count, request.count),
        held: 0,
        promises: 0,
        free,
        capacity: free,
        hasImages: true,
      };
      const refusal: Refusal = { node: to, reason: "port-taken", detail: "port 80/tcp is taken by nginx" };
      const answer: CallAnswer = count > 0 ? { kind: "offer", offer } : { kind: "refusal", refusal };
      this.feed({ kind: "call-answer", callId, node: to, answer });
    }
    return this;
  }

  promiseAll(): this {
    for (const { to, promises } of this.took("award"))
      this.feed({ kind: "award-answer", node: to, results: promises.map(({ id }) => ({ promise: id })) });
    return this;
  }

  report(node: NodeId, promise: string, seq: number, phase: InstancePhase): this {
    const ready = phase === "running";
    const report = { promise, seq, phase, ready, restarts: 0, sinceMs: 1, containers: [] };
    return this.feed({ kind: "report", node, reports: [report] });
  }

  places(): string[] {
    return [...defined(this.machine.state, "a state").promises.values()].map(
      ({ id, replica, node, stage }) => `${id} ${replica}@${node} ${stage}`,
    );
  }
}

/** Three nodes, two replicas of which g/1 runs on b and g/2 on c. */
function running(): Bench {
  const bench = new Bench(["a", "b", "c"], specOf(2), ["a", "b", "c"]).lead();
  bench.offers({ a: 0, b: 1, c: 1 }).promiseAll();
  bench.report("b", "g/1", 1, "running").report("c", "g/2", 1, "running");
  bench.effects = [];
  return bench;
}

describe("becoming steward", () => {
  test("H4: it acts only when its own entry is committed", () => {
    const bench = new Bench(["a", "b"], specOf(1));
    bench.holdsLog = true;
    bench.lead().pass(5_000);
    expect(bench.effects.map((effect) => effect.kind)).toEqual(["propose"]);
    bench.commit();
    expect(
      bench
        .took("call")
        .map((call) => call.to)
        .toSorted(),
    ).toEqual(["a", "b"]);
  });

  test("H4: until then it judges no report: what it does not know yet may well be its own", () => {
    const bench = running();
    bench.holdsLog = true;
    bench.lead().report("b", "g/99", 1, "running");
    expect(bench.took("ack-report")).toEqual([]);
    bench.commit().report("b", "g/99", 1, "running");
    expect(bench.took("ack-report")).toMatchObject([{ to: "b", unknown: ["g/99"] }]);
  });

  test("asks every holder for what it has, sends unanswered awards again, and shows the charter", () => {
    const bench = new Bench(["a", "b", "c"], specOf(2), ["a", "b", "c"]).lead().offers({ a: 0, b: 1, c: 1 });
    bench.effects = [];
    bench.lead();
    const kinds = bench.effects.filter((effect) => effect.kind !== "event").map((effect) => effect.kind);
    expect(kinds).toEqual(["propose", "inquire", "inquire", "award", "award", "publish-charter"]);
  });

  test("what a complete answer lacks is broken, or released when it was to go", () => {
    const bench = running();
    bench.feed({ kind: "request", requestId: "s", change: { kind: "scale", replicas: 1 } });
    bench.lead();
    for (const { to, inquiry } of bench.took("inquire"))
      bench.feed({ kind: "report", node: to, reports: [], inquiry });
    expect(bench.places()).toEqual(["g/1 0@b broken"]);
  });

  test("a steady deployment causes nothing and needs no timer", () => {
    const bench = running();
    bench.pass(3_600_000).members();
    expect(bench.effects).toEqual([]);
    expect(bench.machine.deadline()).toBeUndefined();
  });
});

describe("calling and awarding", () => {
  test("closes as soon as there are slots enough and two more than needed have answered", () => {
    const bench = new Bench(["a", "b", "c", "e"], specOf(1)).lead();
    bench.offers({ a: 1 });
    expect(bench.places()).toEqual([]);
    bench.now += 1;
    const again = new Bench(["a", "b", "c", "e"], specOf(1)).lead().offers({ a: 1, b: 1, c: 0 });
    expect(again.places()).toEqual(["g/1 0@a awarded"]);
  });

  test("with slots enough, silent nodes are waited for no longer than the timeout", () => {
    const bench = new Bench(["a", "b", "c", "e"], specOf(1)).lead().offers({ b: 1 });
    bench.pass(options.callTimeoutMs - 1);
    expect(bench.places()).toEqual([]);
    expect(bench.pass(1).places()).toEqual(["g/1 0@b awarded"]);
  });

  test("asks the rest of the fleet when the first do not suffice", () => {
    const nodes = ["a", "b", "c", "d", "e", "f", "h"];
    const bench = new Bench(nodes, specOf(1)).lead();
    const first = bench.effects.filter((effect) => effect.kind === "call").length;
    expect(first).toBe(5);
    bench.offers(Object.fromEntries(nodes.map((id) => [id, 0])));
    expect(bench.effects.filter((effect) => effect.kind === "call").length).toBe(2);
  });

  test("an award is in the log before it is sent, and carries everything the node needs", () => {
    const bench = new Bench(["a", "b"], specOf(1)).lead();
    bench.holdsLog = true;
    bench.offers({ a: 0, b: 1 });
    expect(bench.effects.some((effect) => effect.kind === "award")).toBe(false);
    const [award] = bench.commit().took("award");
    expect(award).toMatchObject({
      to: "b",
      promises: [
        {
          id: "g/1",
          group: "g",
          epoch: 1,
          replica: 0,
          templateHash: "web:1",
          template: { containers: [{ image: "web:1" }] },
        },
      ],
      cohort: { group: "g", voters: ["a"] },
    });
  });

  test("an unanswered award is sent again, and broken after a long silence", () => {
    const bench = new Bench(["a", "b"], specOf(1)).lead().offers({ a: 0, b: 1 });
    expect(bench.took("award").length).toBe(1);
    bench.pass(options.resendMs);
    expect(bench.took("award").length).toBe(1);
    bench.pass(options.awardTimeoutMs);
    expect(bench.places()).toContain("g/1 0@b broken");
  });

  test("a refused award goes to the next best offer of the same call", () => {
    const bench = new Bench(["a", "b", "c"], specOf(1)).lead().offers({ a: 0, b: 1, c: 1 });
    const refusal: Refusal = { node: "b", reason: "memory", detail: "full" };
    bench.effects = [];
    bench.feed({ kind: "award-answer", node: "b", results: [{ promise: "g/1", refusal }] });
    expect(bench.places()).toEqual(["g/2 0@c awarded"]);
    expect(bench.took("call")).toEqual([]);
  });

  test("a node that refused is left alone for a while", () => {
    const bench = new Bench(["a", "b"], specOf(1)).lead().offers({ a: 0, b: 1 });
    const refusal: Refusal = { node: "b", reason: "memory", detail: "full" };
    bench.effects = [];
    bench.feed({ kind: "award-answer", node: "b", results: [{ promise: "g/1", refusal }] });
    expect(bench.took("call").map((call) => call.to)).toEqual(["a"]);
    bench.pass(options.backoffMinMs);
    expect(bench.took("call").map((call) => call.to)).not.toEqual([]);
  });

  test("unplaceable is said once with its reasons, tried again with growing pauses, and said to be over", () => {
    const bench = new Bench(["a", "b"], specOf(1)).lead().offers({ a: 0, b: 0 });
    const state = () => defined(bench.machine.state, "a state");
    expect(state().unplaced.reasons).toEqual(["2 nodes: port 80/tcp is taken by nginx"]);
    let calls = 0;
    for (let second = 0; second < 100; second++) {
      bench.pass(1_000);
      calls += bench.effects.filter((effect) => effect.kind === "call").length / 2;
      bench.offers({ a: 0, b: 0 });
    }
    expect(calls).toBe(7);
    expect(state().history.filter((event) => event.kind === "unplaceable").length).toBe(1);
    bench.members({ alive: ["c"] }).offers({ a: 0, b: 0, c: 1 });
    expect(bench.places()).toEqual(["g/1 0@c awarded"]);
    expect(state().unplaced.reasons).toEqual([]);
  });

  test("what has a place is awarded though not all have one", () => {
    const bench = new Bench(["a", "b"], specOf(3)).lead().offers({ a: 1, b: 1 });
    expect(bench.places()).toEqual(["g/1 0@a awarded", "g/2 1@b awarded"]);
    expect(defined(bench.machine.state, "a state").unplaced.reasons.length).toBe(1);
  });

  test("after a dropped proposal it pauses and starts anew", () => {
    const bench = new Bench(["a", "b"], specOf(1)).lead();
    bench.holdsLog = true;
    bench.offers({ a: 0, b: 1 }).drop();
    bench.effects = [];
    bench.holdsLog = false;
    bench.pass(options.proposePauseMs);
    expect(bench.places()).toEqual([]);
    expect(bench.offers({ a: 0, b: 1 }).places()).toEqual(["g/1 0@b awarded"]);
  });
});

describe("losing nodes", () => {
  test("H5: a suspect's promises stay, a dead node's are broken and called for at once", () => {
    const bench = running();
    expect(bench.members({ suspect: ["c"] }).effects).toEqual([]);
    bench.holdsLog = true;
    bench.members({ dead: ["c"] });
    expect(bench.effects.map((effect) => effect.kind)).toEqual(["propose", "call", "call"]);
    bench.holdsLog = false;
    bench.commit().offers({ a: 1, b: 0 });
    expect(bench.places()).toEqual(["g/1 0@b promised", "g/2 1@c broken", "g/3 1@a awarded"]);
    const causes = defined(bench.machine.state, "a state").history.map((event) => event.cause);
    expect(causes).toContain("node node-c is dead");
  });

  test("H6: a node that returns is told to release what was broken, until nothing of it is left", () => {
    const bench = running()
      .members({ dead: ["c"] })
      .offers({ a: 1, b: 0 })
      .promiseAll();
    bench.report("a", "g/3", 1, "running");
    bench.effects = [];
    bench.members({ alive: ["c"] });
    expect(bench.effects.filter((effect) => effect.kind !== "propose-conf-change")).toMatchObject([
      { kind: "inquire", to: "c" },
      { kind: "release", to: "c", promises: ["g/2"] },
    ]);
    bench.feed({ kind: "release-answer", node: "c", accepted: ["g/2"], unknown: [] });
    bench.report("c", "g/2", 2, "stopped");
    expect(bench.places()).toEqual(["g/1 0@b promised", "g/3 1@a promised"]);
  });

  test("H6: a node with something broken left to stop is not asked to volunteer", () => {
    const bench = running()
      .members({ dead: ["c"] })
      .offers({ a: 0, b: 0 });
    bench.members({ alive: ["c"] });
    bench.effects = [];
    bench.pass(options.backoffMaxMs);
    expect(new Set(bench.took("call").map((call) => call.to))).toEqual(new Set(["a", "b"]));
    bench.feed({ kind: "release-answer", node: "c", accepted: [], unknown: ["g/2"] });
    expect(bench.took("call").map((call) => call.to)).toContain("c");
  });

  test("a holder that membership has never heard of is held for dead after the grace", () => {
    const bench = running();
    bench.feed({
      kind: "members",
      alive: ["a", "b"].map((id) => ({ id, name: id, free: { cpuMillis: 0, memoryBytes: 0 } })),
      suspect: [],
      dead: [],
    });
    expect(bench.pass(options.unknownGraceMs - 1).places()).toContain("g/2 1@c promised");
    expect(bench.pass(1).places()).toContain("g/2 1@c broken");
  });
});

describe("reports", () => {
  test("a report is acknowledged when it is in the log, and what comes meanwhile goes in one batch", () => {
    const bench = running();
    bench.holdsLog = true;
    bench.report("b", "g/1", 2, "backoff").report("b", "g/1", 3, "starting").report("c", "g/2", 2, "backoff");
    bench.report("b", "g/1", 4, "running");
    expect(bench.effects.map((effect) => effect.kind)).toEqual(["propose"]);
    bench.commit();
    const acks = bench.took("ack-report").map(({ to, acked }) => [to, acked]);
    expect(acks).toEqual([
      ["b", [{ promise: "g/1", seq: 2 }]],
      ["b", [{ promise: "g/1", seq: 4 }]],
      ["c", [{ promise: "g/2", seq: 2 }]],
    ]);
    expect(bench.machine.state?.promises.get("g/1")).toMatchObject({ phase: "running", seq: 4 });
  });

  test("what tells the log nothing is acknowledged at once; what is not ours is to be released", () => {
    const bench = running().report("b", "g/1", 9, "running").report("b", "g/77", 1, "running");
    bench.report("b", "g/78", 1, "stopped");
    expect(bench.took("ack-report")).toMatchObject([
      { acked: [{ promise: "g/1", seq: 9 }], unknown: [] },
      { acked: [], unknown: ["g/77"] },
      { acked: [{ promise: "g/78", seq: 1 }], unknown: [] },
    ]);
  });
});

describe("requests", () => {
  const scale = (replicas: number) => ({ kind: "scale", replicas }) as const;

  test("only the steward takes them; the others say who it is", () => {
    const bench = new Bench(["a", "b"], specOf(1));
    bench.feed({ kind: "role", role: "follower", steward: "b", term: 1 });
    bench.feed({ kind: "request", requestId: "r", change: scale(2) });
    expect(bench.took("reply")).toMatchObject([
      {
        outcome: { ok: false, error: { code: "no-steward", message: "The steward of shop/web is node-b." } },
      },
    ]);
  });

  test("H3: a repeated request is answered again and applied once", () => {
    const bench = running();
    bench.feed({ kind: "request", requestId: "r", change: scale(3) });
    bench.feed({ kind: "request", requestId: "r", change: scale(3) });
    const replies = bench.took("reply");
    expect(replies.length).toBe(2);
    expect(replies[0]).toEqual(defined(replies[1], "the second reply"));
    expect(bench.machine.state?.specVersion).toBe(2);
  });

  test("a steward that is deposed says so to whoever waits", () => {
    const bench = running();
    bench.holdsLog = true;
    bench.feed({ kind: "request", requestId: "r", change: scale(3) });
    bench.feed({ kind: "role", role: "follower", term: 9 });
    expect(bench.took("reply")).toMatchObject([
      { requestId: "r", outcome: { ok: false, error: { code: "no-steward" } } },
    ]);
  });

  test("the answer says which loss is not tolerated", () => {
    const notes = (nodes: NodeId[], voters: NodeId[]): unknown => {
      const bench = new Bench(nodes, specOf(0), voters).lead();
      bench.feed({ kind: "request", requestId: "founding", change: scale(0) });
      const [reply] = bench.took("reply");
      return reply?.outcome.ok === true ? reply.outcome.value.notes : undefined;
    };
    expect(notes(["a"], ["a"])).toEqual(["one node: no loss is tolerated"]);
    expect(notes(["a", "b"], ["a"])).toEqual(["two nodes: losing node-a stops changes until it is back"]);
    expect(notes(["a", "b", "c"], ["a", "b", "c"])).toEqual([]);
    expect(notes(["a", "b"], ["a", "b", "c"])).toEqual([
      "2 of 3 voters are up: losing node-a or node-b stops changes until it is back",
    ]);
  });

  test("H7: delete shows its tombstone at once, releases everything and retires after the linger", () => {
    const bench = running();
    bench.feed({ kind: "request", requestId: "del", change: { kind: "delete" } });
    const kinds = bench.effects
      .map((effect) => effect.kind)
      .filter((kind) => kind !== "event" && kind !== "propose");
    expect(kinds).toEqual(["reply", "publish-charter", "release", "release"]);
    expect(bench.took("publish-charter")).toMatchObject([{ charter: { version: 2, deleted: true } }]);
    bench.report("b", "g/1", 5, "stopped").members({ dead: ["c"] });
    expect(bench.machine.state?.status).toBe("deleted");
    expect(bench.pass(options.lingerMs - 1).took("retire")).toEqual([]);
    expect(bench.pass(1).took("retire").length).toBe(1);
    expect(bench.machine.deadline()).toBeUndefined();
  });
});

describe("a new member", () => {
  test("has no state until it is sent one, and refuses requests meanwhile", () => {
    const machine = new CohortMachine(
      { self: "z", policy: createSpreadPolicy(createRng(1)), wallOffsetMs: 0 },
      options,
      undefined,
    );
    const effects = machine.step({ kind: "request", requestId: "r", change: { kind: "delete" } }, 0);
    expect(effects).toMatchObject([{ kind: "reply", outcome: { ok: false, error: { code: "no-steward" } } }]);
    const { state } = running().machine;
    machine.step({ kind: "restored", state: defined(state, "a state") }, 0);
    expect(machine.state).toEqual(defined(state, "a state"));
  });
});
