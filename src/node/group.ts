/**
 * One deployment's cohort on one member: its consensus machine and its cohort machine, joined.
 * Committed entries go up, proposals go down, and what the steward wants of other nodes becomes calls.
 *
 * Bulkhead: a throw inside either machine quarantines this group, loudly; the node goes on.
 */
import * as v from "valibot";
import { CohortMachine } from "../core/cohort/machine.ts";
import type { CohortCommand, UserChange } from "../core/cohort/commands.ts";
import type { Candidate, CohortEffect, CohortInput, NamedNode } from "../core/cohort/messages.ts";
import { defaultCohortOptions } from "../core/cohort/options.ts";
import type { PlacementPolicy } from "../core/cohort/placement-policy.ts";
import type { CohortState, WriteReceipt } from "../core/cohort/state.ts";
import { decodeState, encodeState } from "../core/cohort/state-codec.ts";
import { ConsensusMachine, defaultConsensusOptions } from "../core/consensus/consensus-machine.ts";
import type { ConsensusEffect, ConsensusInput } from "../core/consensus/effect.ts";
import type { ConfChange, MemberChange } from "../core/consensus/confchange/conf-change.ts";
import type { StoredState } from "../core/consensus/entry-log.ts";
import type { ConfState, Entry, Snapshot } from "../core/consensus/entry.ts";
import type { Message } from "../core/consensus/message.ts";
import { createRng } from "../core/rng.ts";
import type { Charter } from "../model/charter.ts";
import type { HistoryEvent } from "../model/event.ts";
import type { GroupId, NodeId } from "../model/ids.ts";
import type { Outcome } from "../model/outcome.ts";
import type { Problem } from "../model/problem.ts";
import type { InstanceReport } from "../model/promise.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import type { StoreWrite } from "../ports/store.ts";
import { cohortCommandSchema, cohortStateSchema } from "../wire/cohort.ts";
import { decodeAs, encode } from "../wire/codec.ts";
import { EventHub } from "./event-hub.ts";
import { MachineLane } from "./machine-lane.ts";
import type { Turn, Work } from "./turn.ts";
import type { GroupStatus } from "./views.ts";

/** What the steward's wishes become outside; answers come back through the group's methods. */
export type Errand = Extract<CohortEffect, { readonly to: NodeId }>;

export interface GroupPorts {
  readonly turn: Turn;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly send: (group: GroupId, messages: readonly Message[]) => void;
  readonly errand: (group: Group, errand: Errand) => void;
  readonly publishCharter: (charter: Charter) => void;
  readonly retire: (group: Group) => void;
  readonly policy: PlacementPolicy;
}

export interface GroupOptions {
  readonly self: NodeId;
  readonly seed: number;
  readonly charter: Charter;
  readonly fleet: Fleet;
  readonly log: LogOptions;
}

export type Fleet = {
  readonly alive: readonly Candidate[];
  readonly suspect: readonly NamedNode[];
  readonly dead: readonly NamedNode[];
};

/** How much of the log is kept. */
export interface LogOptions {
  /** Applied entries after which a snapshot is taken. */
  readonly entriesPerSnapshot: number;
  /** Entries before a snapshot that are kept for members that are a little behind. */
  readonly tailEntries: number;
}

export const logDefaults: LogOptions = { entriesPerSnapshot: 1_000, tailEntries: 256 };
/** Many heartbeats: a learner never stops believing in a leader by itself. */
const silenceMs = 5_000;
/** That of the bootstrap snapshot; the first election raises it. */
const foundingTerm = 1;
/** A learner this close to the commit index needs no more than a moment to be a voter. */
const caughtUpEntries = 64;
const proposalSchema = v.object({ proposal: v.number() });

export class Group {
  readonly #ports: GroupPorts;
  readonly #options: GroupOptions;
  readonly #consensus: ConsensusMachine;
  readonly #consensusLane: MachineLane<ConsensusInput, ConsensusEffect>;
  readonly #cohort: CohortMachine;
  readonly #cohortLane: MachineLane<CohortInput, CohortEffect>;
  readonly #requests = new Map<string, ((outcome: Outcome<WriteReceipt, Problem>) => void)[]>();
  readonly events = new EventHub();
  #charter: Charter;
  #leader: NodeId | undefined;
  #isLeading = false;
  #appliedSinceSnapshot = 0;
  /** Of the last entry that was handed to the cohort, whatever its kind. */
  #appliedIndex: number;
  /** When a leader's message came last. */
  #heardAt: number;
  #quarantine: string | undefined;
  /** Learners whose progress the steward waits for, and what it was told last. */
  readonly #caughtUp = new Map<NodeId, boolean>();

