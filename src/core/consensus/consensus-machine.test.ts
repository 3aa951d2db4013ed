import { expect, test } from "bun:test";
import { createRng } from "../rng.ts";
import { bootstrapState, joiningState } from "./bootstrap.ts";
import { ConsensusMachine, defaultConsensusOptions } from "./consensus-machine.ts";
import type { ConsensusEffect, ConsensusInput } from "./effect.ts";
import type { StoredState } from "./entry-log.ts";
import type { MemberId } from "./entry.ts";
import type { Message } from "./message.ts";
import { storedAfter } from "./stored-state.ts";

const { tickMs, electionTicks, heartbeatTicks } = defaultConsensusOptions;
const text = (data: Uint8Array): string => new TextDecoder().decode(data);
const bytes = (data: string): Uint8Array => new TextEncoder().encode(data);

/** A member with a disk that is done at once. Messages wait until the test delivers them. */
class TestMember {
  readonly id: MemberId;
  machine: ConsensusMachine;
  stored: StoredState;
  effects: ConsensusEffect[] = [];
  outgoing: Message[] = [];

  constructor(id: MemberId, stored: StoredState, now = 0) {
    this.id = id;
    this.stored = stored;
    this.machine = new ConsensusMachine(
      { ...defaultConsensusOptions, id },
      stored,
      createRng(id.charCodeAt(0)),
      now,
    );
  }

  step(input: ConsensusInput, now: number): void {
    for (const effect of this.machine.step(input, now)) {
      this.effects.push(effect);
      if (effect.kind === "send") this.outgoing.push(...effect.messages);
      if (effect.kind !== "persist") continue;
      this.stored = storedAfter(this.stored, effect);
      this.step({ kind: "persisted", upTo: effect.sequence }, now);
    }
  }

  kinds(): string[] {
    return this.effects.map((effect) => effect.kind);
  }

  applied(): string[] {
    return this.effects.flatMap((effect) =>
      effect.kind === "apply"
        ? effect.entries.map((one) => (one.kind === "normal" ? text(one.data) : "conf"))
        : [],
    );
  }
}

function group(ids: readonly MemberId[]): TestMember[] {
  return ids.map((id) => new TestMember(id, bootstrapState(ids, bytes("founded"))));
}

/** Delivers until nothing is under way, except to and from members that are down. */
function deliver(members: readonly TestMember[], now: number, down: readonly MemberId[] = []): void {
  for (let isBusy = true; isBusy;) {
    isBusy = false;
    for (const member of members) {
      const messages = member.outgoing;
      member.outgoing = [];
      for (const message of messages) {
        const receiver = members.find((one) => one.id === message.to);
        if (receiver === undefined || down.includes(message.to) || down.includes(member.id)) continue;
        isBusy = true;
        receiver.step({ kind: "message", from: member.id, message }, now);
      }
    }
  }
}

function leaderOf(members: readonly TestMember[]): MemberId[] {
  return members.filter((one) => one.machine.status().role === "leader").map((one) => one.id);
}

function electFirst(ids: readonly MemberId[]): [TestMember, TestMember, TestMember, TestMember[]] {
  const members = group(ids);
  const [a, b, c] = members;
  if (a === undefined || b === undefined || c === undefined) throw new Error("three members");
  a.step({ kind: "campaign" }, 0);
  deliver(members, 0);
  expect(leaderOf(members)).toEqual(["a"]);
  for (const member of members) member.effects = [];
  return [a, b, c, members];
}

test("a single voter elects itself, commits without a message, and then needs no timer", () => {
  const [only] = group(["a"]);
  if (only === undefined) throw new Error("one member");
  const due = only.machine.deadline() ?? 0;
  expect(due).toBeGreaterThanOrEqual(electionTicks * tickMs);
  only.step({ kind: "timeout" }, due);
  only.step({ kind: "propose", data: bytes("one") }, due);
  only.step({ kind: "read-index", context: "r" }, due);
  expect(only.applied()).toEqual(["", "one"]);
  expect(only.effects.at(-1)).toEqual({ kind: "read-ready", context: "r", index: 3 });
  expect(only.outgoing).toEqual([]);
  expect(only.machine.deadline()).toBeUndefined();
});

