import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { formatBytes, formatCpu, parseCpu, parseMemory, parseQuantity, parseSpan } from "./quantity.ts";

const Mi = 2 ** 20;

describe("quantities", () => {
  test.each([
    ["0", 0],
    ["1.", 1],
    [".5", 1],
    ["1.5k", 1500],
    ["1E", 10 ** 18],
    ["1e3", 1000],
    ["1E-1", 1],
    ["1e-999", 1],
    ["12.5Ki", 12_800],
    ["1n", 1],
    ["0.1Mi", 104_858],
    ["+5", 5],
    ["-0", 0],
  ])("%s is %d", (text, value) => {
    const parsed = parseQuantity(text, 1n);
    // Beyond what a number holds exactly, it is refused instead.
    if (value > Number.MAX_SAFE_INTEGER) expect(parsed).toEqual({ ok: false, error: "is too large" });
    else expect(parsed).toEqual({ ok: true, value });
  });

  test.each([
    "",
    "x",
    "1x",
    "1 Mi",
    "Mi",
    "1e",
    "1e1000",
    "--1",
    "1.2.3",
    "0x10",
    "1_000",
    "1mi",
    "1KI",
    "٣",
    "1e3Mi",
    "NaN",
    "Infinity",
  ])("%p is none", (text) => {
    const parsed = parseQuantity(text, 1n);
    if (text === "1e") expect(parsed.ok).toBe(false);
    expect(parsed.ok).toBe(false);
  });

  test("a binary number and its decimal writing agree", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 30 }), (count) => {
        expect(parseQuantity(`${count}Ki`, 1n)).toEqual(parseQuantity(`${count * 1024}`, 1n));
        expect(parseQuantity(`${count}m`, 1000n)).toEqual({ ok: true, value: count });
        expect(parseQuantity(`${count / 1000}`, 1000n)).toEqual({ ok: true, value: count });
      }),
    );
  });
});

describe("what users ask for", () => {
  test("CPU in cores and thousandths, rounded up", () => {
    expect(["500m", "0.5", "2", "0.0001", "1u"].map(parseCpu)).toEqual(
      [500, 500, 2000, 1, 1].map((value) => ({ ok: true as const, value })),
    );
    expect(parseCpu("-1")).toEqual({ ok: false, error: "must not be negative" });
  });

  test("memory in bytes; too little is a slip", () => {
    expect(["0", "64Mi", "1G", "1.5Gi"].map(parseMemory)).toEqual(
      [0, 64 * Mi, 10 ** 9, 1.5 * 1024 * Mi].map((value) => ({ ok: true as const, value })),
    );
    expect(parseMemory("64m")).toEqual({
      ok: false,
      error: "is less than a byte's worth: m means thousandths, write 64Mi",
    });
    expect(parseMemory("64")).toEqual({ ok: false, error: "is less than 1Mi" });
  });

  test("spans of time", () => {
    expect(["10", "10s", "1.5s", "500ms", "2m", "1h", "30d"].map(parseSpan)).toEqual(
      [10_000, 10_000, 1500, 500, 120_000, 3_600_000, 2_592_000_000].map((value) => ({
        ok: true as const,
        value,
      })),
    );
    expect(["1m30s", "1h0.5m250ms"].map(parseSpan)).toEqual(
      [90_000, 3_630_250].map((value) => ({ ok: true as const, value })),
    );
    for (const text of ["", "s", "-1s", "1w", "1 s", "1e3", "30s1m", "1m1m", "1m30", "1.2.3s"])
      expect(parseSpan(text).ok).toBe(false);
  });

  test("and shown again", () => {
    expect([formatCpu(500), formatCpu(2000), formatCpu(0)]).toEqual(["500m", "2", "0"]);
    expect([formatBytes(0), formatBytes(64 * Mi), formatBytes(1.5 * 1024 * Mi), formatBytes(1000)]).toEqual([
      "0",
      "64Mi",
      "1.5Gi",
      "1000",
    ]);
  });
});
