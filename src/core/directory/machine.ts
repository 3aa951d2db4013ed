/**
 * The directory: small records, each kept by the live nodes whose ids are nearest to its key. There is no quorum
 * anywhere: writes merge, so guardians may take them in any order. This file takes puts and gets and talks to the
 * guardians; replicator.ts keeps the copies equal. docs/protocols/directory.md has the invariants and limits.
 */
import { assert, unreachable } from "../../model/assert.ts";
import type { NodeId } from "../../model/ids.ts";
import type { Instant, Machine } from "../machine.ts";
import type { Rng } from "../rng.ts";
import { Outbox } from "./outbox.ts";
import type {
  Copy,
  Digest,
  DirectoryEffect,
  DirectoryInput,
  DirectoryMessage,
  DirectoryOptions,
} from "./protocol.ts";
import {
  mergeRecords,
  recordFault,
  recordHash,
  refText,
  type DirectoryRecord,
  type RecordRef,
} from "./record.ts";
import { digestOf, Replicator } from "./replicator.ts";

interface Put {
  readonly requestId: number;
  /** What was put, and what it became on the way. */
  record: DirectoryRecord;
  readonly waitingFor: Set<NodeId>;
  readonly ackedBy: Set<NodeId>;
  readonly endsAt: Instant;
}

interface Get {
  readonly requestId: number;
  readonly ref: RecordRef;
  readonly waitingFor: Set<NodeId>;
  /** What each guardian answered. */
  readonly answers: Map<NodeId, Copy | undefined>;
  readonly endsAt: Instant;
}

type MessageOf<Kind extends DirectoryMessage["kind"]> = Extract<DirectoryMessage, { readonly kind: Kind }>;

export class DirectoryMachine implements Machine<DirectoryInput, DirectoryEffect> {
  readonly #id: NodeId;
  readonly #options: DirectoryOptions;
  readonly #outbox = new Outbox();
  readonly #replicator: Replicator;
  readonly #puts = new Map<number, Put>();
  readonly #gets = new Map<number, Get>();
  #isStarted = false;

  constructor(local: { readonly id: NodeId; readonly rng: Rng }, options: DirectoryOptions) {
    this.#id = local.id;
    this.#options = options;
    this.#replicator = new Replicator({ ...local, outbox: this.#outbox }, options);
  }

  /** The live nodes that hold `key`, the nearest first. */
  guardiansOf(key: string): readonly NodeId[] {
    return this.#replicator.guardiansOf(key);
  }

  /** What is held here, which may be older than what others hold. */
  held(ref: RecordRef): DirectoryRecord | undefined {
    return this.#replicator.get(ref)?.record;
  }

