import { expect, test } from "bun:test";
import { createRng } from "../rng.ts";
import { bootstrapState } from "./bootstrap.ts";
import type { StoredState } from "./entry-log.ts";
import { emptyConfState, type Entry, type MemberId } from "./entry.ts";
import type { Message } from "./message.ts";
import { RawNode } from "./raw-node.ts";

/** One test per statement of the Raft paper (extended version) or of Ongaro's thesis. */

const electionTicks = 10;

function stored(
  entryTerms: readonly number[],
  term = Math.max(1, ...entryTerms),
  voters = ["a", "b", "c"],
): StoredState {
  const founded = bootstrapState(voters, new Uint8Array(0));
  const entries = entryTerms.map((one, i): Entry => ({
    kind: "normal",
    term: one,
    index: i + 2,
    data: new Uint8Array(1),
  }));
  return { ...founded, hardState: { term, vote: undefined, commit: 1 }, entries };
}

function member(
  id: MemberId,
  state: StoredState,
  extra: { preVote?: boolean; checkQuorum?: boolean; seed?: number } = {},
): RawNode {
  const options = {
    id,
    electionTicks,
    heartbeatTicks: 1,
    appendBytesMax: 1e6,
    inflightMessagesMax: 100,
    inflightBytesMax: 1e6,
    uncommittedBytesMax: 1e6,
    preVote: extra.preVote === true,
    checkQuorum: extra.checkQuorum === true,
    stepDownOnRemoval: true,
    rng: createRng(extra.seed ?? 1),
  };
  return new RawNode(options, state);
}

/** Carries out what the member wants, with storage that is done at once; returns what it sends. */
function settle(node: RawNode): Message[] {
  const sent: Message[] = [];
  while (node.hasReady) {
    const ready = node.ready();
    sent.push(...ready.messages, ...ready.messagesAfterPersist);
    node.persisted(ready);
    node.applied(ready);
  }
  return sent;
}

function elect(id: MemberId, state: StoredState): { node: RawNode; term: number } {
  const node = member(id, state);
  node.campaign("timeout");
  settle(node);
  const { term } = node.status();
  node.step({ kind: "vote-response", from: "b", to: id, term, rejected: false, commit: 0, commitTerm: 0 });
  settle(node);
  expect(node.role).toBe("leader");
  return { node, term };
}

function append(
  term: number,
  prev: readonly [number, number],
  entryTerms: readonly number[],
  commit = 0,
): Message {
  const [prevIndex, prevTerm] = prev;
  const entries = entryTerms.map((one, i): Entry => ({
    kind: "normal",
    term: one,
    index: prevIndex + 1 + i,
    data: new Uint8Array(1),
  }));
  return { kind: "append", from: "b", to: "a", term, prevIndex, prevTerm, entries, commit };
}

const accepted = (from: MemberId, term: number, index: number): Message => ({
  kind: "append-response",
  from,
  to: "a",
  term,
  index,
  rejected: false,
  hintIndex: 0,
  hintTerm: 0,
});

const refused = (from: MemberId, term: number, index: number, hintIndex: number): Message => ({
  kind: "append-response",
  from,
  to: "a",
  term,
  index,
  rejected: true,
  hintIndex,
  hintTerm: 1,
});

const vote = (from: MemberId, term: number, lastTerm: number, lastIndex: number): Message => ({
  kind: "vote",
  from,
  to: "a",
  term,
  lastTerm,
  lastIndex,
  reason: "timeout",
});

const termsOf = (node: RawNode): number[] =>
  node.log.slice(node.log.firstIndex, node.log.lastIndex).map((one) => one.term);

test("5.1: a server with a smaller term updates to the larger one", () => {
  const node = member("a", stored([]));
  node.step(append(7, [1, 1], []));
  expect(node.status().term).toBe(7);
});

test("5.1: a leader or candidate with a stale term becomes a follower", () => {
  const { node, term } = elect("a", stored([]));
  node.step(append(term + 1, [1, 1], []));
  expect(node.role).toBe("follower");
  const candidate = member("a", stored([]));
  candidate.campaign("timeout");
  candidate.step(append(5, [1, 1], []));
  expect(candidate.role).toBe("follower");
});

test("5.1: a request with a stale term is not acted upon", () => {
  const node = member("a", stored([], 5));
  node.step(append(4, [1, 1], [4]));
  expect(node.log.lastIndex).toBe(1);
});

