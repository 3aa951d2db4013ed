/** What other nodes may ask of this one. */
import type * as v from "valibot";
import type { Charter } from "../model/charter.ts";
import type { Message } from "../core/consensus/message.ts";
import type { GroupId, NodeId } from "../model/ids.ts";
import type { PromiseView } from "../model/views.ts";
import type { Logger } from "../ports/logger.ts";
import { eventsHeaderSchema, eventsMethod, methods } from "../wire/calls.ts";
import { decodeAs } from "../wire/codec.ts";
import { groupMessagesSchema } from "../wire/consensus.ts";
import type { Duplex } from "../ports/transport.ts";
import type { Book } from "./book.ts";
import { followHistory } from "./history-stream.ts";
import { isFromLeader, type Group } from "./group.ts";
import type { Groups } from "./groups.ts";
import { MessageStream } from "./message-stream.ts";
import type { Peers } from "./peers.ts";
import type { Reporter } from "./reporter.ts";
import type { Turn } from "./turn.ts";
import { cohortView, deploymentView, type FleetView } from "./views.ts";

export interface HandlerPorts {
  readonly peers: Peers;
  readonly turn: Turn;
  readonly book: Book;
  readonly groups: Groups;
  readonly reporter: Reporter;
  readonly view: FleetView;
  readonly logger: Logger;
  readonly ownPromises: () => readonly PromiseView[];
  readonly charterOf: (deployment: string) => Promise<Charter | undefined>;
}

/** Registers every call and stream. */
export function installHandlers(ports: HandlerPorts): void {
  installBookHandlers(ports);
  installCohortHandlers(ports);
  installViewHandlers(ports);
}

function installBookHandlers({ peers, book, reporter }: HandlerPorts): void {
  peers.handle(methods.call, async (_from, request) => book.quote(request));
  peers.handle(methods.award, async (from, { cohort, promises }) => {
    reporter.learnSteward(cohort.group, from);
    return book.award(promises, cohort);
  });
  peers.handle(methods.release, (from, { cohort, promises, reason }) => {
    reporter.learnSteward(cohort.group, from);
    return book.release(promises, reason, cohort);
  });
  peers.handle(methods.inquire, (from, { cohort }) => {
    reporter.learnSteward(cohort.group, from);
    book.cohortChanged(cohort);
    return { reports: book.reportsOf(cohort.group) };
  });
  peers.handle(methods.acknowledge, (from, { cohort, acked, unknown }) => {
    reporter.learnSteward(cohort.group, from);
    book.cohortChanged(cohort);
    if (acked.length > 0) book.acknowledged(acked);
    if (unknown.length > 0) book.release(unknown, "its cohort does not want it any more", cohort);
    return {};
  });
}

function installCohortHandlers(ports: HandlerPorts): void {
  const { peers, groups, turn } = ports;
  peers.handle(methods.report, (from, { group, reports }) => {
    const member = groups.get(group);
    if (member === undefined) return { kind: "unknown-group" } as const;
    if (!member.isSteward) return notSteward(member);
    member.reported(from, reports);
    return { kind: "taken" } as const;
  });
  peers.handle(methods.change, async (_from, request) => {
    const { group, requestId, change } = request;
    const member = groups.get(group);
    if (member === undefined) return { kind: "unknown-group" } as const;
    if (!member.isSteward) return relayed(ports, member, request);
    const outcome = await turn.unlessRefused(() => member.change(requestId, change));
    if (outcome.ok) return { kind: "receipt", receipt: outcome.value } as const;
    if (outcome.error.code === "no-steward") return notSteward(member);
    return { kind: "problem", problem: outcome.error } as const;
  });
  peers.handle(methods.found, async (_from, { charter, snapshot }) => {
    await turn.unlessRefused(() => groups.found(charter, snapshot));
    return {};
  });
  peers.handle(methods.abandon, async (_from, { group }) => {
    await groups.abandon(group);
    return {};
  });
  peers.handle(methods.lead, (_from, { group }) => {
    groups.get(group)?.campaign();
    return {};
  });
}

