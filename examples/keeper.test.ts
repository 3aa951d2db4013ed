import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exampleHost, tellStory } from "./keeper.ts";

test("a promise is kept through a crash and a change of agents, and ends when it is released", async () => {
  const directory = mkdtempSync(join(tmpdir(), "muster-keeper-"));
  const lines: string[] = [];
  const host = exampleHost(directory);
  try {
    await tellStory(host, (line) => lines.push(line));
  } finally {
    rmSync(directory, { recursive: true });
  }
  expect(lines).toEqual([
    "g/1 is running, restarts 0",
    "the program crashes",
    "g/1 is running, restarts 1",
    "the agent ends, and another starts",
    "g/1 is running, restarts 1",
    "g/1 is stopping, restarts 1",
    "g/1 is stopped, restarts 1",
  ]);
  expect(host.machine.all()).toEqual([]);
  expect(host.network.attachments.size).toBe(0);
});
