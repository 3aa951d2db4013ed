import { expect, test } from "bun:test";
import fc from "fast-check";
import type { LogLine } from "../ports/container-runtime.ts";
import { LogPosition } from "./log-position.ts";

const line = (atMs: number, text: string): LogLine => ({ stream: "stdout", atMs, text });

test("a reading that broke off anywhere, any number of times, misses nothing and tells nothing twice", () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(3), { maxLength: 40 }),
      fc.array(fc.nat(10), { minLength: 1, maxLength: 20 }),
      (gaps, lengths) => {
        let atMs = 1_000;
        const log = gaps.map((gap, index) => line((atMs += gap), `${index}`));
        const position = new LogPosition();
        const seen: LogLine[] = [];
        for (const length of [...lengths, log.length + lengths.length]) {
          const { sinceMs = 0 } = position.resume({});
          let left = length;
          for (const one of log.filter((each) => each.atMs >= sinceMs)) {
            if (position.isKnown(one)) continue;
            if (left-- === 0) break;
            seen.push(one);
            position.passed(one);
          }
        }
        expect(seen).toEqual(log);
      },
    ),
  );
});

test("until a line has come the reading begins as it was asked to", () => {
  const position = new LogPosition();
  expect(position.resume({ tail: 3, sinceMs: 5 })).toEqual({ tail: 3, sinceMs: 5 });
  position.passed(line(9, "x"));
  expect(position.resume({ tail: 3, sinceMs: 5 })).toEqual({ sinceMs: 9 });
});