function installViewHandlers({ peers, groups, view, ownPromises, logger }: HandlerPorts): void {
  peers.handle(methods.view, (_from, { group, what }) => {
    const member = groups.get(group);
    if (member === undefined) return { kind: "unknown-group" } as const;
    const { state } = member;
    if (!member.isSteward || state === undefined) return notSteward(member);
    const freshness = { source: "steward", node: peers.self, index: state.index } as const;
    const answer =
      what === "deployment"
        ? deploymentView(state, view, member.steward, freshness)
        : cohortView(state, member.status(), view, freshness);
    return { kind: "view", json: JSON.stringify(answer) } as const;
  });
  peers.handle(methods.promises, () => ({ json: JSON.stringify(ownPromises()) }));
  peers.handleStream(
    eventsMethod,
    (_from, header, stream) => void serveEvents(groups, logger, header, stream),
  );
}

async function serveEvents(
  groups: Groups,
  logger: Logger,
  header: Uint8Array,
  duplex: Duplex,
): Promise<void> {
  const abort = new AbortController();
  try {
    const { group, follow, sinceIndex } = decodeAs(eventsHeaderSchema, header);
    const member = groups.get(group);
    if (member === undefined) {
      duplex.abort();
      return;
    }
    const stream = new MessageStream(duplex);
    for await (const event of followHistory(member, { follow, sinceIndex, signal: abort.signal }))
      await stream.send(event);
    await stream.finish();
  } catch (error) {
    logger.debug("event stream ended", { error: String(error) });
    abort.abort();
    duplex.abort();
  }
}

/** Less than an asker waits for one node's answer, so that the answer of a relay still reaches it. */
const relayTimeoutMs = 400;

type ChangeAnswer = v.InferOutput<typeof methods.change.response>;

/** Passes a change on to the steward, once: whoever asked may be cut off from it while this member is not. */
async function relayed(
  { peers, logger }: HandlerPorts,
  member: Group,
  request: v.InferOutput<typeof methods.change.request>,
): Promise<ChangeAnswer> {
  const { steward } = member;
  if (request.isRelayed || steward === undefined || steward === peers.self) return notSteward(member);
  try {
    return await peers.call(steward, methods.change, { ...request, isRelayed: true }, relayTimeoutMs);
  } catch (error) {
    logger.debug("the steward was not reached for another node", { steward, error: String(error) });
    return notSteward(member);
  }
}

function notSteward(group: Group): { kind: "not-steward"; steward?: NodeId } {
  return { kind: "not-steward", ...(group.steward === undefined ? {} : { steward: group.steward }) };
}

/** The second part of a group's id. */
function epochOf(group: GroupId): number {
  return Number(group.split(".")[1]);
}

/** At most one look-up of a stranger's charter in this time; of one that is known to be over, in the longer one. */
const strangerPauseMs = 1_000;
const overPauseMs = 10_000;

/**
 * Takes consensus messages. A leader's message for a group that is not here means that it counts this
 * node in: when the guardians' charter says that the group is the living one, the node joins it.
 */
export class ConsensusInbox {
  readonly #ports: HandlerPorts & { readonly now: () => number };
  /** When the charter of a group that is not here may be looked up again. */
  readonly #strangers = new Map<GroupId, number>();

  constructor(ports: HandlerPorts & { readonly now: () => number }) {
    this.#ports = ports;
  }

  receive(from: NodeId, payload: Uint8Array): void {
    const { group, messages } = decodeAs(groupMessagesSchema, payload);
    this.deliver(from, group, messages);
  }

  deliver(from: NodeId, group: GroupId, messages: readonly Message[]): void {
    const member = this.#ports.groups.get(group);
    if (member !== undefined) member.receive(from, messages);
    else if (messages.some(isFromLeader))
      this.#meet(group).catch((error: unknown) =>
        this.#ports.logger.debug("group not joined", { group, error: String(error) }),
      );
  }

  async #meet(group: GroupId): Promise<void> {
    const now = this.#ports.now();
    if (now < (this.#strangers.get(group) ?? now)) return;
    if (this.#strangers.size > 1_000) this.#strangers.clear();
    this.#strangers.set(group, now + strangerPauseMs);
    const deployment = group.slice(0, group.indexOf("."));
    const charter = await this.#ports.charterOf(deployment);
    if (charter === undefined) return;
    if (charter.group !== group || charter.deleted) {
      if (charter.epoch >= epochOf(group)) this.#strangers.set(group, now + overPauseMs);
      return;
    }
    await this.#ports.groups.enlist(charter);
    this.#strangers.delete(group);
  }
}