  /** Everything held here. */
  records(): DirectoryRecord[] {
    return Array.from(this.#replicator.all(), ({ record }) => record);
  }

  step(input: DirectoryInput, now: Instant): readonly DirectoryEffect[] {
    this.#take(input, now);
    if (this.#isStarted) this.#tick(now);
    return this.#outbox.take();
  }

  deadline(): Instant | undefined {
    if (!this.#isStarted) return undefined;
    let earliest = this.#replicator.deadline() ?? Infinity;
    for (const { endsAt } of this.#puts.values()) earliest = Math.min(earliest, endsAt);
    for (const { endsAt } of this.#gets.values()) earliest = Math.min(earliest, endsAt);
    return earliest === Infinity ? undefined : earliest;
  }

  #take(input: DirectoryInput, now: Instant): void {
    switch (input.kind) {
      case "timeout":
        return;
      case "start":
        assert(!this.#isStarted, "a directory starts once");
        this.#isStarted = true;
        return this.#replicator.start(input.records, now);
      case "members-changed": {
        this.#replicator.setLive(input.live, now);
        const present = new Set(input.live);
        for (const { waitingFor } of [...this.#puts.values(), ...this.#gets.values()]) {
          for (const id of waitingFor) if (!present.has(id)) waitingFor.delete(id);
        }
        return;
      }
      case "put":
        return this.#put(input.requestId, input.record, now);
      case "get":
        return this.#get(input.requestId, input.ref, now);
      case "message":
        return this.#takeMessage(input.from, input.message, now);
      default:
        return unreachable(input);
    }
  }

  #put(requestId: number, record: DirectoryRecord, now: Instant): void {
    const fault = recordFault(record);
    if (fault !== undefined) {
      this.#outbox.push({ kind: "put-refused", requestId, reason: fault });
      return;
    }
    const held = this.#replicator.merge({ record, gone: [] }, now);
    assert(held !== undefined, "a fresh record has no tombstone past its time");
    const sequence = this.#replicator.nextSequence();
    const waitingFor = this.#otherGuardians(record.key);
    const endsAt = now + this.#options.putTimeoutMs;
    this.#puts.set(sequence, { requestId, record: held.record, waitingFor, ackedBy: new Set(), endsAt });
    const copies = [this.#replicator.copyOf(held, now)];
    for (const to of waitingFor) this.#outbox.send(to, { kind: "store", sequence, copies });
    this.#replicator.expectAnswersBy(endsAt);
  }

  #get(requestId: number, ref: RecordRef, now: Instant): void {
    const sequence = this.#replicator.nextSequence();
    const waitingFor = this.#otherGuardians(ref.key);
    const endsAt = now + this.#options.getTimeoutMs;
    this.#gets.set(sequence, { requestId, ref, waitingFor, answers: new Map(), endsAt });
    for (const to of waitingFor) this.#outbox.send(to, { kind: "fetch", sequence, ref });
  }

  #takeMessage(from: NodeId, message: DirectoryMessage, now: Instant): void {
    switch (message.kind) {
      case "store":
        return this.#store(from, message, now);
      case "stored":
        return this.#stored(from, message, now);
      case "fetch": {
        const held = this.#replicator.get(message.ref);
        const copy = held === undefined ? undefined : this.#replicator.copyOf(held, now);
        return this.#outbox.send(from, { kind: "found", sequence: message.sequence, copy });
      }
      case "found":
        return this.#found(from, message);
      case "compare":
        return this.#replicator.answerCompare(from, message, now);
      case "compared":
        return this.#replicator.onCompared(from, message, now);
      default:
        return unreachable(message);
    }
  }

  #store(from: NodeId, message: MessageOf<"store">, now: Instant): void {
    const digests: Digest[] = [];
    const newer: Copy[] = [];
    for (const copy of message.copies) {
      const held = this.#replicator.mergeFrom(from, copy, now);
      if (held === undefined) continue;
      digests.push(digestOf(held));
      if (!held.confirmed.has(from)) newer.push(this.#replicator.copyOf(held, now));
    }
    this.#outbox.send(from, { kind: "stored", sequence: message.sequence, digests, newer });
  }

  #stored(from: NodeId, message: MessageOf<"stored">, now: Instant): void {
    const put = this.#puts.get(message.sequence);
    for (const copy of message.newer) {
      const held = this.#replicator.mergeFrom(from, copy, now);
      if (put !== undefined && held !== undefined && refText(held.record) === refText(put.record)) {
        put.record = held.record;
      }
    }
    for (const digest of message.digests) this.#replicator.confirm(from, digest);
    if (put?.waitingFor.delete(from) === true) put.ackedBy.add(from);
  }

  #found(from: NodeId, message: MessageOf<"found">): void {
    const get = this.#gets.get(message.sequence);
    if (get === undefined || !get.waitingFor.delete(from)) return;
    const { copy } = message;
    const isOther = copy !== undefined && refText(copy.record) !== refText(get.ref);
    const fault =
      copy === undefined ? undefined : isOther ? "it is not what was asked for" : recordFault(copy.record);
    if (fault === undefined) get.answers.set(from, copy);
    else this.#outbox.event({ kind: "message-rejected", from, reason: fault });
  }

  #tick(now: Instant): void {
    for (const [sequence, put] of this.#puts) {
      if (put.waitingFor.size > 0 && now < put.endsAt) continue;
      this.#puts.delete(sequence);
      const { requestId, ackedBy } = put;
      // What came from elsewhere meanwhile counts too: it may have won over what was put.
      const record = this.#replicator.get(put.record)?.record ?? put.record;
      this.#outbox.push({ kind: "put-done", requestId, acks: ackedBy.size + 1, record });
    }
    for (const [sequence, get] of this.#gets) {
      if (get.waitingFor.size > 0 && now < get.endsAt) continue;
      this.#gets.delete(sequence);
      this.#finishGet(get, now);
    }
    this.#replicator.tick(now);
  }

  #finishGet(get: Get, now: Instant): void {
    const copies = [...get.answers.values()].filter((copy) => copy !== undefined);
    const held = this.#replicator.get(get.ref);
    if (held !== undefined) copies.push(this.#replicator.copyOf(held, now));
    let newest: DirectoryRecord | undefined;
    for (const { record } of copies) newest = newest === undefined ? record : mergeRecords(newest, record);
    if (newest !== undefined) {
      // A copy lends its age to the tombstones that are still its own after merging.
      if (this.guardiansOf(get.ref.key).includes(this.#id)) {
        for (const copy of copies) this.#replicator.merge(copy, now);
      }
      this.#repair(get, newest, copies);
    }
    this.#outbox.push({ kind: "reply", requestId: get.requestId, record: newest });
  }

  /** Sends everything found to the guardians that answered with less than the newest. */
  #repair(get: Get, newest: DirectoryRecord, copies: readonly Copy[]): void {
    const hash = recordHash(newest);
    for (const [id, copy] of get.answers) {
      if (copy !== undefined && recordHash(copy.record) === hash) continue;
      this.#outbox.send(id, { kind: "store", sequence: this.#replicator.nextSequence(), copies });
    }
  }

  #otherGuardians(key: string): Set<NodeId> {
    return new Set(this.guardiansOf(key).filter((id) => id !== this.#id));
  }
}