test("5.2: servers start as followers", () => {
  expect(member("a", stored([])).role).toBe("follower");
});

test("5.2: a leader sends heartbeats to all followers every heartbeat interval", () => {
  const { node } = elect("a", stored([]));
  node.tick();
  expect(settle(node).map(({ kind, to }) => `${kind} ${to}`)).toEqual(["heartbeat b", "heartbeat c"]);
});

test("5.2: a follower that hears nothing begins an election: next term, own vote, requests to all", () => {
  const node = member("a", stored([]));
  for (let i = 0; i < 2 * electionTicks; i++) node.tick();
  expect(settle(node).map(({ kind, to, term }) => `${kind} ${to} ${term}`)).toEqual(["vote b 2", "vote c 2"]);
  expect(node.status()).toMatchObject({ role: "candidate", term: 2, vote: "a" });
});

test("5.2: a majority of votes makes a leader, a majority of refusals or a tie does not", () => {
  const outcome = (answers: readonly (readonly [MemberId, boolean])[]): string => {
    const node = member("a", stored([], 1, ["a", "b", "c", "d", "e"]));
    node.campaign("timeout");
    settle(node);
    for (const [from, granted] of answers) {
      node.step({
        kind: "vote-response",
        from,
        to: "a",
        term: 2,
        rejected: !granted,
        commit: 0,
        commitTerm: 0,
      });
    }
    return node.role;
  };
  expect(
    outcome([
      ["b", true],
      ["c", true],
    ]),
  ).toBe("leader");
  expect(
    outcome([
      ["b", true],
      ["c", false],
      ["d", false],
    ]),
  ).toBe("candidate");
  expect(
    outcome([
      ["b", false],
      ["c", false],
      ["d", false],
    ]),
  ).toBe("follower");
  expect(
    outcome([
      ["b", true],
      ["b", true],
    ]),
  ).toBe("candidate");
});

test("5.2: a server votes for at most one candidate per term, first come first served, also after a crash", () => {
  const node = member("a", stored([]));
  node.step(vote("b", 2, 1, 1));
  node.step(vote("c", 2, 1, 1));
  const answers = settle(node).flatMap((one) =>
    one.kind === "vote-response" ? [[one.to, one.rejected]] : [],
  );
  expect(answers).toEqual([
    ["b", false],
    ["c", true],
  ]);
  const restarted = member("a", { ...stored([]), hardState: node.hardState });
  restarted.step(vote("c", 2, 1, 1));
  expect(settle(restarted)).toMatchObject([{ to: "c", rejected: true }]);
});

test("5.2: a vote leaves only with the state to be stored first", () => {
  const node = member("a", stored([]));
  node.step(vote("b", 2, 1, 1));
  const ready = node.ready();
  expect(ready.messages).toEqual([]);
  expect(ready.isHardStateVital).toBe(true);
  expect(ready.messagesAfterPersist).toMatchObject([{ kind: "vote-response", to: "b" }]);
});

test("5.2: election timeouts are spread over an interval, so that split votes are rare", () => {
  const timeouts = new Set<number>();
  for (let seed = 0; seed < 200; seed++) timeouts.add(member("a", stored([]), { seed }).ticksUntilDue ?? 0);
  expect([...timeouts].sort((x, y) => x - y)).toEqual(
    Array.from({ length: electionTicks }, (_, i) => electionTicks + i),
  );
});

test("5.3: a proposal is appended and sent to each of the other servers", () => {
  const { node, term } = elect("a", stored([]));
  for (const from of ["b", "c"]) node.step(accepted(from, term, 2));
  settle(node);
  expect(node.propose({ kind: "normal", data: new Uint8Array(3) })).toBeUndefined();
  const sent = settle(node);
  expect(sent).toMatchObject([
    { kind: "append", to: "b", prevIndex: 2, entries: [{ index: 3 }] },
    { kind: "append", to: "c", prevIndex: 2, entries: [{ index: 3 }] },
  ]);
});

test("5.3: an entry is committed once a majority stores it, and so are all before it", () => {
  const { node, term } = elect("a", stored([1]));
  expect(node.status().commit).toBe(1);
  node.step(accepted("c", term, 3));
  expect(node.status().commit).toBe(3);
});

test("5.3: a leader counts itself only when its own entry is stored", () => {
  const { node, term } = elect("a", stored([]));
  for (const from of ["b", "c"]) node.step(accepted(from, term, 2));
  settle(node);
  node.propose({ kind: "normal", data: new Uint8Array(1) });
  const ready = node.ready();
  node.step(accepted("b", term, 3));
  expect(node.status().commit).toBe(2);
  node.persisted(ready);
  expect(node.status().commit).toBe(3);
});