test("a leader's appends stand before its own persist, a follower's answer after", () => {
  const [a, b] = electFirst(["a", "b", "c"]);
  a.step({ kind: "propose", data: bytes("x") }, 1);
  expect(a.kinds()).toEqual(["send", "persist"]);
  const message = a.outgoing.find((one) => one.to === "b");
  if (message === undefined) throw new Error("an append");
  b.step({ kind: "message", from: "a", message }, 1);
  expect(b.kinds()).toEqual(["persist", "send"]);
});

test("a follower drops proposals and names the leader", () => {
  const [, b] = electFirst(["a", "b", "c"]);
  b.step({ kind: "propose", data: bytes("x") }, 1);
  expect(b.effects).toMatchObject([{ kind: "proposal-dropped", reason: "not-leader", leader: "a" }]);
});

test("deadlines are heartbeats for a leader, elections for a follower, and none for one who may not campaign", () => {
  const [a, b] = electFirst(["a", "b", "c"]);
  expect(a.machine.deadline()).toBe(heartbeatTicks * tickMs);
  expect(b.machine.deadline()).toBeGreaterThanOrEqual(electionTicks * tickMs);
  expect(new TestMember("d", joiningState()).machine.deadline()).toBeUndefined();
});

test("after a pause a waiting heartbeat is heard before the silence is acted upon", () => {
  const [a, b, , members] = electFirst(["a", "b", "c"]);
  const pause = 60_000;
  a.step({ kind: "timeout" }, heartbeatTicks * tickMs);
  const heartbeat = a.outgoing.find((message) => message.to === "b");
  if (heartbeat === undefined) throw new Error("a heartbeat");
  a.outgoing = [];
  b.step({ kind: "message", from: "a", message: heartbeat }, pause);
  expect(b.machine.deadline()).toBeGreaterThan(pause - tickMs);
  b.step({ kind: "timeout" }, pause);
  deliver(members, pause);
  expect(b.machine.status()).toMatchObject({ role: "follower", leader: "a" });
});

test("a long pause makes one election due, not many", () => {
  const [, b] = electFirst(["a", "b", "c"]);
  b.step({ kind: "timeout" }, 3_600_000);
  const campaigns = b.effects.filter(
    (effect) => effect.kind === "event" && effect.event.kind === "campaign-started",
  );
  expect(campaigns.length).toBe(1);
  expect(b.machine.deadline()).toBeGreaterThan(3_600_000);
});

test("the lease protects a leader from a voter that only one member was told about", () => {
  const [a, b, c, members] = electFirst(["a", "b", "c"]);
  b.step({ kind: "campaign", leaderDead: true }, 1);
  deliver(members, 1, ["a"]);
  expect(b.machine.status().role).toBe("pre-candidate");
  expect(c.machine.status()).toMatchObject({ leader: "a", term: a.machine.status().term });
});

test("members told that the leader is dead replace it at once, all campaigning together", () => {
  for (const order of [
    ["b", "c"],
    ["c", "b"],
  ]) {
    const [, b, c, members] = electFirst(["a", "b", "c"]);
    for (const id of order) (id === "b" ? b : c).step({ kind: "campaign", leaderDead: true }, 1);
    deliver(members, 1, ["a"]);
    expect(leaderOf([b, c])).toEqual(["b"]);
  }
});

test("told one after the other, the survivors of three and five still elect without waiting", () => {
  for (const ids of [
    ["a", "b", "c"],
    ["a", "b", "c", "d", "e"],
  ]) {
    const [, , , members] = electFirst(ids);
    const survivors = members.slice(1);
    for (const member of survivors) {
      member.step({ kind: "campaign", leaderDead: true }, 1);
      deliver(members, 1, ["a"]);
    }
    expect(leaderOf(survivors).length).toBe(1);
  }
});

test("leadership moves to the member asked for", () => {
  const [a, , c, members] = electFirst(["a", "b", "c"]);
  a.step({ kind: "transfer-leadership", to: "c" }, 1);
  deliver(members, 1);
  expect(leaderOf(members)).toEqual(["c"]);
  expect(c.effects).toContainEqual({ kind: "soft-state", role: "leader", leader: "c", term: 3 });
});

