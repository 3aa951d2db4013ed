import { expect, test } from "bun:test";
import fc from "fast-check";
import { nearestIds } from "./guardians.ts";
import { mergeRecords, recordFault, recordHash, type DirectoryRecord } from "./record.ts";

const key = "0123456789abcdef0123456789abcdef";
const id = fc.constantFrom("a".repeat(32), "b".repeat(32), "c".repeat(32));
const small = fc.integer({ min: 0, max: 3 });

const charterRecord: fc.Arbitrary<DirectoryRecord> = fc
  .record({
    epoch: small,
    version: small,
    founder: id,
    voters: fc.array(id, { maxLength: 2 }),
    deleted: fc.boolean(),
  })
  .map((facts) => ({
    kind: "charter",
    key,
    charter: {
      deployment: key,
      namespace: "shop",
      name: "web",
      group: `${key}.${facts.epoch}.${facts.founder}`,
      ...facts,
    },
  }));

const indexRecord: fc.Arbitrary<DirectoryRecord> = fc
  .uniqueArray(
    fc.record({
      name: fc.constantFrom("web", "db", "mail"),
      id,
      epoch: small,
      version: small,
      lineage: fc.constantFrom("a", "b"),
      isPresent: fc.boolean(),
    }),
    { selector: ({ name }) => name, minLength: 1 },
  )
  .map((entries) => ({
    kind: "index",
    key,
    entries: entries.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
  }));

for (const [name, record] of [
  ["charters", charterRecord],
  ["indexes", indexRecord],
] as const) {
  test(`merging ${name} is commutative, associative and idempotent`, () => {
    const equal = (a: DirectoryRecord, b: DirectoryRecord): void => {
      expect(a).toEqual(b);
      expect(recordHash(a)).toBe(recordHash(b));
    };
    fc.assert(
      fc.property(record, record, record, (a, b, c) => {
        equal(mergeRecords(a, b), mergeRecords(b, a));
        equal(mergeRecords(mergeRecords(a, b), c), mergeRecords(a, mergeRecords(b, c)));
        equal(mergeRecords(a, a), a);
        equal(mergeRecords(mergeRecords(a, b), b), mergeRecords(a, b));
      }),
      { seed: 7, numRuns: 2_000 },
    );
  });
}

test("of two foundings at one epoch the lower founder wins, whatever happened to the other since", () => {
  const charter = {
    deployment: key,
    namespace: "shop",
    name: "web",
    epoch: 1,
    version: 1,
    voters: [],
    deleted: false,
  };
  const low = {
    kind: "charter",
    key,
    charter: { ...charter, group: "low", founder: "a".repeat(32) },
  } as const;
  const high = {
    kind: "charter",
    key,
    charter: { ...charter, group: "high", founder: "b".repeat(32), version: 9, deleted: true },
  } as const;
  expect(mergeRecords(high, low)).toEqual(low);
  expect(mergeRecords(low, high)).toEqual(low);
});

test("a tombstone with a greater version takes a name out, a lesser one does not", () => {
  const entry = { name: "web", id: key, epoch: 1, version: 5, lineage: "a", isPresent: true };
  const index = (version: number, isPresent: boolean): DirectoryRecord => ({
    kind: "index",
    key,
    entries: [{ ...entry, version, isPresent }],
  });
  expect(mergeRecords(index(5, true), index(6, false))).toEqual(index(6, false));
  expect(mergeRecords(index(5, true), index(4, false))).toEqual(index(5, true));
});

test("a lineage that lost does not take a name out", () => {
  const entry = { name: "web", id: key, epoch: 1, version: 1, lineage: "a", isPresent: true };
  const winner: DirectoryRecord = { kind: "index", key, entries: [entry] };
  const loser: DirectoryRecord = {
    kind: "index",
    key,
    entries: [{ ...entry, version: 7, lineage: "b", isPresent: false }],
  };
  expect(mergeRecords(winner, loser)).toEqual(winner);
});

test("the hash does not depend on the order of fields", () => {
  const facts = { deployment: key, namespace: "shop", name: "web", group: "g", epoch: 1, version: 1 };
  const rest = { founder: key, voters: [key], deleted: false };
  const a: DirectoryRecord = { kind: "charter", key, charter: { ...facts, ...rest } };
  const b: DirectoryRecord = { kind: "charter", key, charter: { ...rest, ...facts } };
  expect(recordHash(a)).toBe(recordHash(b));
});

test.each([
  [{ kind: "index", key: "short", entries: [] } as const, "the key is not 32 hex digits"],
  [{ kind: "index", key, entries: [] } as const, "an index has at least one name"],
])("a senseless record is refused with its reason", (record, reason) => {
  expect(recordFault(record)).toBe(reason);
});

test("the nearest ids by the trie are the nearest by XOR", () => {
  const hex = fc.stringMatching(/^[0-9a-f]{32}$/);
  fc.assert(
    fc.property(
      hex,
      fc.uniqueArray(hex, { maxLength: 40 }),
      fc.integer({ min: 0, max: 8 }),
      (target, ids, count) => {
        const distance = (other: string): bigint => BigInt(`0x${other}`) ^ BigInt(`0x${target}`);
        const expected = ids.toSorted((a, b) => (distance(a) < distance(b) ? -1 : 1)).slice(0, count);
        expect(nearestIds(target, ids.toSorted(), count)).toEqual(expected);
      },
    ),
    { seed: 11, numRuns: 500 },
  );
});
