import { expect, test } from "bun:test";
import fc from "fast-check";
import { encode } from "./codec.ts";
import { decodeMembership, encodeMembership } from "./membership-datagram.ts";
import { WireError } from "./wire-error.ts";

const id = fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: 32, maxLength: 32 });
const sequence = fc.nat(0xffff_ffff);
const address = fc.constantFrom("10.0.0.1:7440", "[fd00::1:2]:65535", "127.0.0.1:1");
const envelope = { from: fc.record({ id, address }), updates: fc.constant([]) };
const probes = fc.oneof(
  fc.record({ ...envelope, kind: fc.constant("ping" as const), target: id, sequence }),
  fc.record({ ...envelope, kind: fc.constantFrom("ack" as const, "nack" as const), sequence }),
);

test("a probe without news comes back as it was, in less than half the bytes", () => {
  fc.assert(
    fc.property(probes, (message) => {
      const bytes = encodeMembership(message);
      expect<unknown>(decodeMembership(bytes)).toEqual(message);
      expect(bytes.length).toBeLessThan(encode(message).length / 2);
    }),
  );
});

test("what has no short form goes as MessagePack", () => {
  const from = { id: "a".repeat(32), address: "10.0.0.1:7440" };
  const left = { kind: "left" as const, id: "b".repeat(32), incarnation: 3 };
  const longer = [
    { kind: "ack" as const, sequence: 1, from, updates: [left] },
    { kind: "ack" as const, sequence: 2 ** 32, from, updates: [] },
    { kind: "ack" as const, sequence: 1, from: { ...from, address: "host\u00e9:1" }, updates: [] },
    { kind: "gossip" as const, from, updates: [left] },
  ];
  for (const message of longer) {
    expect(encodeMembership(message)).toEqual(encode(message));
    expect<unknown>(decodeMembership(encodeMembership(message))).toEqual(message);
  }
});

test("a short datagram that is none is refused, whatever it holds", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (tail) => {
      try {
        const message = decodeMembership(Uint8Array.of(0xc1, ...tail));
        expect(encodeMembership(message)).toEqual(Buffer.from([0xc1, ...tail]));
      } catch (error) {
        expect(error).toBeInstanceOf(WireError);
      }
    }),
  );
  expect(() => decodeMembership(Uint8Array.of(0xc1, 3, ...new Uint8Array(60).fill(0x41)))).toThrow("short");
});
