import { expect, test } from "bun:test";
import { foundingState } from "../core/cohort/founding.ts";
import type { CohortState, PromiseRecord } from "../core/cohort/state.ts";
import type { MemberRecord } from "../model/member.ts";
import { cohortView, deploymentView, nodeNameOf, type FleetView, type GroupStatus } from "./views.ts";
import { singleContainer } from "../model/template.ts";

const hex = (digit: string): string => digit.repeat(32);
const [a, b, c] = [hex("a"), hex("b"), hex("c")];
const deployment = hex("d");
const group = `${deployment}.1.0000000a`;

function member(id: string, status: MemberRecord["status"]): MemberRecord {
  const meta = { freeCpuMillis: 0, freeMemoryBytes: 0, protocolVersions: [1, 1] } as const;
  return { id, name: `node-${id[0]}`, addresses: [], incarnation: 1, status, meta };
}

function fleetOf(...members: readonly MemberRecord[]): FleetView {
  return { fleetPrefix: "fd000001", member: (id) => members.find((one) => one.id === id) };
}

function promise(ordinal: number, changes: Partial<PromiseRecord> = {}): PromiseRecord {
  return {
    id: `${group}/${ordinal}`,
    replica: 0,
    node: a,
    templateHash: "t",
    stage: "promised",
    phase: "running",
    seq: 1,
    ready: true,
    restarts: 0,
    sinceMs: 0,
    containers: [],
    ...changes,
  };
}

function stateWith(replicas: number, promises: readonly PromiseRecord[]): CohortState {
  const template = singleContainer({ image: "web" }, { stopTimeoutMs: 0 });
  const founded = foundingState({
    group,
    deployment,
    epoch: 1,
    founder: a,
    spec: { namespace: "default", name: "web", replicas, template },
    templateHash: "t",
    voters: [a, b, c],
    requestId: "r1",
    atMs: 0,
  });
  return { ...founded, promises: new Map(promises.map((one) => [one.id, one])) };
}

const freshness = { source: "steward", node: a, index: 1 } as const;
const everybody = fleetOf(member(a, "alive"), member(b, "alive"), member(c, "alive"));
const statusOf = (voters: readonly string[], learners: readonly string[] = []): GroupStatus => ({
  term: 2,
  leader: a,
  commitIndex: 7,
  voters,
  learners,
  match: new Map([[a, 7]]),
});

test("only what runs counts as running", () => {
  const state = stateWith(3, [
    promise(1),
    promise(2, { replica: 1, phase: "backoff" }),
    promise(3, { replica: 2, stage: "awarded" }),
  ]);
  const view = deploymentView(state, everybody, a, freshness);
  expect([view.running, view.desired]).toEqual([1, 3]);
  expect(view.replicas.map(({ phase }) => phase)).toEqual(["running", "backoff", "awarded"]);
});

test("a broken promise is shown until its slot is served again, and never past the wanted slots", () => {
  const broken = promise(1, { stage: "broken" });
  const show = (replicas: number, ...promises: PromiseRecord[]): string[] =>
    deploymentView(stateWith(replicas, promises), everybody, a, freshness).replicas.map(({ phase }) => phase);
  expect(show(1, broken)).toEqual(["broken"]);
  expect(show(1, broken, promise(2, { node: b }))).toEqual(["running"]);
  expect(show(0, broken)).toEqual([]);
});

test("a deployment that is going wants nothing", () => {
  const view = deploymentView({ ...stateWith(3, []), status: "deleting" }, everybody, a, freshness);
  expect([view.status, view.desired]).toEqual(["deleting", 0]);
});

test("members have every role they play, and strangers their short ids", () => {
  const state = stateWith(1, [promise(1, { node: b })]);
  const view = cohortView(state, statusOf([a, b], [hex("e")]), everybody, freshness);
  const roles = new Map(view.members.map(({ name, roles: own }) => [name, own.join()]));
  expect(roles.get("node-a")).toBe("steward,voter,witness");
  expect(roles.get("node-b")).toBe("voter,holder");
  expect(roles.get(nodeNameOf(everybody, hex("e")))).toBe("learner");
  expect(view.members.find(({ node }) => node === hex("e"))?.status).toBe("unknown");
});

test("what may still be lost is said when it is nothing", () => {
  const three = cohortView(stateWith(1, []), statusOf([a, b, c]), everybody, freshness);
  expect([three.tolerates, three.note]).toEqual([1, undefined]);
  const one = cohortView(stateWith(1, []), statusOf([a]), everybody, freshness);
  expect(one.tolerates).toBe(0);
  expect(one.note).toContain("node-a");
  const hurt = fleetOf(member(a, "alive"), member(b, "alive"), member(c, "dead"));
  expect(cohortView(stateWith(1, []), statusOf([a, b, c]), hurt, freshness).tolerates).toBe(0);
});
