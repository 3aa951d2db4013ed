/** What every store keeps to. An adapter's test file gives `runStoreSuite` a setup and nothing else. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { StoreError, type Store } from "../../src/ports/store.ts";

export interface StoreHarness {
  readonly store: Store;
  /** Opens the same store again; the last one was closed. */
  open(): Promise<Store>;
  /** The disk has no room for `bigValueBytes` more, until the returned function is called. Undefined: this machine does not let us try. */
  readonly fill: (() => Promise<() => Promise<void>>) | undefined;
  /** Removes all that was made. */
  dispose(): Promise<void>;
}

export const bigValueBytes = 4 * 1024 * 1024;

export function runStoreSuite(name: string, setup: () => Promise<StoreHarness>): void {
  describe(`store contract: ${name}`, () => {
    let harness: StoreHarness;
    let store: Store;

    beforeEach(async () => {
      harness = await setup();
      store = harness.store;
    });
    afterEach(async () => {
      await store.close();
      await harness.dispose();
    });

    const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
    const put = (key: string, text: string) =>
      ({ kind: "put", table: "node", key, value: bytes(text) }) as const;
    const append = (group: string, firstIndex: number, ...texts: string[]) =>
      ({ kind: "append", group, firstIndex, entries: texts.map(bytes) }) as const;
    const get = async (key: string): Promise<string | undefined> => {
      const value = await store.get("node", key);
      return value === undefined ? undefined : new TextDecoder().decode(value);
    };
    const log = async (group: string): Promise<string[]> =>
      (await store.readLog(group)).map(({ index, value }) => `${index}:${new TextDecoder().decode(value)}`);
    const reopen = async (): Promise<void> => {
      await store.close();
      store = await harness.open();
    };

    test("a new store is empty", async () => {
      expect(await store.get("node", "a")).toBeUndefined();
      expect(await store.scan("promises")).toEqual([]);
      expect(await store.readLog("g")).toEqual([]);
    });

    test("records are put, replaced, deleted", async () => {
      await store.commit([put("a", "1"), put("b", "2")]);
      await store.commit([put("a", "3"), { kind: "delete", table: "node", key: "b" }]);
      await store.commit([{ kind: "delete", table: "node", key: "never-was" }]);
      expect(await get("a")).toBe("3");
      expect(await get("b")).toBeUndefined();
      await reopen();
      expect(await get("a")).toBe("3");
      expect(await get("b")).toBeUndefined();
    });

    test("a scan is ordered by key and stays within its table", async () => {
      await store.commit([
        put("b", "2"),
        put("a10", "4"),
        put("a", "1"),
        put("a9", "3"),
        { kind: "put", table: "members", key: "x", value: bytes("5") },
      ]);
      expect((await store.scan("node")).map((record) => record.key)).toEqual(["a", "a10", "a9", "b"]);
      expect((await store.scan("members")).map((record) => record.key)).toEqual(["x"]);
    });

    test("values are any bytes, none and many", async () => {
      const all = Uint8Array.from({ length: 256 }, (_, i) => i);
      const big = new Uint8Array(bigValueBytes).fill(7);
      await store.commit([
        { kind: "put", table: "snapshots", key: "all", value: all },
        { kind: "put", table: "snapshots", key: "none", value: new Uint8Array(0) },
        { kind: "put", table: "snapshots", key: "big", value: big },
      ]);
      await reopen();
      expect(await store.get("snapshots", "all")).toEqual(all);
      expect(await store.get("snapshots", "none")).toEqual(new Uint8Array(0));
      expect((await store.get("snapshots", "big"))?.length).toBe(bigValueBytes);
    });

    test("what was read, and what was written, may be changed by its owner", async () => {
      const value = bytes("abc");
      await store.commit([{ kind: "put", table: "node", key: "a", value }]);
      value.fill(0);
      (await store.get("node", "a"))?.fill(0);
      expect(await get("a")).toBe("abc");
    });

    test("a log grows, is overwritten from an index on, compacted and dropped", async () => {
      await store.commit([append("g", 1, "a", "b", "c")]);
      await store.commit([append("g", 4, "d"), append("h", 1, "x")]);
      expect(await log("g")).toEqual(["1:a", "2:b", "3:c", "4:d"]);
      await store.commit([append("g", 3, "C")]);
      expect(await log("g")).toEqual(["1:a", "2:b", "3:C"]);
      await store.commit([{ kind: "compact", group: "g", throughIndex: 2 }]);
      expect(await log("g")).toEqual(["3:C"]);
      await store.commit([append("g", 4, "D")]);
      await reopen();
      expect(await log("g")).toEqual(["3:C", "4:D"]);
      expect(await log("h")).toEqual(["1:x"]);
      await store.commit([{ kind: "drop-log", group: "g" }]);
      expect(await log("g")).toEqual([]);
      expect(await log("h")).toEqual(["1:x"]);
      await store.commit([append("g", 100, "after a snapshot")]);
      expect(await log("g")).toEqual(["100:after a snapshot"]);
    });

    test("an append without entries only cuts", async () => {
      await store.commit([append("g", 1, "a", "b")]);
      await store.commit([append("g", 2)]);
      expect(await log("g")).toEqual(["1:a"]);
    });

    test("many indexes stay in numeric order", async () => {
      const texts = Array.from({ length: 300 }, (_, i) => String(i + 1));
      await store.commit([append("g", 1, ...texts)]);
      expect((await store.readLog("g")).map((entry) => entry.index)).toEqual(texts.map(Number));
    });

    test("commits take effect in call order", async () => {
      const commits = Array.from({ length: 50 }, (_, i) =>
        store.commit([put("a", String(i)), append("g", i + 1, String(i))]),
      );
      await Promise.all(commits);
      expect(await get("a")).toBe("49");
      expect((await log("g")).length).toBe(50);
    });

    test("closing keeps what was committed before", async () => {
      const last = store.commit([put("a", "last")]);
      await store.close();
      await last;
      store = await harness.open();
      expect(await get("a")).toBe("last");
    });

    test("one at a time", async () => {
      const error = await rejection(harness.open());
      expect(error.info.code).toBe("locked");
      await store.commit([put("a", "1")]);
      expect(await get("a")).toBe("1");
    });

    test("a closed store refuses", async () => {
      await store.close();
      await store.close();
      expect((await rejection(store.commit([put("a", "1")]))).info.code).toBe("closed");
      expect((await rejection(store.get("node", "a"))).info.code).toBe("closed");
      expect((await rejection(store.scan("node"))).info.code).toBe("closed");
      expect((await rejection(store.readLog("g"))).info.code).toBe("closed");
    });

    test("without room nothing is written, and the store stays usable", async () => {
      if (harness.fill === undefined) {
        console.log("skipped: a small disk cannot be mounted here");
        return;
      }
      await store.commit([put("a", "before"), append("g", 1, "x")]);
      const empty = await harness.fill();
      const big = {
        kind: "put",
        table: "snapshots",
        key: "big",
        value: new Uint8Array(bigValueBytes),
      } as const;
      const error = await rejection(store.commit([put("a", "half"), append("g", 2, "y"), big]));
      expect(error.info.code).toBe("full");
      expect(await get("a")).toBe("before");
      expect(await log("g")).toEqual(["1:x"]);
      await empty();
      await store.commit([put("a", "after"), append("g", 2, "y"), big]);
      await reopen();
      expect(await get("a")).toBe("after");
      expect(await log("g")).toEqual(["1:x", "2:y"]);
    });
  });
}

async function rejection(attempt: Promise<unknown>): Promise<StoreError> {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof StoreError) return error;
    throw error;
  }
  throw new Error("expected a StoreError, and it succeeded");
}