test("a member joins through a snapshot taken on request, becomes a voter, and another leaves", () => {
  const [a, , , members] = electFirst(["a", "b", "c"]);
  const d = new TestMember("d", joiningState(), 1);
  members.push(d);
  a.step({ kind: "propose", data: bytes("x") }, 1);
  deliver(members, 1);
  const swap = [
    { kind: "add-voter", member: "d" },
    { kind: "remove", member: "c" },
  ] as const;
  a.step(
    { kind: "propose-conf-change", change: { transition: "auto", changes: swap, context: bytes("") } },
    1,
  );
  deliver(members, 1);
  expect(a.kinds()).toContain("snapshot-wanted");
  a.step({ kind: "snapshot-taken", index: a.machine.status().applied, data: bytes("image") }, 2);
  deliver(members, 2);
  a.step({ kind: "timeout" }, heartbeatTicks * tickMs);
  deliver(members, heartbeatTicks * tickMs);
  expect(
    d.effects.some((effect) => effect.kind === "restore" && text(effect.snapshot.data) === "image"),
  ).toBe(true);
  expect(d.machine.status().conf).toMatchObject({
    voters: ["a", "b", "d"],
    votersOutgoing: [],
    autoLeave: false,
  });
});

test("a leader that removes itself steps down and needs no timer", () => {
  const [a, , , members] = electFirst(["a", "b", "c"]);
  const change = {
    transition: "auto",
    changes: [{ kind: "remove", member: "a" }],
    context: bytes(""),
  } as const;
  a.step({ kind: "propose-conf-change", change }, 1);
  deliver(members, 1);
  expect(a.machine.status().role).toBe("follower");
  expect(a.machine.deadline()).toBeUndefined();
});

test("a restart resumes from what is stored, applied entries are not handed out again", () => {
  const [a, , , members] = electFirst(["a", "b", "c"]);
  const add = {
    transition: "auto",
    changes: [{ kind: "add-learner", member: "z" }],
    context: bytes(""),
  } as const;
  a.step({ kind: "propose-conf-change", change: add }, 1);
  a.step({ kind: "propose", data: bytes("x") }, 1);
  deliver(members, 1);
  const { applied, conf, term } = a.machine.status();
  expect(conf.learners).toEqual(["z"]);
  const again = new TestMember("a", { ...a.stored, applied });
  again.step({ kind: "timeout" }, 0);
  expect(again.applied()).toEqual([]);
  expect(again.machine.status()).toMatchObject({ applied, conf, term, role: "follower" });
});

test("bad messages are events and change nothing", () => {
  const [a, b] = electFirst(["a", "b", "c"]);
  const before = b.machine.status();
  const broken: Message[] = [
    { kind: "heartbeat", from: "a", to: "b", term: 2, commit: 99, readSequence: 0 },
    { kind: "heartbeat", from: "c", to: "b", term: 2, commit: 1, readSequence: 0 },
    { kind: "timeout-now", from: "a", to: "c", term: 2 },
    {
      kind: "append",
      from: "a",
      to: "b",
      term: 2,
      prevIndex: 2,
      prevTerm: 2,
      commit: 2,
      entries: [{ kind: "normal", term: 2, index: 9, data: bytes("") }],
    },
  ];
  for (const message of broken) b.step({ kind: "message", from: message.from, message }, 1);
  const lie: Message = { kind: "heartbeat", from: "a", to: "b", term: 2, commit: 1, readSequence: 0 };
  b.step({ kind: "message", from: "c", message: lie }, 1);
  expect(b.kinds()).toEqual(["event", "event", "event", "event", "event"]);
  expect(b.machine.status()).toEqual(before);
  a.step(
    {
      kind: "message",
      from: "b",
      message: {
        kind: "append-response",
        from: "b",
        to: "a",
        term: 2,
        index: 99,
        rejected: false,
        hintIndex: 0,
        hintTerm: 0,
      },
    },
    1,
  );
  expect(a.kinds()).toEqual(["event"]);
});