test("5.3: a follower refuses entries that do not follow on its log", () => {
  const node = member("a", stored([1, 2]));
  node.step(append(3, [3, 3], [3]));
  node.step(append(3, [5, 3], [3]));
  const answers = settle(node).filter((message) => message.kind === "append-response");
  expect(answers.map(({ rejected, index }) => [rejected, index])).toEqual([
    [true, 3],
    [true, 5],
  ]);
});

test("5.3: a follower's conflicting entries and all that follow them are replaced", () => {
  const node = member("a", stored([1, 2, 2, 2]));
  node.step(append(3, [2, 1], [3]));
  expect(termsOf(node)).toEqual([1, 3]);
});

test("5.3: entries that are there already stay, and only what was sent is acknowledged", () => {
  const node = member("a", stored([1, 2, 2, 2]));
  node.step(append(3, [1, 1], [1, 2], 9));
  expect(termsOf(node)).toEqual([1, 2, 2, 2]);
  expect(node.status().commit).toBe(3);
  expect(settle(node)).toMatchObject([{ kind: "append-response", index: 3, rejected: false }]);
});

test("5.3: after a refusal the leader goes back until the logs meet", () => {
  const { node, term } = elect("a", stored([1, 1, 1]));
  node.step(refused("b", term, 4, 2));
  expect(settle(node)).toMatchObject([
    { kind: "append", to: "b", prevIndex: 2, entries: [{ index: 3 }, { index: 4 }, { index: 5 }] },
  ]);
});

test("5.4.1: a voter refuses a candidate whose log is less up to date than its own", () => {
  const isGranted = (own: readonly number[], lastTerm: number, lastIndex: number): boolean => {
    const node = member("a", stored(own));
    node.step(vote("b", 9, lastTerm, lastIndex));
    return settle(node).some((message) => message.kind === "vote-response" && !message.rejected);
  };
  expect(isGranted([1, 2], 2, 3)).toBe(true);
  expect(isGranted([1, 2], 2, 4)).toBe(true);
  expect(isGranted([1, 2], 3, 2)).toBe(true);
  expect(isGranted([1, 2], 2, 2)).toBe(false);
  expect(isGranted([1, 2], 1, 9)).toBe(false);
});

test("5.4.2: only entries of the leader's own term are committed by counting", () => {
  const { node, term } = elect("a", stored([1, 2], 2));
  node.step(accepted("b", term, 3));
  expect(node.status().commit).toBe(1);
  node.step(accepted("b", term, 4));
  expect(node.status().commit).toBe(4);
});

test("6: in a joint configuration both majorities are needed", () => {
  const { node, term } = elect("a", stored([]));
  for (const from of ["b", "c"]) node.step(accepted(from, term, 2));
  settle(node);
  const changes = [
    { kind: "add-voter", member: "d" },
    { kind: "add-voter", member: "e" },
    { kind: "remove", member: "b" },
  ] as const;
  node.applyConfChange({ transition: "explicit", changes, context: new Uint8Array(0) }, 2);
  node.propose({ kind: "normal", data: new Uint8Array(1) });
  settle(node);
  node.step(accepted("b", term, 3));
  expect(node.status().commit).toBe(2);
  node.step(accepted("d", term, 3));
  expect(node.status().commit).toBe(2);
  node.step(accepted("e", term, 3));
  expect(node.status().commit).toBe(3);
});

test("7: a leader sends a snapshot when it has discarded the next entry to send", () => {
  const { node, term } = elect("a", stored([1, 1, 1]));
  node.step(accepted("b", term, 5));
  settle(node);
  node.keepSnapshot(new Uint8Array(0), 5, node.confState, 5);
  node.step(refused("c", term, 4, 1));
  expect(settle(node)).toMatchObject([{ kind: "snapshot", to: "c", snapshot: { index: 5 } }]);
  expect(node.status().progress.get("c")?.mode).toBe("snapshot");
  node.step(accepted("c", term, 5));
  expect(node.status().progress.get("c")?.mode).toBe("replicate");
});

