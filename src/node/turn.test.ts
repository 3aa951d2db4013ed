import { expect, test } from "bun:test";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import type { Store, StoreWrite } from "../ports/store.ts";
import { Turn } from "./turn.ts";

const logger: Logger = {
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
  child: () => logger,
};
/** Every timer is due at once. */
const clock: Clock = {
  now: () => 0,
  wallMs: () => 0,
  at: (_when, callback) => {
    queueMicrotask(callback);
    return () => {};
  },
};

class FakeStore implements Store {
  readonly commits: (readonly StoreWrite[])[] = [];
  refusals = 0;

  async commit(writes: readonly StoreWrite[]): Promise<void> {
    if (this.refusals-- > 0) throw new Error("full");
    this.commits.push(writes);
  }

  async get(): Promise<undefined> {
    return undefined;
  }

  async scan(): Promise<[]> {
    return [];
  }

  async readLog(): Promise<[]> {
    return [];
  }

  async close(): Promise<void> {}
}

function rig(): {
  store: FakeStore;
  turn: Turn;
  told: string[];
  tell: (word: string) => { kind: "do"; run: () => void };
} {
  const store = new FakeStore();
  const told: string[] = [];
  const turn = new Turn({ store, clock, logger });
  return { store, turn, told, tell: (word) => ({ kind: "do", run: () => void told.push(word) }) };
}

const write = (key: string): { kind: "write"; writes: StoreWrite[] } => ({
  kind: "write",
  writes: [{ kind: "delete", table: "members", key }],
});

test("T1, T2: what stands behind a write waits for the commit, what stands before it or on another lane does not", async () => {
  const { turn, store, told, tell } = rig();
  const [a, b] = [{}, {}];
  turn.enqueue(() => turn.carryOut(a, [tell("before"), write("x"), tell("behind")]));
  turn.enqueue(() => turn.carryOut(b, [tell("other lane")]));
  turn.enqueue(() => {
    turn.carryOut(a, [tell("same lane")]);
    expect(told).toEqual(["before", "other lane"]);
  });
  await turn.idle();
  expect(told).toEqual(["before", "other lane", "behind", "same lane"]);
  expect(store.commits.length).toBe(1);
});

test("all writes of a turn are one commit, in order", async () => {
  const { turn, store } = rig();
  for (const key of ["1", "2", "3"]) turn.enqueue(() => turn.carryOut({}, [write(key)]));
  await turn.idle();
  expect(store.commits.map((writes) => writes.map((one) => (one.kind === "delete" ? one.key : "")))).toEqual([
    ["1", "2", "3"],
  ]);
});

test("an input that comes during a commit is stepped in the next turn", async () => {
  const { turn, store, told, tell } = rig();
  turn.enqueue(() => {
    turn.carryOut({}, [write("x"), tell("first")]);
    queueMicrotask(() => turn.enqueue(() => turn.carryOut({}, [write("y"), tell("second")])));
  });
  await turn.idle();
  expect(told).toEqual(["first", "second"]);
  expect(store.commits.length).toBe(2);
});

test("T3: a commit that was refused is tried again, and nothing goes out before it succeeds", async () => {
  const { turn, store, told, tell } = rig();
  store.refusals = 3;
  turn.enqueue(() => turn.carryOut({}, [write("x"), tell("behind")]));
  await turn.idle();
  expect(told).toEqual(["behind"]);
  expect(turn.failure).toBeUndefined();
  expect(store.commits.length).toBe(1);
});

test("T3: closing does not wait for a store that takes nothing, and nothing goes out", async () => {
  const { turn, store, told, tell } = rig();
  store.refusals = Infinity;
  turn.enqueue(() => turn.carryOut({}, [write("x"), tell("behind")]));
  await turn.close();
  turn.enqueue(() => turn.carryOut({}, [tell("late")]));
  await turn.idle();
  expect(told).toEqual([]);
});

test("who waits for work to become durable is told when the store refuses, at once while it does", async () => {
  const store = new FakeStore();
  const due: (() => void)[] = [];
  const held: Clock = { ...clock, at: (_when, callback) => (due.push(callback), () => {}) };
  const turn = new Turn({ store, clock: held, logger });
  expect(await turn.unlessRefused(async () => "done")).toBe("done");
  store.refusals = 1;
  const waiting = turn.unlessRefused(
    () => new Promise<void>((done) => turn.enqueue(() => turn.carryOut({}, [{ ...write("x"), done }]))),
  );
  await expect(waiting).rejects.toThrow("takes no writes");
  expect(turn.failure).toContain("full");
  let hasBegun = false;
  const late = turn.unlessRefused(async () => {
    hasBegun = true;
  });
  await expect(late).rejects.toThrow("takes no writes");
  expect(hasBegun).toBe(false);
  for (const retry of due) retry();
  await turn.idle();
  expect(turn.failure).toBeUndefined();
  expect(await turn.unlessRefused(async () => "again")).toBe("again");
});
