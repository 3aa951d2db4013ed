/**
 * Keeps what is held here equal at all its guardians. A record is settled when every live guardian has said that it
 * holds exactly this; until then the others are asked again and again, and nothing is let go (D3). Everything held is
 * also compared with a random neighbour now and then, because a peer may have lost what it once confirmed.
 */
import type { NodeId } from "../../model/ids.ts";
import type { Instant } from "../machine.ts";
import type { Rng } from "../rng.ts";
import { nearestIds } from "./guardians.ts";
import type { Outbox } from "./outbox.ts";
import type { Copy, Digest, DirectoryMessage, DirectoryOptions } from "./protocol.ts";
import { recordFault, recordHash, refText, type DirectoryRecord, type RecordRef } from "./record.ts";
import { Shelf, type Held } from "./shelf.ts";

/** The next full page for a peer leaves this soon after the last one was answered. */
const NEXT_PAGE_MS = 50;
/** Sorts after the text of every ref: kinds are lower-case words. */
const LAST_TEXT = "~";

type CompareMessage = Extract<DirectoryMessage, { readonly kind: "compare" }>;

export interface ReplicatorParts {
  readonly id: NodeId;
  readonly rng: Rng;
  readonly outbox: Outbox;
}

export class Replicator {
  readonly #parts: ReplicatorParts;
  readonly #options: DirectoryOptions;
  readonly #shelf: Shelf;
  /** Records that some guardian may lack, by ref text. */
  readonly #unsettled = new Map<string, RecordRef>();
  /** All live nodes in order, this one among them. */
  #live: readonly NodeId[];
  #retryAt: Instant = 0;
  #compareAt: Instant = 0;
  #compareAfter = "";
  #sequence: number;

  constructor(parts: ReplicatorParts, options: DirectoryOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#live = [parts.id];
    // An answer meant for an earlier life of this node must not count for this one.
    this.#sequence = parts.rng.int(0x8000_0000);
    this.#shelf = new Shelf(options.tombstoneMs, (key) => this.guardiansOf(key));
  }

