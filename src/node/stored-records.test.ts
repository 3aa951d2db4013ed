import { expect, test } from "bun:test";
import * as v from "valibot";
import type { Logger } from "../ports/logger.ts";
import type { Store, StoreWrite } from "../ports/store.ts";
import { encode } from "../wire/codec.ts";
import { readableRecords } from "./stored-records.ts";

const schema = v.object({ name: v.string() });
const good = encode({ name: "a" });
const records = [
  { key: "charter:1", value: good },
  { key: "charter:2", value: new Uint8Array([0xc1, 0xff]) },
  { key: "charter:3", value: encode({ name: 3 }) },
];

function rig(commit: (writes: readonly StoreWrite[]) => Promise<void>) {
  const said: unknown[] = [];
  const say = (message: string, fields?: object): void => void said.push({ message, ...fields });
  const logger: Logger = { error: say, warn: say, info: say, debug: say, child: () => logger };
  const store: Store = {
    commit,
    get: async () => undefined,
    scan: async () => records,
    readLog: async () => [],
    close: async () => {},
  };
  return { ports: { store, logger }, said };
}

test("what cannot be read is set aside as it is, and said; the rest is there", async () => {
  const written: StoreWrite[] = [];
  const { ports, said } = rig(async (writes) => void written.push(...writes));
  expect(await readableRecords(ports, "directory", schema)).toEqual([{ name: "a" }]);
  expect(written).toEqual(
    records.slice(1).flatMap(({ key, value }): StoreWrite[] => [
      { kind: "put", table: "set-aside", key: `directory/${key}`, value },
      { kind: "delete", table: "directory", key },
    ]),
  );
  expect(said).toMatchObject([{ key: "charter:2" }, { key: "charter:3" }]);
});

test("a full disk does not keep the node from starting either", async () => {
  const { ports, said } = rig(async () => Promise.reject(new Error("full")));
  expect(await readableRecords(ports, "members", schema)).toEqual([{ name: "a" }]);
  expect(said.at(-1)).toMatchObject({ message: "records could not be set aside", table: "members" });
});
