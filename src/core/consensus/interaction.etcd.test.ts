import { describe, expect, test } from "bun:test";
import { readEtcdFolder } from "../../../test/datadriven/etcd-data.ts";
import { Replay } from "./replay.ts";

const stateDirectives = new Set(["raft-state", "raft-log", "status"]);
const mustPass = new Set([
  "campaign",
  "single_node",
  "prevote",
  "checkquorum",
  "probe_and_replicate",
  "lagging_commit",
]);

/** Log lines are the other implementation's own; MustSync follows from the rest of a Ready. */
function withoutLogLines(lines: readonly string[]): string[] {
  const kept = lines.filter((line) => !/^\s*(DEBUG|INFO|WARN|Ready MustSync)/.test(line));
  return kept.length === 0 ? ["ok"] : kept;
}

/** The messages named in an output, each with its entries, as a sorted list. */
function messagesIn(lines: readonly string[]): string[] {
  const messages: string[] = [];
  let isInside = false;
  for (const line of lines.map((one) => one.trim())) {
    if (/^(dropped: )?\d+->\d+ /.test(line)) messages.push(line);
    else if (isInside || line.startsWith("Snapshot: ")) messages.push(`${messages.pop() ?? ""} ${line}`);
    if (line.endsWith("Entries:[")) isInside = true;
    else if (line === "]") isInside = false;
  }
  return messages.sort();
}

const files = await readEtcdFolder("interaction");
const more = await readEtcdFolder("more");

describe("interaction scenarios of etcd-io/raft", () => {
  for (const file of [...files, ...more]) {
    test(file.name, () => {
      const replay = new Replay();
      let states = 0;
      let messages = 0;
      for (const one of file.cases) {
        const place = `${file.name}:${one.line}`;
        const output = replay.run(one);
        const expected = withoutLogLines(one.expected);
        if (stateDirectives.has(one.command)) {
          states++;
          expect([place, ...output]).toEqual([place, ...expected]);
        }
        messages += messagesIn(expected).length;
        expect([place, ...messagesIn(output)]).toEqual([place, ...messagesIn(expected)]);
        // Stricter than either level: hard states, entries stored and applied, and their order.
        expect([place, ...output]).toEqual([place, ...expected]);
      }
      console.log(`${file.name}: ${file.cases.length} directives, ${states} states, ${messages} messages`);
    });
  }

  test("all files are there", () => {
    const names = new Set(files.map((file) => file.name.replace(".txt", "")));
    expect([...mustPass].filter((name) => !names.has(name))).toEqual([]);
    expect(files.length).toBe(12);
    expect(files.reduce((sum, file) => sum + file.cases.length, 0)).toBe(246);
    expect(more.length).toBe(9);
  });
});