  guardiansOf(key: string): readonly NodeId[] {
    return nearestIds(key, this.#live, this.#options.guardians);
  }

  get(ref: RecordRef): Held | undefined {
    return this.#shelf.get(ref);
  }

  all(): IterableIterator<Held> {
    return this.#shelf.all();
  }

  copyOf(held: Held, now: Instant): Copy {
    return this.#shelf.copyOf(held, now);
  }

  nextSequence(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  start(records: readonly DirectoryRecord[], now: Instant): void {
    for (const record of records) {
      const merged = this.#shelf.merge({ record, gone: [] }, now);
      if (merged !== undefined) this.#review(merged.held);
    }
    this.#scheduleCompare(now);
  }

  setLive(live: readonly NodeId[], now: Instant): void {
    this.#live = [...new Set([...live, this.#parts.id])].sort();
    const present = new Set(this.#live);
    for (const held of this.#shelf.all()) {
      held.guardians = this.guardiansOf(held.record.key);
      for (const id of held.confirmed) if (!present.has(id)) held.confirmed.delete(id);
      this.#review(held);
    }
    // Whoever is new is asked at once; it takes from the first that has what it lacks.
    this.#retryAt = now;
  }

  /** Puts off asking guardians that are about to answer anyway. */
  expectAnswersBy(at: Instant): void {
    this.#retryAt = Math.max(this.#retryAt, at);
  }

  /** Merges a copy; undefined when it holds nothing but tombstones past their time. */
  merge(copy: Copy, now: Instant): Held | undefined {
    const merged = this.#shelf.merge(copy, now);
    if (merged === undefined) return undefined;
    const { held, before } = merged;
    const { outbox } = this.#parts;
    if (merged.hasChanged) outbox.push({ kind: "persist", record: held.record });
    if (before?.kind === "charter" && copy.record.kind === "charter" && held.record.kind === "charter") {
      const winner = held.record.charter;
      const loser = winner.group === before.charter.group ? copy.record.charter : before.charter;
      if (loser.group !== winner.group) outbox.event({ kind: "charter-deposed", loser, winner });
    }
    if (merged.hasChanged) {
      outbox.event({ kind: "record-changed", record: held.record });
      this.#review(held);
    }
    return held;
  }

  /** Merges what a peer says it holds. */
  mergeFrom(from: NodeId, copy: Copy, now: Instant): Held | undefined {
    const fault = recordFault(copy.record);
    if (fault !== undefined) {
      this.#parts.outbox.event({ kind: "message-rejected", from, reason: fault });
      return undefined;
    }
    const held = this.merge(copy, now);
    if (held !== undefined) this.confirm(from, { ...refOf(copy.record), hash: recordHash(copy.record) });
    return held;
  }

  confirm(by: NodeId, digest: Digest): void {
    const held = this.#shelf.get(digest);
    if (held?.hash !== digest.hash) return;
    held.confirmed.add(by);
    this.#review(held);
  }

  answerCompare(from: NodeId, message: CompareMessage, now: Instant): void {
    const same: Digest[] = [];
    const wanted: RecordRef[] = [];
    const copies: Copy[] = [];
    const named = new Set<string>();
    for (const digest of message.digests) {
      named.add(refText(digest));
      const held = this.#shelf.get(digest);
      if (held?.hash === digest.hash) {
        this.confirm(from, digest);
        same.push(digest);
        continue;
      }
      wanted.push(refOf(digest));
      if (held !== undefined) copies.push(this.copyOf(held, now));
    }
    if (message.range !== undefined) {
      const { after, through } = message.range;
      for (const held of this.#shelf.all()) {
        const text = refText(held.record);
        if (copies.length >= this.#options.batch) break;
        if (text <= after || text > through || named.has(text) || !held.guardians.includes(from)) continue;
        copies.push(this.copyOf(held, now));
      }
    }
    this.#parts.outbox.send(from, { kind: "compared", same, wanted, copies });
  }

  onCompared(
    from: NodeId,
    message: Extract<DirectoryMessage, { readonly kind: "compared" }>,
    now: Instant,
  ): void {
    for (const digest of message.same) this.confirm(from, digest);
    for (const copy of message.copies) this.mergeFrom(from, copy, now);
    const copies: Copy[] = [];
    for (const ref of message.wanted.slice(0, this.#options.batch)) {
      const held = this.#shelf.get(ref);
      if (held !== undefined) copies.push(this.copyOf(held, now));
    }
    if (copies.length > 0)
      this.#parts.outbox.send(from, { kind: "store", sequence: this.nextSequence(), copies });
    const isFullPage = message.same.length + message.wanted.length >= this.#options.batch;
    if (isFullPage) this.#retryAt = Math.min(this.#retryAt, now + NEXT_PAGE_MS);
  }

  deadline(): Instant | undefined {
    if (this.#live.length === 1) return this.#shelf.hasTombstones ? this.#compareAt : undefined;
    return this.#unsettled.size > 0 ? Math.min(this.#compareAt, this.#retryAt) : this.#compareAt;
  }

  tick(now: Instant): void {
    if (this.#unsettled.size > 0 && now >= this.#retryAt) this.#askLacking(now);
    if (now < this.#compareAt) return;
    this.#scheduleCompare(now);
    this.#sweep(now);
    this.#compareWithNeighbour();
  }

  /** Decides whether a record is settled, and lets go of a settled one that this node need not hold. */
  #review(held: Held): void {
    const ref = refOf(held.record);
    if (held.guardians.some((id) => id !== this.#parts.id && !held.confirmed.has(id))) {
      this.#unsettled.set(refText(ref), ref);
      return;
    }
    this.#unsettled.delete(refText(ref));
    if (!held.guardians.includes(this.#parts.id)) this.#drop(ref, "handed-over");
  }

  #askLacking(now: Instant): void {
    this.#retryAt = now + this.#options.retryMs * (0.75 + this.#parts.rng.next() / 2);
    const pages = new Map<NodeId, Digest[]>();
    for (const ref of this.#unsettled.values()) {
      const held = this.#shelf.get(ref);
      if (held === undefined) continue;
      for (const id of held.guardians) {
        if (id === this.#parts.id || held.confirmed.has(id)) continue;
        const page = pages.get(id) ?? [];
        pages.set(id, page);
        if (page.length < this.#options.batch) page.push(digestOf(held));
      }
    }
    for (const [id, digests] of pages)
      this.#parts.outbox.send(id, { kind: "compare", digests, range: undefined });
  }

  /** One page of what a random neighbour should hold too; the next page is next time's. */
  #compareWithNeighbour(): void {
    const { id, rng, outbox } = this.#parts;
    const others = nearestIds(id, this.#live, this.#options.guardians * 2).filter((other) => other !== id);
    const peer = others[rng.int(Math.max(1, others.length))];
    if (peer === undefined) return;
    const after = this.#compareAfter;
    const rest = Array.from(this.#shelf.all())
      .filter(({ record, guardians }) => guardians.includes(peer) && refText(record) > after)
      .sort((a, b) => (refText(a.record) < refText(b.record) ? -1 : 1));
    const page = rest.slice(0, this.#options.batch);
    const last = page.at(-1);
    const isLastPage = last === undefined || page.length === rest.length;
    const through = isLastPage ? LAST_TEXT : refText(last.record);
    this.#compareAfter = isLastPage ? "" : through;
    outbox.send(peer, { kind: "compare", digests: page.map(digestOf), range: { after, through } });
  }

  #sweep(now: Instant): void {
    const { gone, changed } = this.#shelf.sweep(now);
    for (const { record } of gone) this.#drop(refOf(record), "expired");
    for (const held of changed) {
      this.#parts.outbox.push({ kind: "persist", record: held.record });
      this.#review(held);
    }
  }

  #drop(ref: RecordRef, reason: "handed-over" | "expired"): void {
    this.#shelf.remove(ref);
    this.#unsettled.delete(refText(ref));
    this.#parts.outbox.push({ kind: "unpersist", ref });
    this.#parts.outbox.event({ kind: "record-dropped", ref, reason });
  }

  #scheduleCompare(now: Instant): void {
    this.#compareAt = now + this.#options.compareIntervalMs * (0.75 + this.#parts.rng.next() / 2);
  }
}

function refOf({ kind, key }: RecordRef): RecordRef {
  return { kind, key };
}

export function digestOf(held: Held): Digest {
  return { ...refOf(held.record), hash: held.hash };
}