  constructor(ports: GroupPorts, options: GroupOptions, stored: StoredState) {
    this.#ports = ports;
    this.#options = options;
    this.#charter = options.charter;
    this.#heardAt = ports.clock.now();
    this.#appliedIndex = stored.applied;
    this.#consensus = new ConsensusMachine(
      { ...defaultConsensusOptions, id: options.self, tailEntries: options.log.tailEntries },
      stored,
      createRng(options.seed),
      ports.clock.now(),
    );
    this.#consensusLane = new MachineLane(ports, {
      machine: this.#consensus,
      timeout: { kind: "timeout" },
      work: (effect) => this.#consensusWork(effect),
      onFailure: (error) => this.#fail(error),
    });
    const { snapshot } = stored;
    const wallOffsetMs = ports.clock.wallMs() - ports.clock.now();
    this.#cohort = new CohortMachine(
      { self: options.self, policy: ports.policy, wallOffsetMs },
      defaultCohortOptions,
      snapshot === undefined ? undefined : stateOf(snapshot),
    );
    this.#cohortLane = new MachineLane<CohortInput, CohortEffect>(ports, {
      machine: this.#cohort,
      timeout: { kind: "timeout" },
      work: (effect) => this.#cohortWork(effect),
      onFailure: (error) => this.#fail(error),
    });
  }

  get id(): GroupId {
    return this.#charter.group;
  }

  get charter(): Charter {
    return this.#charter;
  }

  /** The steward as this member knows it. */
  get steward(): NodeId | undefined {
    return this.#leader;
  }

  /** As it was founded: no election was held and nothing written, so that nothing is lost when it is forgotten. */
  get isUntouched(): boolean {
    return this.#consensus.status().term <= foundingTerm;
  }

  /** Nobody leads it as far as this member knows, or who does has been silent for long. */
  get isHeadless(): boolean {
    if (this.#leader === undefined) return true;
    return !this.#isLeading && this.#ports.clock.now() - this.#heardAt > silenceMs;
  }

  get isSteward(): boolean {
    return this.#isLeading;
  }

  /** Why this group stands still on this node; undefined while it works. */
  get quarantine(): string | undefined {
    return this.#quarantine;
  }

  /** Undefined on a member that has yet to receive its first snapshot. */
  get state(): CohortState | undefined {
    return this.#cohort.state;
  }

  status(): GroupStatus {
    const status = this.#consensus.status();
    const match = new Map<NodeId, number>();
    if (this.#isLeading) for (const [member, progress] of status.progress) match.set(member, progress.match);
    return {
      term: status.term,
      leader: status.leader,
      commitIndex: status.commit,
      voters: status.conf.voters,
      learners: [...status.conf.learners, ...status.conf.learnersNext],
      match,
    };
  }

  start(): void {
    this.feed({ kind: "members", ...this.#options.fleet });
    this.#configChanged(this.#consensus.status().conf);
    this.#consensusLane.feed({ kind: "timeout" });
    const { voters } = this.status();
    // Alone there is nobody to wait for.
    if (voters.length === 1 && voters[0] === this.#options.self) this.campaign();
  }

  close(): void {
    this.#consensusLane.close();
    this.#cohortLane.close();
    this.events.end();
    this.#failRequests("the cohort's member on this node ended");
  }

  /**
   * A member without a state gives no votes. It may have been a voter before, and have forgotten that: its vote
   * would help one that was away for long to a majority among the voters of long ago.
   */
  receive(from: NodeId, messages: readonly Message[]): void {
    for (const message of messages) {
      if (isFromLeader(message)) this.#heardAt = this.#ports.clock.now();
      this.#consensusLane.feedWith(() =>
        this.state === undefined && !isFromLeader(message) ? undefined : { kind: "message", from, message },
      );
    }
    if (!this.#isLeading || this.status().learners.length === 0) return;
    this.#consensusLane.feedWith(() => {
      this.#trackProgress();
      return undefined;
    });
  }

  /** Only the steward answers; others refuse with `no-steward`. */
  async change(requestId: string, change: UserChange): Promise<Outcome<WriteReceipt, Problem>> {
    return new Promise((resolve) => {
      const waiting = this.#requests.get(requestId);
      if (waiting === undefined) this.#requests.set(requestId, [resolve]);
      else waiting.push(resolve);
      this.feed({ kind: "request", requestId, change });
    });
  }

  feed(input: CohortInput): void {
    this.#cohortLane.feed(input);
  }

  reported(node: NodeId, reports: readonly InstanceReport[]): void {
    this.feed({ kind: "report", node, reports });
  }

  fleetChanged(fleet: Fleet): void {
    this.feed({
      kind: "wall-clock",
      offsetMs: this.#ports.clock.wallMs() - this.#ports.clock.now(),
    });
    this.feed({ kind: "members", ...fleet });
    // Dead is certain enough to let go of the lease: membership has waited for a refutation already.
    if (this.#leader !== undefined && fleet.dead.some(({ id }) => id === this.#leader)) this.leaderDied();
  }

  /** Membership has declared the steward's node dead: no need to wait for the election timeout. */
  leaderDied(): void {
    if (this.#isLeading) return;
    this.#consensusLane.feed({ kind: "leader-suspected" });
    this.#consensusLane.feed({ kind: "campaign", leaderDead: true });
  }

  campaign(): void {
    this.#consensusLane.feed({ kind: "campaign" });
  }

  /** The history kept, from an index on. */
  history(sinceIndex: number): readonly HistoryEvent[] {
    return (this.state?.history ?? []).filter((event) => event.index >= sinceIndex);
  }

  #consensusWork(effect: ConsensusEffect): Work {
    if (effect.kind === "persist") {
      return {
        kind: "write",
        writes: this.#writesOf(effect),
        done: () => this.#consensusLane.feed({ kind: "persisted", upTo: effect.sequence }),
      };
    }
    return { kind: "do", run: () => this.#carryOutConsensus(effect) };
  }

  #writesOf(effect: Extract<ConsensusEffect, { kind: "persist" }>): StoreWrite[] {
    const group = this.id;
    const writes: StoreWrite[] = [];
    const { snapshot, discardTo, truncateFrom, entries, hardState } = effect;
    if (snapshot !== undefined) {
      const value = encode({ charter: this.#charter, snapshot });
      writes.push({ kind: "put", table: "snapshots", key: group, value });
    }
    if (discardTo !== undefined) writes.push({ kind: "compact", group, throughIndex: discardTo });
    if (truncateFrom !== undefined) {
      const encoded = entries.map((entry) => encode(entry));
      writes.push({ kind: "append", group, firstIndex: truncateFrom, entries: encoded });
    }
    if (hardState !== undefined) {
      writes.push({ kind: "put", table: "hard-states", key: group, value: encode(hardState) });
    }
    return writes;
  }

  #carryOutConsensus(effect: Exclude<ConsensusEffect, { kind: "persist" }>): void {
    switch (effect.kind) {
      case "send":
        this.#ports.send(this.id, effect.messages);
        this.#noteSnapshots(effect.messages);
        return;
      case "apply":
        for (const entry of effect.entries) this.#apply(entry);
        this.#appliedIndex = effect.entries.at(-1)?.index ?? this.#appliedIndex;
        this.#trackProgress();
        this.#snapshotIfDue(effect.entries.length);
        return;
      case "restore":
        this.feed({ kind: "restored", state: stateOf(effect.snapshot) });
        this.#appliedIndex = effect.snapshot.index;
        this.#configChanged(effect.snapshot.conf);
        return;
      case "soft-state":
        this.#leader = effect.leader;
        this.#isLeading = effect.role === "leader";
        this.feed({
          kind: "role",
          role: this.#isLeading ? "steward" : "follower",
          ...(effect.leader === undefined ? {} : { steward: effect.leader }),
          term: effect.term,
        });
        if (!this.#isLeading) this.#caughtUp.clear();
        return;
      case "proposal-dropped":
        this.#dropped(effect.proposal, effect.reason);
        return;
      case "snapshot-wanted":
        this.#takeSnapshot();
        return;
      case "event":
        if (effect.event.kind === "conf-changed") this.#configChanged(effect.event.conf);
        else this.#ports.logger.debug(effect.event.kind, { group: this.id });
        return;
      default:
        return;
    }
  }

  /** A post tells nothing of its arrival: counting it as sent makes the leader ask the follower what it has. */
  #noteSnapshots(messages: readonly Message[]): void {
    for (const { kind, to } of messages) {
      if (kind === "snapshot") this.#consensusLane.feed({ kind: "snapshot-sent", peer: to, ok: true });
    }
  }

  #apply(entry: Entry): void {
    if (entry.kind !== "normal" || entry.data.byteLength === 0) return;
    const command: CohortCommand = decodeAs(cohortCommandSchema, entry.data);
    this.feed({ kind: "committed", index: entry.index, term: entry.term, command });
  }

  /**
   * The image is taken by the cohort's lane, after everything that was applied before this. It stands for changes
   * of members up to here too, which leave no mark in the state: a new learner waits for an image that knows it.
   */
  #takeSnapshot(): void {
    this.#appliedSinceSnapshot = 0;
    const index = this.#appliedIndex;
    this.#cohortLane.feedWith(() => {
      const { state } = this;
      if (state !== undefined) {
        const data = encode(encodeState(state));
        this.#consensusLane.feed({ kind: "snapshot-taken", index, data });
      }
      return undefined;
    });
  }

  #snapshotIfDue(applied: number): void {
    this.#appliedSinceSnapshot += applied;
    if (this.#appliedSinceSnapshot >= this.#options.log.entriesPerSnapshot) this.#takeSnapshot();
  }

  #configChanged(conf: ConfState): void {
    this.feed({
      kind: "config",
      voters: conf.voters,
      learners: [...conf.learners, ...conf.learnersNext],
      joint: conf.votersOutgoing.length > 0,
    });
    this.#trackProgress();
  }

  /** Tells the steward when a learner's log has come close enough to make it a voter, and when it fell behind. */
  #trackProgress(): void {
    if (!this.#isLeading) return;
    const { progress, conf, commit } = this.#consensus.status();
    for (const learner of conf.learners) {
      const match = progress.get(learner)?.match ?? 0;
      const caughtUp = match > 0 && commit - match <= caughtUpEntries;
      if (this.#caughtUp.get(learner) === caughtUp) continue;
      this.#caughtUp.set(learner, caughtUp);
      this.feed({ kind: "peer-progress", node: learner, caughtUp });
    }
  }

  /** The number of a proposal that consensus refused is inside what was proposed. */
  #dropped(
    proposal: Extract<ConsensusEffect, { kind: "proposal-dropped" }>["proposal"],
    reason: string,
  ): void {
    const command =
      proposal.kind === "propose"
        ? decodeAs(cohortCommandSchema, proposal.data).proposal
        : decodeAs(proposalSchema, proposal.change.context).proposal;
    this.feed({ kind: "dropped", proposal: command, reason });
  }

  #proposeConfChange({ change, proposal }: Extract<CohortEffect, { kind: "propose-conf-change" }>): void {
    const changes: MemberChange[] = [
      ...change.addLearners.map((member): MemberChange => ({ kind: "add-learner", member })),
      ...change.promote.map((member): MemberChange => ({ kind: "add-voter", member })),
      ...change.remove.map((member): MemberChange => ({ kind: "remove", member })),
    ];
    const confChange: ConfChange = { transition: "auto", changes, context: encode({ proposal }) };
    this.#consensusLane.feed({ kind: "propose-conf-change", change: confChange });
  }

  #cohortWork(effect: CohortEffect): Work {
    return { kind: "do", run: () => this.#carryOutCohort(effect) };
  }

  #carryOutCohort(effect: CohortEffect): void {
    switch (effect.kind) {
      case "propose":
        this.#consensusLane.feed({ kind: "propose", data: encode(effect.command) });
        return;
      case "propose-conf-change":
        this.#proposeConfChange(effect);
        return;
      case "reply":
        for (const resolve of this.#requests.get(effect.requestId) ?? []) resolve(effect.outcome);
        this.#requests.delete(effect.requestId);
        return;
      case "publish-charter":
        this.#charter = effect.charter;
        this.#ports.publishCharter(effect.charter);
        return;
      case "event":
        this.events.publish(effect.event);
        return;
      case "retire":
        this.#ports.retire(this);
        return;
      default:
        this.#ports.errand(this, effect);
    }
  }

  #fail(error: unknown): void {
    if (this.#quarantine !== undefined) return;
    this.#quarantine = error instanceof Error ? error.message : String(error);
    this.#consensusLane.close();
    this.#cohortLane.close();
    this.#failRequests(`the deployment's cohort is quarantined on this node: ${this.#quarantine}`);
    this.#ports.logger.error("group quarantined; its containers go on, and other members take over", {
      group: this.id,
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
  }

  #failRequests(message: string): void {
    for (const waiting of this.#requests.values()) {
      for (const resolve of waiting) resolve({ ok: false, error: { code: "no-steward", message } });
    }
    this.#requests.clear();
  }
}

/** Whether only a leader sends this. */
export function isFromLeader({ kind }: Message): boolean {
  return kind === "append" || kind === "snapshot" || kind === "heartbeat";
}

function stateOf(snapshot: Snapshot): CohortState {
  return decodeState(decodeAs(cohortStateSchema, snapshot.data));
}
