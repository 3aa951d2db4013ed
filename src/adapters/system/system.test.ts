import { expect, test } from "bun:test";
import { JsonLinesLogger, type LogLevel } from "./json-lines-logger.ts";
import { SystemClock } from "./system-clock.ts";
import { SystemEntropy } from "./system-entropy.ts";

test("a timer never fires before its time, and not once it is cancelled", async () => {
  const clock = new SystemClock();
  let isCancelledCalled = false;
  const cancel = clock.at(clock.now() + 1, () => {
    isCancelledCalled = true;
  });
  cancel();
  cancel();
  for (const delayMs of [0, 0.4, 1.5, 3.3]) {
    const when = clock.now() + delayMs;
    await new Promise<void>((resolve) => clock.at(when, resolve));
    expect(clock.now()).toBeGreaterThanOrEqual(when);
  }
  expect(isCancelledCalled).toBe(false);
});

test("a timer far in the future does not fire at once", async () => {
  const clock = new SystemClock();
  let isCalled = false;
  const cancel = clock.at(clock.now() + 2 ** 40, () => {
    isCalled = true;
  });
  await new Promise<void>((resolve) => clock.at(clock.now() + 5, resolve));
  cancel();
  expect(isCalled).toBe(false);
});

test("the wall clock tells today", () => {
  expect(new SystemClock().wallMs()).toBeGreaterThan(Date.UTC(2026, 0));
});

test("entropy has the length asked for, and is not the same twice", () => {
  const entropy = new SystemEntropy();
  expect(entropy.bytes(0).length).toBe(0);
  expect(entropy.bytes(32).length).toBe(32);
  expect(entropy.bytes(32)).not.toEqual(entropy.bytes(32));
});

const lines: string[] = [];

function logger(level: LogLevel): JsonLinesLogger {
  lines.length = 0;
  const write = (line: string): void => {
    lines.push(line);
  };
  return new JsonLinesLogger({ clock: { wallMs: () => 0 }, write }, { level, fields: { node: "a1" } });
}

test("a log line is one JSON object with its own keys first", () => {
  logger("info")
    .child({ deployment: "web" })
    .warn("probe\ntimed out", { attempt: 2, message: "not mine", gone: undefined });
  expect(lines).toEqual([
    '{"time":"1970-01-01T00:00:00.000Z","level":"warn","message":"probe\\ntimed out","node":"a1","deployment":"web","attempt":2}\n',
  ]);
});

test("less severe lines than the level are not written", () => {
  const log = logger("warn");
  log.error("1");
  log.warn("2");
  log.info("3");
  log.debug("4");
  expect(lines.map((line) => JSON.parse(line).message)).toEqual(["1", "2"]);
});
