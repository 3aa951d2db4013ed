import { describe, expect, test } from "bun:test";
import { defined } from "../../model/assert.ts";
import type { MemberRecord } from "../../model/member.ts";
import { createRng } from "../rng.ts";
import { MembershipMachine } from "./machine.ts";
import { membershipDefaults } from "./options.ts";
import type { MembershipEffect, MembershipEvent, Message, MessageBody, Update } from "./protocol.ts";

const meta = { freeCpuMillis: 1, freeMemoryBytes: 1, protocolVersions: [1, 1] as const };
const self = "0".repeat(32);
const anna = "a".repeat(32);
const bert = "b".repeat(32);

function record(id: string, incarnation = 0, status: MemberRecord["status"] = "alive"): MemberRecord {
  return { id, name: id.slice(0, 1), addresses: [`${id.slice(0, 1)}:1`], incarnation, status, meta };
}

/** The machine with Anna and Bert as members, and its time. */
class Bench {
  readonly machine = new MembershipMachine(
    { id: self, name: "self", addresses: ["self:1"], meta, rng: createRng(1) },
    membershipDefaults,
  );
  now = 1_000;

  constructor(members: readonly string[] = [anna, bert]) {
    this.step({ kind: "start" });
    this.hear(
      anna,
      { kind: "gossip" },
      members.map((id) => ({ kind: "alive", record: record(id) })),
    );
  }

  step(input: Parameters<MembershipMachine["step"]>[0]): readonly MembershipEffect[] {
    return this.machine.step(input, this.now);
  }

  hear(from: string, body: MessageBody, updates: readonly Update[] = []): readonly MembershipEffect[] {
    const address = `${from.slice(0, 1)}:1`;
    return this.step({
      kind: "datagram",
      from: address,
      message: { ...body, from: { id: from, address }, updates },
    });
  }

  /** Steps at each deadline until `forMs` have passed, as a punctual driver does. */
  pass(forMs: number): MembershipEffect[] {
    const end = this.now + forMs;
    const effects: MembershipEffect[] = [];
    for (;;) {
      const deadline = this.machine.deadline();
      if (deadline === undefined || deadline > end) break;
      this.now = Math.max(this.now, deadline);
      effects.push(...this.step({ kind: "timeout" }));
    }
    this.now = end;
    return effects;
  }

  status(id: string): string | undefined {
    return this.machine.member(id)?.status;
  }
}

function sent(effects: readonly MembershipEffect[]): { to: string; message: Message }[] {
  return effects.flatMap((effect) => (effect.kind === "send" ? [effect] : []));
}

function events(effects: readonly MembershipEffect[]): MembershipEvent[] {
  return effects.flatMap((effect) => (effect.kind === "event" ? [effect.event] : []));
}

describe("probing", () => {
  test("ping, then relays and a stream together, then suspicion, then death", () => {
    const bench = new Bench();
    const effects = bench.pass(2_500);
    const kinds = effects.map((effect) => (effect.kind === "send" ? effect.message.kind : effect.kind));
    const withoutGossip = kinds.filter((kind) => kind !== "gossip");
    expect(withoutGossip.slice(0, 5)).toEqual(["ping", "ping-req", "stream-probe", "event", "ping"]);
    const names = events(effects).map(({ kind }) => kind);
    expect(names.filter((kind) => kind === "member-dead")).toHaveLength(2);
    expect(names.indexOf("member-suspected")).toBeLessThan(names.indexOf("member-dead"));
  });

  test("an answer on the stream is as good as an ack", () => {
    const bench = new Bench([anna]);
    for (let i = 0; i < 20; i++) {
      for (const effect of bench.pass(100)) {
        if (effect.kind === "stream-probe") {
          bench.step({ kind: "stream-probe-result", member: effect.member, outcome: "answered" });
        }
      }
    }
    expect(bench.status(anna)).toBe("alive");
  });

  test("a relay passes the ack on, and says so in time when there is none", () => {
    const bench = new Bench();
    const request = {
      kind: "ping-req",
      target: bert,
      targetAddress: "b:1",
      sequence: 77,
      pingTimeoutMs: 80,
    } as const;
    const ping = defined(
      sent(bench.hear(anna, request)).find(({ to, message }) => to === "b:1" && message.kind === "ping"),
      "a ping to Bert",
    );
    const sequence = ping.message.kind === "ping" ? ping.message.sequence : 0;
    const passedOn = sent(bench.hear(bert, { kind: "ack", sequence }));
    expect(
      passedOn.map(({ to, message }) => [to, message.kind === "ack" && message.sequence]),
    ).toContainEqual(["a:1", 77]);

    bench.hear(anna, { ...request, sequence: 78 });
    const late = sent(bench.pass(70)).filter(({ message }) => message.kind === "nack");
    expect(late.map(({ to, message }) => [to, message.kind === "nack" && message.sequence])).toEqual([
      ["a:1", 78],
    ]);
  });

  test("a ping meant for another member is not answered", () => {
    const effects = new Bench().hear(anna, { kind: "ping", target: bert, sequence: 1 });
    expect(sent(effects).some(({ message }) => message.kind === "ack")).toBe(false);
    expect(events(effects).map(({ kind }) => kind)).toEqual(["message-rejected"]);
  });
});