test("7: a follower that gets a snapshot discards its log and takes the membership from it", () => {
  const node = member("a", stored([1, 1]));
  const snapshot = {
    index: 9,
    term: 2,
    conf: { ...emptyConfState, voters: ["a", "b"] },
    data: new Uint8Array(2),
  };
  node.step({ kind: "snapshot", from: "b", to: "a", term: 3, snapshot });
  const ready = node.ready();
  expect(ready.snapshot).toBe(snapshot);
  expect(ready.messagesAfterPersist).toMatchObject([{ kind: "append-response", index: 9 }]);
  expect(node.status()).toMatchObject({
    firstIndex: 10,
    lastIndex: 9,
    commit: 9,
    applied: 9,
    conf: { voters: ["a", "b"] },
  });
});

test("8: a new leader starts its term with an empty entry", () => {
  const { node, term } = elect("a", stored([1]));
  const last = node.log.slice(3, 3)[0];
  expect(last).toMatchObject({ kind: "normal", term, index: 3 });
});

test("8: a read waits until a majority has answered a heartbeat sent after it", () => {
  const { node, term } = elect("a", stored([]));
  node.readIndex("early");
  node.step(accepted("b", term, 2));
  expect(node.ready().reads).toEqual([]);
  node.step({ kind: "heartbeat-response", from: "b", to: "a", term, readSequence: 0 });
  expect(node.ready().reads).toEqual([]);
  node.step({ kind: "heartbeat-response", from: "b", to: "a", term, readSequence: 1 });
  expect(node.ready().reads).toEqual([{ context: "early", index: 2 }]);
});

test("thesis 3.10: a transfer brings the target up to date, stops proposals, and lets it campaign at once", () => {
  const { node, term } = elect("a", stored([]));
  node.step(accepted("c", term, 2));
  settle(node);
  node.transferLeader("b");
  expect(node.propose({ kind: "normal", data: new Uint8Array(1) })).toBe("transferring");
  expect(settle(node).filter((message) => message.kind === "timeout-now")).toEqual([]);
  node.step(accepted("b", term, 2));
  expect(settle(node)).toContainEqual({ kind: "timeout-now", from: "a", to: "b", term });
  const target = member("a", stored([]), { preVote: true, checkQuorum: true });
  target.step({ kind: "timeout-now", from: "b", to: "a", term: 1 });
  expect(settle(target)).toMatchObject([
    { kind: "vote", reason: "transfer" },
    { kind: "vote", reason: "transfer" },
  ]);
});

test("thesis 3.10: an unfinished transfer is given up after an election timeout", () => {
  const { node } = elect("a", stored([]));
  node.transferLeader("b");
  for (let i = 0; i < electionTicks; i++) node.tick();
  expect(node.status().transferTarget).toBeUndefined();
});

test("thesis 4.1: one membership change at a time", () => {
  const { node, term } = elect("a", stored([]));
  for (const from of ["b", "c"]) node.step(accepted(from, term, 2));
  settle(node);
  const change = {
    transition: "auto",
    changes: [{ kind: "add-voter", member: "d" }],
    context: new Uint8Array(0),
  } as const;
  expect(node.propose({ kind: "conf-change", change })).toBeUndefined();
  expect(node.propose({ kind: "conf-change", change })).toBe("change-pending");
});

test("thesis 6.2: a leader that hears no majority for an election timeout steps down", () => {
  const node = member("a", stored([]), { checkQuorum: true });
  node.campaign("timeout");
  settle(node);
  node.step({
    kind: "vote-response",
    from: "b",
    to: "a",
    term: 2,
    rejected: false,
    commit: 0,
    commitTerm: 0,
  });
  for (let i = 0; i < 2 * electionTicks; i++) node.tick();
  expect(node.role).toBe("follower");
});

test("thesis 9.6: a pre-vote changes neither term nor vote, of the candidate or of the voter", () => {
  const node = member("a", stored([]), { preVote: true });
  node.campaign("timeout");
  expect(settle(node)).toMatchObject([
    { kind: "pre-vote", term: 2 },
    { kind: "pre-vote", term: 2 },
  ]);
  expect(node.status()).toMatchObject({ role: "pre-candidate", term: 1, vote: undefined });
  const voter = member("a", stored([]), { preVote: true });
  voter.step({ kind: "pre-vote", from: "b", to: "a", term: 2, lastIndex: 1, lastTerm: 1, reason: "timeout" });
  expect(settle(voter)).toMatchObject([{ kind: "pre-vote-response", term: 2, rejected: false }]);
  expect(voter.status()).toMatchObject({ role: "follower", term: 1, vote: undefined });
});
