import { expect, test } from "bun:test";
import { LogLineReader } from "./log-line.ts";

const at = "2026-01-02T03:04:05.123456789+00:00";
const atMs = Date.UTC(2026, 0, 2, 3, 4, 5, 123);

test("a whole line", () => {
  expect(new LogLineReader().read(`${at} stdout F a  b `)).toEqual({ stream: "stdout", atMs, text: "a  b " });
  expect(new LogLineReader().read(`${at} stderr F `)).toEqual({ stream: "stderr", atMs, text: "" });
  expect(new LogLineReader().read(`${at} stderr F`)).toEqual({ stream: "stderr", atMs, text: "" });
});

test("parts of one stream are joined, whatever the other says in between", () => {
  const reader = new LogLineReader();
  expect(reader.read(`${at} stdout P one `)).toBeUndefined();
  expect(reader.read(`${at} stderr F oh`)?.text).toBe("oh");
  expect(reader.read("2026-01-02T03:04:06Z stdout F two")).toEqual({
    stream: "stdout",
    atMs,
    text: "one two",
  });
});

test("a line that never ends comes in parts", () => {
  const reader = new LogLineReader();
  const part = `${at} stdout P ${"x".repeat(8192)}`;
  expect(reader.read(part)).toBeUndefined();
  expect(reader.read(part)?.text.length).toBe(16_384);
  expect(reader.read(part)).toBeUndefined();
});

test("damage is passed over", () => {
  for (const record of ["", "nonsense", `${at} stdin F x`, `${at} stdout Q x`])
    expect(new LogLineReader().read(record)).toBeUndefined();
});
