import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import { decode, decodeAs, encode } from "./codec.ts";
import { canonicalJson, deploymentIdOf, nodeIdOf, templateHashOf } from "./digest.ts";
import { depthMax } from "./structure.ts";
import { WireError } from "./wire-error.ts";

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof WireError ? error.code : `not a WireError: ${String(error)}`;
  }
  return "no error";
}

describe("codec", () => {
  test("every plain value survives", () => {
    const key = fc.string().filter((text) => text !== "__proto__");
    const plain = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.constant(null),
        fc.boolean(),
        fc.integer(),
        fc.maxSafeInteger(),
        fc.double({ noNaN: true }).map((x) => (Object.is(x, -0) ? 0 : x)),
        fc.string({ unit: "binary" }),
        fc.uint8Array(),
        fc.array(tie("value"), { maxLength: 5 }),
        fc.dictionary(key, tie("value"), { maxKeys: 5, noNullPrototype: true }),
      ),
    })).value;
    fc.assert(
      fc.property(plain, (value) => expect(decode(encode(value))).toEqual(value)),
      { numRuns: 500 },
    );
  });

  test("bytes stay Uint8Array and do not alias the message", () => {
    const message = encode({ bytes: new Uint8Array([1, 2, 3]) });
    const { bytes } = v.parse(v.object({ bytes: v.instance(Uint8Array) }), decode(Buffer.from(message)));
    expect(bytes.constructor).toBe(Uint8Array);
    message.fill(0);
    expect([...bytes]).toEqual([1, 2, 3]);
  });

  test("undefined members survive, a Map with text keys becomes an object", () => {
    expect(decode(encode({ a: undefined, b: new Map([["c", 1]]) }))).toEqual({ a: undefined, b: { c: 1 } });
  });

  test("what is not plain data is refused when it is encoded", () => {
    for (const value of [new Date(0), new Map([[1, 2]]), 2n ** 70n, Symbol("a")])
      expect(codeOf(() => encode(value))).toBe("unencodable");
  });

  test("arbitrary bytes either decode to plain data or are refused as malformed", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(["no error", "malformed"]).toContain(codeOf(() => decode(bytes)));
      }),
      { numRuns: 20_000 },
    );
  });

  test("claims of length and depth beyond the bytes cost nothing", () => {
    expect(codeOf(() => decode(new Uint8Array([0xdd, 0xff, 0xff, 0xff, 0xff, 0])))).toBe("malformed");
    expect(codeOf(() => decode(new Uint8Array([0xc6, 0xff, 0xff, 0xff, 0xff, 0])))).toBe("malformed");
    expect(codeOf(() => decode(new Uint8Array(100_000).fill(0x91)))).toBe("malformed");
    const deep = (levels: number): Uint8Array => new Uint8Array([...new Uint8Array(levels).fill(0x91), 0xc0]);
    expect(codeOf(() => decode(deep(depthMax)))).toBe("no error");
    expect(codeOf(() => decode(deep(depthMax + 1)))).toBe("malformed");
  });

  test("a mismatch names the field", () => {
    const schema = v.object({ term: v.number(), inner: v.object({ vote: v.string() }) });
    expect(decodeAs(schema, encode({ term: 1, inner: { vote: "a" } }))).toEqual({
      term: 1,
      inner: { vote: "a" },
    });
    expect(() => decodeAs(schema, encode({ term: 1, inner: { vote: 2 } }))).toThrow(/inner\.vote/);
    expect(codeOf(() => decodeAs(schema, encode(7)))).toBe("mismatch");
  });
});

describe("digest", () => {
  test("canonical JSON ignores the order of fields and drops undefined", () => {
    expect(canonicalJson({ b: 1, a: { d: [1, "x", null], c: true }, e: undefined, 10: 0, 9: 0 })).toBe(
      '{"10":0,"9":0,"a":{"c":true,"d":[1,"x",null]},"b":1}',
    );
    expect(templateHashOf({ a: 1, b: [{ c: 1, d: 2 }] })).toBe(templateHashOf({ b: [{ d: 2, c: 1 }], a: 1 }));
    expect(templateHashOf({ a: 1 })).not.toBe(templateHashOf({ a: 2 }));
  });

  test("ids are the first 128 bits of SHA-256", () => {
    // printf 'default\0web' | sha256sum
    expect(deploymentIdOf("default", "web")).toBe("f3d25cb3ba19e643ef6753339aaf7f8b");
    expect(deploymentIdOf("a", "bc")).not.toBe(deploymentIdOf("ab", "c"));
    // SHA-256 of 32 zero bytes.
    expect(nodeIdOf(new Uint8Array(32))).toBe("66687aadf862bd776c8fc18b8e9f8e20");
  });
});
