/** Counts up in a store and says each number once it is durable, until it is killed or its standard input ends. */
import { defined } from "../../src/model/assert.ts";
import { SqliteStore } from "../../src/adapters/stores/sqlite-store.ts";

process.stdin.on("end", () => process.exit(0)).resume();

const store = SqliteStore.open(defined(process.argv[2], "a directory"));
const entries = await store.readLog("g");
let next = (entries.at(-1)?.index ?? 0) + 1;
for (;;) {
  const value = new TextEncoder().encode(String(next));
  await store.commit([
    { kind: "put", table: "node", key: "counter", value },
    { kind: "append", group: "g", firstIndex: next, entries: [value] },
  ]);
  process.stdout.write(`${next}\n`);
  next++;
}
