import { expect, test } from "bun:test";
import { foundingState } from "../core/cohort/founding.ts";
import { encodeState } from "../core/cohort/state-codec.ts";
import { bootstrapState, joiningState } from "../core/consensus/bootstrap.ts";
import type { Message } from "../core/consensus/message.ts";
import type { StoredState } from "../core/consensus/entry-log.ts";
import { createSpreadPolicy } from "../core/placement/policy.ts";
import { createRng } from "../core/rng.ts";
import type { Charter } from "../model/charter.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import type { Store } from "../ports/store.ts";
import { encode } from "../wire/codec.ts";
import { Group, logDefaults } from "./group.ts";
import { Turn } from "./turn.ts";
import { singleContainer } from "../model/template.ts";

const hex = (digit: string): string => digit.repeat(32);
const [self, candidate, third] = [hex("a"), hex("b"), hex("c")];
const voters = [self, candidate, third];
const deployment = hex("d");
const group = `${deployment}.1.0000000a`;
const charter: Charter = {
  deployment,
  namespace: "default",
  name: "web",
  group,
  epoch: 1,
  version: 1,
  founder: candidate,
  voters,
  deleted: false,
};
const logger: Logger = {
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
  child: () => logger,
};
const clock: Clock = { now: () => 0, wallMs: () => 0, at: () => () => {} };
const store: Store = {
  commit: async () => {},
  get: async () => undefined,
  scan: async () => [],
  readLog: async () => [],
  close: async () => {},
};

function foundedState(): StoredState {
  const template = singleContainer({ image: "web" }, { stopTimeoutMs: 0 });
  const spec = { namespace: "default", name: "web", replicas: 0, template };
  const facts = { group, deployment, epoch: 1, founder: candidate, spec, templateHash: "t", voters };
  return bootstrapState(voters, encode(encodeState(foundingState({ ...facts, requestId: "r1", atMs: 0 }))));
}

async function answersTo(stored: StoredState, message: Message): Promise<readonly Message[]> {
  const sent: Message[] = [];
  const turn = new Turn({ store, clock, logger });
  const member = new Group(
    {
      turn,
      clock,
      logger,
      policy: createSpreadPolicy(createRng(1)),
      send: (_group, messages) => sent.push(...messages),
      errand: () => {},
      publishCharter: () => {},
      retire: () => {},
    },
    { self, seed: 1, charter, fleet: { alive: [], suspect: [], dead: [] }, log: logDefaults },
    stored,
  );
  member.start();
  member.receive(message.from, [message]);
  await turn.idle();
  member.close();
  return sent;
}

const envelope = { from: candidate, to: self, term: 2 } as const;
const log = { lastIndex: 1, lastTerm: 1, reason: "timeout" } as const;

test.each(["vote", "pre-vote"] as const)("a member without a state gives no %s", async (kind) => {
  expect(await answersTo(joiningState(), { ...envelope, kind, ...log })).toEqual([]);
});

test.each(["vote", "pre-vote"] as const)("a founding voter gives its %s", async (kind) => {
  const sent = await answersTo(foundedState(), { ...envelope, kind, ...log });
  expect(sent.map(({ kind: answer }) => answer)).toEqual([`${kind}-response`]);
});

test("a member without a state answers a leader", async () => {
  const append = { prevIndex: 4, prevTerm: 1, entries: [], commit: 4 } as const;
  const sent = await answersTo(joiningState(), { ...envelope, kind: "append", ...append });
  expect(sent).toMatchObject([{ kind: "append-response", rejected: true }]);
});
