import { expect, test } from "bun:test";
import type { Charter } from "../model/charter.ts";
import type { NodeId } from "../model/ids.ts";
import type { Clock } from "../ports/clock.ts";
import { askSteward, type StewardAnswer } from "./steward-route.ts";

const charter: Charter = {
  deployment: "d",
  namespace: "default",
  name: "web",
  group: "d.1.00000000",
  epoch: 1,
  version: 1,
  founder: "a",
  voters: ["a", "b", "c"],
  deleted: false,
};

/** Every pause is over at once, and takes its time. */
class QuickClock implements Clock {
  time = 0;

  now(): number {
    return this.time;
  }

  wallMs(): number {
    return this.time;
  }

  at(when: number, callback: () => void): () => void {
    queueMicrotask(() => {
      this.time = Math.max(this.time, when);
      callback();
    });
    return () => {};
  }
}

async function route(
  steward: NodeId | undefined,
  answers: (node: NodeId, asked: number) => StewardAnswer<string>,
): Promise<{ asked: NodeId[]; outcome: Awaited<ReturnType<typeof askSteward<string>>> }> {
  const clock = new QuickClock();
  const asked: NodeId[] = [];
  const groups = { get: () => ({ steward }) };
  const outcome = await askSteward({ clock, groups }, charter, 1_000, async (node, timeoutMs) => {
    expect(timeoutMs).toBeGreaterThan(0);
    clock.time += 10;
    asked.push(node);
    return answers(node, asked.length);
  });
  return { asked, outcome };
}

test("the local member's steward is asked first", async () => {
  const { asked, outcome } = await route("c", () => ({ kind: "done", value: "yes" }));
  expect(asked).toEqual(["c"]);
  expect(outcome).toEqual({ ok: true, value: "yes" });
});

test("a hint is followed before the next voter", async () => {
  const { asked } = await route(undefined, (node) =>
    node === "z" ? { kind: "done", value: "yes" } : { kind: "not-steward", steward: "z" },
  );
  expect(asked).toEqual(["a", "z"]);
});

test("hints in a circle end, and an election is waited for", async () => {
  const { asked, outcome } = await route(undefined, (node, count) => {
    if (count > 7) return { kind: "done", value: node };
    return { kind: "not-steward", steward: node === "a" ? "b" : "a" };
  });
  expect(asked.slice(0, 3)).toEqual(["a", "b", "c"]);
  expect(outcome.ok).toBe(true);
});

test("when nobody knows the group the charter is old", async () => {
  const { asked, outcome } = await route(undefined, () => ({ kind: "unknown-group" }));
  expect(asked).toEqual(["a", "b", "c"]);
  expect(outcome).toMatchObject({ ok: false, error: { isStale: true } });
});

test("the deadline ends it, with what each node said last", async () => {
  const { outcome } = await route(undefined, (node) =>
    node === "a" ? { kind: "unknown-group" } : { kind: "failed", reason: `${node} is silent` },
  );
  expect(outcome).toMatchObject({ ok: false, error: { isStale: false } });
  if (outcome.ok) return;
  expect([...outcome.error.tried]).toEqual([
    ["a", "unknown-group"],
    ["b", "b is silent"],
    ["c", "c is silent"],
  ]);
});
