import { expect, test } from "bun:test";
import type { Charter } from "../model/charter.ts";
import type { NodeId } from "../model/ids.ts";
import type { CohortRef, InstanceReport } from "../model/promise.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import type { Transport } from "../ports/transport.ts";
import { methods } from "../wire/calls.ts";
import { Peers } from "./peers.ts";
import { Reporter } from "./reporter.ts";

const hex = (digit: string): string => digit.repeat(32);
const [self, a, b, c] = [hex("0"), hex("a"), hex("b"), hex("c")];
const group = `${hex("d")}.1.0000000a`;
const cohort: CohortRef = { group, deployment: hex("d"), epoch: 1, voters: [a, b, c] };
const logger: Logger = {
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
  child: () => logger,
};
/** Nothing here is late. */
const clock: Clock = { now: () => 0, wallMs: () => 0, at: () => () => {} };
const report = (seq: number, ordinal = 1): InstanceReport => ({
  promise: `${group}/${ordinal}`,
  phase: "running",
  ready: true,
  containers: [],
  seq,
  restarts: 0,
  sinceMs: 0,
});

type Answer =
  | { readonly kind: "taken" }
  | { readonly kind: "not-steward"; readonly steward?: NodeId }
  | { readonly kind: "unknown-group" };

/** A fleet of voters that answer as told. */
class Rig {
  readonly asked: { readonly node: NodeId; readonly seqs: readonly number[] }[] = [];
  readonly released: string[] = [];
  readonly changed: CohortRef[] = [];
  charter: Charter | undefined;
  readonly reporter: Reporter;

  constructor(answer: (node: NodeId) => Answer | Promise<Answer>) {
    const nodes = new Map<NodeId, Peers>();
    const transport: Transport = {
      start: async () => {},
      addresses: () => [],
      datagram: () => {},
      post: () => {},
      call: async ({ id }, method, payload) => {
        const node = nodes.get(id);
        if (node === undefined) throw new Error("unreachable");
        return node.receive(self, method, payload);
      },
      open: async () => Promise.reject(new Error("no streams")),
      probe: async () => "answered",
      close: async () => {},
    };
    const locate = (id: NodeId): { id: NodeId; addresses: string[] } => ({ id, addresses: [id] });
    for (const id of [a, b, c]) {
      const peers = new Peers({ transport, locate, clock }, { self: id });
      peers.handle(methods.report, async (_from, { reports }) => {
        this.asked.push({ node: id, seqs: reports.map(({ seq }) => seq) });
        return answer(id);
      });
      nodes.set(id, peers);
    }
    this.reporter = new Reporter({
      peers: new Peers({ transport, locate, clock }, { self }),
      logger,
      charterOf: async () => this.charter,
      cohortChanged: (changed) => this.changed.push(changed),
      releaseGroup: (id, reason) => this.released.push(`${id} ${reason}`),
    });
  }

  async settled(): Promise<void> {
    for (let before = -1; before !== this.asked.length;) {
      before = this.asked.length;
      for (let i = 0; i < 50; i++) await Promise.resolve();
    }
  }
}

test("a report finds the steward by the voters' hints, and the next goes straight there", async () => {
  const rig = new Rig((node) => (node === c ? { kind: "taken" } : { kind: "not-steward", steward: c }));
  rig.reporter.submit(report(1), cohort);
  await rig.settled();
  rig.reporter.submit(report(2), cohort);
  await rig.settled();
  expect(rig.asked.map(({ node }) => node)).toEqual([a, c, c]);
});

test("what comes during a call is joined, the newest word on each promise", async () => {
  const rig = new Rig(() => ({ kind: "taken" }));
  rig.reporter.learnSteward(group, a);
  for (const seq of [1, 2]) rig.reporter.submit(report(seq), cohort);
  await Promise.resolve();
  for (const seq of [3, 4]) rig.reporter.submit(report(seq), cohort);
  rig.reporter.submit(report(1, 2), cohort);
  await rig.settled();
  expect(rig.asked.map(({ seqs }) => seqs)).toEqual([[2], [4, 1]]);
});

test("when nobody takes it, the keeper's next repetition starts over", async () => {
  const rig = new Rig(() => ({ kind: "not-steward" }));
  rig.reporter.submit(report(1), cohort);
  await rig.settled();
  rig.reporter.submit(report(1), cohort);
  await rig.settled();
  expect(rig.asked.map(({ node }) => node)).toEqual([a, b, c, a, b, c]);
  expect(rig.released).toEqual([]);
});

const charter: Charter = {
  deployment: cohort.deployment,
  namespace: "default",
  name: "web",
  group,
  epoch: 1,
  version: 2,
  founder: a,
  voters: [a, b, c],
  deleted: false,
};

test.each([
  ["unknown to the guardians too", undefined, 0, 0],
  ["with the same voters", charter, 0, 0],
  ["with other voters", { ...charter, voters: [b, c] }, 0, 1],
  ["deleted", { ...charter, deleted: true }, 1, 0],
  ["deleted in an earlier epoch", { ...charter, epoch: 0, deleted: true }, 0, 0],
  ["founded anew", { ...charter, epoch: 2, group: `${hex("d")}.2.0000000b` }, 1, 0],
] as const)("a cohort that its voters do not know, %s", async (_what, known, releases, changes) => {
  const rig = new Rig(() => ({ kind: "unknown-group" }));
  rig.charter = known;
  rig.reporter.submit(report(1), cohort);
  await rig.settled();
  expect([rig.released.length, rig.changed.length]).toEqual([releases, changes]);
});
