import { expect, test } from "bun:test";
import { MemoryDisk, MemoryStore } from "../../src/adapters/stores/memory-store.ts";
import { runStoreSuite } from "./store-suite.ts";

runStoreSuite("memory", async () => {
  const disk = new MemoryDisk();
  return {
    store: new MemoryStore({ disk }),
    open: async () => new MemoryStore({ disk }),
    fill: async () => {
      disk.isFull = true;
      return async () => {
        disk.isFull = false;
      };
    },
    dispose: async () => {},
  };
});

test("a crash loses what is not durable, and nothing else", async () => {
  const disk = new MemoryDisk();
  const flushes: (() => void)[] = [];
  const store = new MemoryStore({ disk }, { schedule: (flush) => flushes.push(flush) });
  const put = (key: string) => store.commit([{ kind: "put", table: "node", key, value: new Uint8Array(1) }]);
  const first = put("first");
  flushes.shift()?.();
  await first;
  let isToldOfSecond = false;
  void put("second").then(() => (isToldOfSecond = true));
  store.crash();
  flushes.shift()?.();
  const again = new MemoryStore({ disk });
  expect((await again.scan("node")).map((record) => record.key)).toEqual(["first"]);
  expect(isToldOfSecond).toBe(false);
});
