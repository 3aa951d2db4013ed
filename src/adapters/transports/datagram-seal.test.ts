import { expect, test } from "bun:test";
import { datagramBytesMax } from "../../ports/transport.ts";
import { DatagramOpener, DatagramSealer, sealBytes } from "./datagram-seal.ts";

const fleetKey = new Uint8Array(32).fill(7);
const sender = "ab".repeat(16);
const sealer = (bootMs: number): DatagramSealer => new DatagramSealer({ sender, fleetKey, bootMs });
const opener = (): DatagramOpener => new DatagramOpener({ fleetKey });
const payload = new Uint8Array([1, 2, 3]);

test("what is sealed opens to the same, and the largest fits an Ethernet frame", () => {
  const sealed = sealer(1_000).seal("knock", payload);
  expect(opener().open(sealed, 0)).toEqual({ sender, kind: "knock", payload });
  expect(sealed.byteLength).toBe(payload.byteLength + sealBytes);
  // IPv6 and UDP headers take 48 of 1,500 bytes.
  expect(sealBytes + datagramBytesMax).toBeLessThanOrEqual(1_452);
});

test("no bit can be changed", () => {
  const sealed = sealer(1_000).seal("payload", payload);
  for (let at = 0; at < sealed.byteLength; at++)
    for (const bit of [1, 128]) {
      const changed = sealed.slice();
      changed[at] = (changed[at] ?? 0) ^ bit;
      expect(opener().open(changed, 0)).toBeUndefined();
    }
  for (let size = 0; size < sealed.byteLength; size++)
    expect(opener().open(sealed.subarray(0, size), 0)).toBeUndefined();
});

test("each opens once, reordered within the window or not at all", () => {
  const from = sealer(1_000);
  const sealed = Array.from({ length: 200 }, () => from.seal("payload", payload));
  const to = opener();
  const opens = (at: number): boolean => to.open(sealed[at] ?? new Uint8Array(), 0) !== undefined;
  expect([opens(0), opens(2), opens(1), opens(1), opens(0), opens(2)]).toEqual([
    true,
    true,
    true,
    false,
    false,
    false,
  ]);
  expect([opens(100), opens(37), opens(37), opens(36), opens(99), opens(99)]).toEqual([
    true,
    true,
    false,
    false,
    true,
    false,
  ]);
  expect([opens(199), opens(100), opens(198)]).toEqual([true, false, true]);
});

test("after a restart the sender counts anew; the past stays closed until it has been silent for long", () => {
  const to = opener();
  const before = sealer(1_000);
  const old = before.seal("payload", payload);
  expect(to.open(before.seal("payload", payload), 0)).toBeDefined();
  expect(to.open(sealer(2_000).seal("payload", payload), 5)).toBeDefined();
  expect(to.open(old, 10)).toBeUndefined();
  expect(to.open(sealer(1_500).seal("payload", payload), 9_000)).toBeUndefined();
  // A clock set back: believed after ten seconds without a word.
  expect(to.open(sealer(1_500).seal("payload", payload), 10_100)).toBeDefined();
});
