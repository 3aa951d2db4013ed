import { expect, test } from "bun:test";
import { LineLogger, type LogFormat, type LogLevel } from "./line-logger.ts";
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

function logger(level: LogLevel, format: LogFormat = "json"): LineLogger {
  lines.length = 0;
  const write = (line: string): void => {
    lines.push(line);
  };
  return new LineLogger({ clock: { wallMs: () => 0 }, write }, { level, format, fields: { node: "a1" } });
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

test("a line for people keeps to one line, whatever is in it", () => {
  logger("info", "text").warn("probe timed out", { attempt: 2, error: 'no "route"\nto it', gone: undefined });
  expect(lines).toEqual([
    '1970-01-01T00:00:00.000Z WARN  probe timed out node=a1 attempt=2 error="no \\"route\\"\\nto it"\n',
  ]);
});

test("what looks like a secret is hidden, in both formats", () => {
  const secrets = ["muster1.Ym9keQ.c2ln", "hunter2", "c2VjcmV0", "MIGHAgEA"];
  for (const format of ["json", "text"] as const) {
    const log = logger("debug", format);
    log.error(`the invite ${secrets[0]} is damaged`, {
      invite: "hunter2",
      registryPassword: "hunter2",
      error: "GET https://joe:hunter2@registry/v2/ answered 401 to Authorization: Basic c2VjcmV0",
      key: "-----BEGIN EC PRIVATE KEY-----\nMIGHAgEA\n-----END EC PRIVATE KEY-----",
    });
    log.child({ token: "hunter2" }).debug("kept", { attempt: 1, image: "registry/team/app@sha256:00" });
    expect(lines).toHaveLength(2);
    for (const secret of secrets) expect(lines.join("")).not.toContain(secret);
    expect(lines[0]).toContain("https://[hidden]@registry/v2/");
    expect(lines[1]).toContain("registry/team/app@sha256:00");
  }
});
