import { expect, test } from "bun:test";
import { defined } from "../../../model/assert.ts";
import type { MemberId } from "../entry.ts";
import { readEtcdFolder } from "../../../../test/datadriven/etcd-data.ts";
import { describeProgress } from "../replay-format.ts";
import { emptyGroupConfig } from "../tracker/tracker.ts";
import { argValues, type TranscriptCase } from "../transcript.ts";
import {
  type ChangeError,
  type ChangeResult,
  changeSimply,
  enterJoint,
  leaveJoint,
  type Membership,
} from "./changer.ts";
import type { MemberChange } from "./conf-change.ts";
import { restoreMembership } from "./restore.ts";

const texts: Record<ChangeError, string> = {
  "already-joint": "config is already joint",
  "not-joint": "can't leave a non-joint config",
  "no-voters-to-join": "can't make a zero-voter config joint",
  "joint-in-progress": "can't apply simple config change in joint config",
  "more-than-one-voter": "more than one voter changed without entering joint config",
  "no-voters-left": "removed all voters",
};
const kinds = new Map<string, MemberChange["kind"]>([
  ["v", "add-voter"],
  ["l", "add-learner"],
  ["r", "remove"],
  ["u", "update"],
]);
const flow = { inflightMessagesMax: 10, inflightBytesMax: 1000 };

function parseChanges(input: readonly string[]): MemberChange[] {
  const words = input
    .join(" ")
    .split(" ")
    .filter((word) => word !== "");
  return words.map((word) => {
    const id = word.slice(1);
    return {
      kind: defined(kinds.get(word.charAt(0)), `a known step in ${word}`),
      member: id === "0" ? "" : id,
    };
  });
}

const numerically = (ids: Iterable<MemberId>): MemberId[] => [...ids].sort((a, b) => Number(a) - Number(b));

function describe({ config, progress }: Membership): string[] {
  const list = (ids: ReadonlySet<MemberId>): string => `(${numerically(ids).join(" ")})`;
  let head = `voters=${list(config.incoming)}`;
  if (config.outgoing.size > 0) head += `&&${list(config.outgoing)}`;
  if (config.learners.size > 0) head += ` learners=${list(config.learners)}`;
  if (config.learnersNext.size > 0) head += ` learners_next=${list(config.learnersNext)}`;
  if (config.autoLeave) head += " autoleave";
  const lines = numerically(progress.keys()).map((id) => {
    const known = defined(progress.get(id), "progress");
    return `${id}: ${describeProgress(known)}`;
  });
  return [head, ...lines];
}

function run(before: Membership, one: TranscriptCase, lastIndex: number): ChangeResult {
  const context = { lastIndex, flow };
  const changes = parseChanges(one.input);
  if (one.command === "simple") return changeSimply(before, changes, context);
  if (one.command === "leave-joint") return leaveJoint(before, context);
  return enterJoint(before, changes, argValues(one, "autoleave")[0] === "true", context);
}

/** A configuration survives being written down and restored. */
function expectRestorable({ config }: Membership): void {
  if (config.incoming.size === 0) return;
  const conf = {
    voters: [...config.incoming].sort(),
    votersOutgoing: [...config.outgoing].sort(),
    learners: [...config.learners].sort(),
    learnersNext: [...config.learnersNext].sort(),
    autoLeave: config.autoLeave,
  };
  const restored = restoreMembership(conf, { lastIndex: 1, flow });
  expect(restored.config).toEqual(config);
}

test("every configuration change case of etcd-io/raft", async () => {
  let ran = 0;
  for (const file of await readEtcdFolder("confchange")) {
    let membership: Membership = { config: emptyGroupConfig, progress: new Map() };
    file.cases.forEach((one, lastIndex) => {
      const result = run(membership, one, lastIndex);
      if (result.ok) membership = result.membership;
      const output = result.ok ? describe(membership) : [texts[result.error]];
      expect([`${file.name}:${one.line}`, ...output]).toEqual([`${file.name}:${one.line}`, ...one.expected]);
      expectRestorable(membership);
      ran++;
    });
  }
  console.log(`confchange: ${ran} cases`);
  expect(ran).toBe(58);
});
