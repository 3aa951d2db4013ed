import { expect, test } from "bun:test";
import { constants } from "node:os";
import { parseCapability } from "./capability.ts";
import { parseSignal, signalNames, signalNumberOf } from "./signal.ts";

test("numbers are those of the system", () => {
  const system: ReadonlyMap<string, number> = new Map(Object.entries(constants.signals));
  for (const name of signalNames) expect([name, signalNumberOf(name)]).toEqual([name, system.get(name)]);
});

test.each([
  ["TERM", "SIGTERM"],
  ["sigterm", "SIGTERM"],
  ["15", "SIGTERM"],
  ["37", "SIGRTMIN+3"],
  ["RTMIN+3", "SIGRTMIN+3"],
  ["SIGRTMIN", "SIGRTMIN"],
  ["SIGRTMAX", "SIGRTMIN+30"],
  ["RTMAX-2", "SIGRTMIN+28"],
])("%s is %s", (text, name) => {
  expect(parseSignal(text)).toBe(name);
  expect(parseSignal(name)).toBe(name);
});

test.each(["", "0", "32", "65", "SIG", "SIGFOO", "RTMIN+31", "RTMAX-31", "RTMIN-1", "-9", "9x"])(
  "%p is none",
  (text) => expect(parseSignal(text)).toBeUndefined(),
);

test("capabilities in every writing", () => {
  expect(["CAP_NET_ADMIN", "net_admin", "all", "Cap_Chown", "", "CAP_", "NET"].map(parseCapability)).toEqual([
    "NET_ADMIN",
    "NET_ADMIN",
    "ALL",
    "CHOWN",
    undefined,
    undefined,
    undefined,
  ]);
});
