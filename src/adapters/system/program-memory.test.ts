import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { releaseMemory, unchangedMappings } from "./program-memory.ts";

const smaps = `00200000-01a41000 r--p 00000000 fe:00 42                               /opt/muster
Size:              24836 kB
Anonymous:            12 kB
VmFlags: rd mr mw me
01a41000-0684a000 r-xp 01840000 fe:00 42                               /opt/muster
Size:              79912 kB
Anonymous:             0 kB
06b00000-06c00000 rw-p 06648000 fe:00 42                               /opt/muster
Anonymous:             0 kB
7f00a0000000-7f00a0021000 r-xp 00000000 fe:00 43                       /lib/libc.so.6
Anonymous:             0 kB
7f00b0000000-7f00b0021000 rw-p 00000000 00:00 0
Anonymous:             4 kB
`;

test("only what can be read from the file again is let go", () => {
  expect(unchangedMappings(smaps, "/opt/muster")).toEqual([
    { address: 0x01a41000, bytes: 0x0684a000 - 0x01a41000 },
  ]);
  expect(unchangedMappings("", "/opt/muster")).toEqual([]);
});

test("the process goes on, smaller", async () => {
  const fileBytes = (): number =>
    Number(/^RssFile:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]);
  const before = fileBytes();
  await releaseMemory();
  expect(fileBytes()).toBeLessThan(before);
});
