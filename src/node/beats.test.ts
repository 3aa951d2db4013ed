import { expect, test } from "bun:test";
import type { Message } from "../core/consensus/message.ts";
import type { GroupId, NodeId } from "../model/ids.ts";
import type { Clock } from "../ports/clock.ts";
import type { Transport } from "../ports/transport.ts";
import { Beats } from "./beats.ts";
import { Peers } from "./peers.ts";

const hex = (digit: string): string => digit.repeat(32);
const [self, peer] = [hex("0"), hex("a")];
const groupOf = (n: number): GroupId => `${n.toString(16).padStart(32, "0")}.1.0000000a`;
const beat = (term: number): Message => ({
  kind: "heartbeat",
  from: self,
  to: peer,
  term,
  commit: 7,
  readSequence: 0,
});
const answer = (term: number): Message => ({
  kind: "heartbeat-response",
  from: self,
  to: peer,
  term,
  readSequence: 0,
});

/** Two ends over a wire that delivers at once, and time that moves when told. */
function rig() {
  const timers = new Set<{ readonly when: number; readonly callback: () => void }>();
  let now = 1_234;
  const clock: Clock = {
    now: () => now,
    wallMs: () => now,
    at: (when, callback) => {
      const timer = { when, callback };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
  };
  const posts: number[] = [];
  const delivered: { readonly from: NodeId; readonly group: GroupId; readonly message: Message }[] = [];
  const transport: Transport = {
    start: async () => {},
    addresses: () => [],
    datagram: () => {},
    post: (_to, _channel, payload) => {
      posts.push(now);
      receiver.receive(self, payload);
    },
    call: async () => Promise.reject(new Error("no calls")),
    open: async () => Promise.reject(new Error("no streams")),
    probe: async () => "answered",
    close: async () => {},
  };
  const locate = (id: NodeId): { id: NodeId; addresses: string[] } => ({ id, addresses: [id] });
  const deliver = (from: NodeId, group: GroupId, message: Message): void =>
    void delivered.push({ from, group, message });
  const endOf = (id: NodeId): Beats =>
    new Beats({ peers: new Peers({ transport, locate, clock }, { self: id }), clock, deliver });
  const receiver = endOf(peer);
  return {
    sender: endOf(self),
    posts,
    delivered,
    timers,
    advanceTo: (when: number) => {
      now = when;
      for (const timer of [...timers])
        if (timer.when <= now) {
          timers.delete(timer);
          timer.callback();
        }
    },
  };
}

test("the beats of many groups go in one message soon after the shared tick", () => {
  const { sender, posts, delivered, advanceTo } = rig();
  advanceTo(1_300.5);
  for (let n = 0; n < 40; n++) expect(sender.take(groupOf(n), beat(n))).toBe(true);
  advanceTo(1_304);
  expect(posts).toEqual([]);
  advanceTo(1_305);
  expect(posts).toEqual([1_305]);
  expect(delivered.length).toBe(40);
  expect(delivered[3]).toEqual({ from: self, group: groupOf(3), message: beat(3) });
});

test("answers do not wait, and only the newest of a group is sent", () => {
  const { sender, posts, delivered, advanceTo } = rig();
  sender.take(groupOf(1), answer(4));
  sender.take(groupOf(1), answer(5));
  sender.take(groupOf(2), answer(5));
  advanceTo(1_234);
  expect(posts.length).toBe(1);
  expect(delivered.map(({ group, message }) => [group, message.term])).toEqual([
    [groupOf(1), 5],
    [groupOf(2), 5],
  ]);
});

test("a message is bounded, and what cannot wait is not taken", () => {
  const { sender, posts, delivered, advanceTo } = rig();
  for (let n = 0; n < 1_100; n++) sender.take(groupOf(n), beat(1));
  advanceTo(1_305);
  expect(posts.length).toBe(3);
  expect(new Set(delivered.map(({ group }) => group)).size).toBe(1_100);
  expect(sender.take(groupOf(1), { kind: "timeout-now", from: self, to: peer, term: 1 })).toBe(false);
});

test("nothing goes out after the end", () => {
  const { sender, posts, timers, advanceTo } = rig();
  sender.take(groupOf(1), beat(1));
  sender.take(groupOf(1), answer(1));
  sender.close();
  expect(timers.size).toBe(0);
  advanceTo(2_000);
  expect(posts).toEqual([]);
});