describe("refuting", () => {
  test("a suspicion of this node is refuted in the very ack", () => {
    const bench = new Bench();
    const accusation = { kind: "suspect", id: self, incarnation: 4, accuser: anna, evidence: 0 } as const;
    const effects = bench.hear(anna, { kind: "ping", target: self, sequence: 9 }, [accusation]);
    const ack = defined(
      sent(effects).find(({ message }) => message.kind === "ack"),
      "an ack",
    );
    const own = ack.message.updates.find((update) => update.kind === "alive" && update.record.id === self);
    expect(own).toMatchObject({ record: { incarnation: 5 } });
    expect(bench.machine.healthScore).toBe(1);
  });

  test("a suspect is told so in the ping (Lifeguard's buddy system)", () => {
    const bench = new Bench();
    bench.hear(bert, { kind: "gossip" }, [
      { kind: "suspect", id: anna, incarnation: 0, accuser: bert, evidence: 0 },
    ]);
    const ping = defined(
      sent(bench.pass(450)).find(({ to, message }) => to === "a:1" && message.kind === "ping"),
      "a ping to Anna",
    );
    expect(ping.message.updates[0]).toMatchObject({ kind: "suspect", id: anna });
  });

  test("only a greater incarnation refutes", () => {
    const bench = new Bench();
    bench.hear(bert, { kind: "gossip" }, [
      { kind: "suspect", id: anna, incarnation: 0, accuser: bert, evidence: 0 },
    ]);
    bench.hear(anna, { kind: "gossip" }, [{ kind: "alive", record: record(anna, 0) }]);
    expect(bench.status(anna)).toBe("suspect");
    const effects = bench.hear(anna, { kind: "gossip" }, [{ kind: "alive", record: record(anna, 1) }]);
    expect(bench.status(anna)).toBe("alive");
    expect(events(effects).map(({ kind }) => kind)).toEqual(["member-refuted"]);
  });

  test("what an earlier life of this node announced is outbid", () => {
    const bench = new Bench();
    const from = { id: anna, address: "a:1" };
    const members = [{ record: { ...record(self, 6), addresses: ["old:1"] }, evidence: 0, goneForMs: 0 }];
    bench.step({ kind: "push-pull-response", state: { from, members } });
    expect(bench.machine.self.incarnation).toBe(7);
    expect(bench.machine.self.addresses).toEqual(["self:1"]);
  });
});

describe("an own pause", () => {
  test("accuses nobody, gives suspects more time and lowers the local health", () => {
    const bench = new Bench();
    bench.hear(bert, { kind: "gossip" }, [
      { kind: "suspect", id: anna, incarnation: 0, accuser: bert, evidence: 0 },
    ]);
    bench.now += 5_000;
    const effects = bench.step({ kind: "timeout" });
    expect(events(effects).map(({ kind }) => kind)).toEqual(["self-paused"]);
    expect(bench.status(anna)).toBe("suspect");
    expect(bench.status(bert)).toBe("alive");
    expect(bench.machine.healthScore).toBe(1);
    bench.hear(anna, { kind: "gossip" }, [{ kind: "alive", record: record(anna, 1) }]);
    expect(bench.status(anna)).toBe("alive");
  });

  test("is not seen where nothing was due", () => {
    const bench = new Bench([]);
    bench.now += 3_600_000;
    expect(events(bench.step({ kind: "update-meta", meta }))).toEqual([]);
  });
});

describe("full state", () => {
  const state = {
    from: { id: anna, address: "a:1" },
    members: [{ record: record(bert, 0, "dead"), evidence: 0, goneForMs: 50 }],
  };

  test("a death found there is not believed: the member is told and probed", () => {
    const bench = new Bench();
    const effects = bench.step({ kind: "push-pull-response", state });
    expect(bench.status(bert)).toBe("alive");
    const [first] = sent(effects);
    expect([first?.to, first?.message.updates[0]]).toMatchObject(["b:1", { kind: "dead", id: bert }]);
  });

  test("a stranger's death is remembered quietly", () => {
    const bench = new Bench([anna]);
    const effects = bench.step({ kind: "push-pull-response", state });
    expect(bench.status(bert)).toBe("dead");
    expect(events(effects)).toEqual([]);
  });

  test("each request has its reply, whoever asks", () => {
    const bench = new Bench();
    const replies = bench
      .step({
        kind: "push-pull-request",
        requestId: 5,
        state: { ...state, from: { id: self, address: "x:1" } },
      })
      .filter(({ kind }) => kind === "push-pull-reply");
    expect(replies).toMatchObject([{ requestId: 5 }]);
  });
});

test("news is gossiped at once when the last was a while ago", () => {
  const bench = new Bench();
  bench.pass(50);
  for (let i = 0; i < 30; i++) {
    for (const { to, message } of sent(bench.pass(100))) {
      if (message.kind === "ping")
        bench.hear(to.startsWith("a") ? anna : bert, { kind: "ack", sequence: message.sequence });
    }
  }
  const effects = sent(bench.step({ kind: "update-meta", meta: { ...meta, freeCpuMillis: 2 } }));
  expect(effects.map(({ to, message }) => [to, message.kind]).toSorted()).toEqual([
    ["a:1", "gossip"],
    ["b:1", "gossip"],
  ]);
});
