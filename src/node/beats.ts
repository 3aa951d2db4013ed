/**
 * Heartbeats of all groups, and the answers to them, in one message per peer. A node shares most of its peers
 * with many groups: what an idle node sends depends on how many peers it has, not on how many groups.
 *
 * All groups tick at the same instants, and a heartbeat waits until those are over (`afterTickMs`). One that was made
 * later waits for the next: it is late by at most `gridMs`, which is small beside the shortest election timeout. Answers go as soon as the turn that made them is over.
 * Only the newest beat of a group counts; a later one says all that an earlier one did.
 */
import { defaultConsensusOptions } from "../core/consensus/consensus-machine.ts";
import type { Message } from "../core/consensus/message.ts";
import type { GroupId, NodeId } from "../model/ids.ts";
import type { Clock } from "../ports/clock.ts";
import { beatsSchema } from "../wire/consensus.ts";
import { decodeAs } from "../wire/codec.ts";
import type { Peers } from "./peers.ts";

export const beatsChannel = "beats";

/** The groups' tick. */
const gridMs = defaultConsensusOptions.tickMs;
const afterTickMs = 5;
/** Of each kind in one message: some tens of kilobytes. */
const beatsPerMessageMax = 512;

type Beat = Extract<Message, { readonly kind: "heartbeat" | "heartbeat-response" }>;

interface Held {
  readonly beats: Map<GroupId, Extract<Beat, { readonly kind: "heartbeat" }>>;
  readonly answers: Map<GroupId, Extract<Beat, { readonly kind: "heartbeat-response" }>>;
}

export interface BeatsPorts {
  readonly peers: Peers;
  readonly clock: Clock;
  readonly deliver: (from: NodeId, group: GroupId, message: Message) => void;
}

export class Beats {
  readonly #ports: BeatsPorts;
  readonly #held = new Map<NodeId, Held>();
  #beatTimer: (() => void) | undefined;
  #answerTimer: (() => void) | undefined;

  constructor(ports: BeatsPorts) {
    this.#ports = ports;
  }

  /** Takes the message when it is one of those that can wait. */
  take(group: GroupId, message: Message): boolean {
    const { clock } = this.#ports;
    if (message.kind === "heartbeat") {
      this.#heldFor(message.to).beats.set(group, message);
      const next = (Math.floor((clock.now() - afterTickMs) / gridMs) + 1) * gridMs + afterTickMs;
      this.#beatTimer ??= clock.at(next, () => {
        this.#beatTimer = undefined;
        this.#flush();
      });
      return true;
    }
    if (message.kind !== "heartbeat-response") return false;
    this.#heldFor(message.to).answers.set(group, message);
    this.#answerTimer ??= clock.at(clock.now(), () => {
      this.#answerTimer = undefined;
      this.#flushAnswers();
    });
    return true;
  }

  receive(from: NodeId, payload: Uint8Array): void {
    const { peers, deliver } = this.#ports;
    const { beats, answers } = decodeAs(beatsSchema, payload);
    const envelope = { from, to: peers.self };
    for (const [group, term, commit, readSequence] of beats)
      deliver(from, group, { kind: "heartbeat", ...envelope, term, commit, readSequence });
    for (const [group, term, readSequence] of answers)
      deliver(from, group, { kind: "heartbeat-response", ...envelope, term, readSequence });
  }

  close(): void {
    this.#beatTimer?.();
    this.#answerTimer?.();
    this.#held.clear();
  }

  /** Answers that wait ride along. */
  #flush(): void {
    for (const [to, { beats, answers }] of this.#held) this.#post(to, [...beats], [...answers]);
    this.#held.clear();
  }

  #flushAnswers(): void {
    for (const [to, { answers }] of this.#held) {
      this.#post(to, [], [...answers]);
      answers.clear();
    }
  }

  #post(
    to: NodeId,
    beats: readonly (readonly [GroupId, Extract<Beat, { readonly kind: "heartbeat" }>])[],
    answers: readonly (readonly [GroupId, Extract<Beat, { readonly kind: "heartbeat-response" }>])[],
  ): void {
    const count = Math.max(beats.length, answers.length);
    for (let from = 0; from < count; from += beatsPerMessageMax)
      this.#ports.peers.post(to, beatsChannel, {
        beats: beats
          .slice(from, from + beatsPerMessageMax)
          .map(([group, { term, commit, readSequence }]) => [group, term, commit, readSequence]),
        answers: answers
          .slice(from, from + beatsPerMessageMax)
          .map(([group, { term, readSequence }]) => [group, term, readSequence]),
      });
  }

  #heldFor(peer: NodeId): Held {
    const held = this.#held.get(peer) ?? { beats: new Map(), answers: new Map() };
    this.#held.set(peer, held);
    return held;
  }
}
