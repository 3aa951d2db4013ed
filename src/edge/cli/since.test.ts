import { expect, test } from "bun:test";
import { parseSince } from "./since.ts";

test("a span counts back from now, a time is itself", () => {
  expect(parseSince("10m", 1_000_000)).toEqual({ ok: true, value: 400_000 });
  expect(parseSince("10", 1_000_000)).toEqual({ ok: true, value: 990_000 });
  expect(parseSince("2h", 1_000)).toEqual({ ok: true, value: 0 });
  expect(parseSince("2026-01-31T12:00:00Z", 0)).toEqual({ ok: true, value: Date.UTC(2026, 0, 31, 12) });
  expect(parseSince("2026-01-31T12:00:00.5+01:00", 0)).toEqual({
    ok: true,
    value: Date.UTC(2026, 0, 31, 11, 0, 0, 500),
  });
  for (const text of ["", "yesterday", "2026-13-01T00:00:00Z", "-5m", "2026-01-31T25:00:00Z"])
    expect(parseSince(text, 0).ok).toBe(false);
});
