/** The records held by one node, the age of their tombstones, and who else is known to hold them. */
import type { NodeId } from "../../model/ids.ts";
import type { Instant } from "../machine.ts";
import type { Copy } from "./protocol.ts";
import {
  mergeRecords,
  recordHash,
  refText,
  tombstones,
  tombstoneText,
  withoutTombstones,
  type DirectoryRecord,
  type RecordRef,
} from "./record.ts";

export interface Held {
  record: DirectoryRecord;
  hash: string;
  /** By name: since when each tombstone has existed anywhere, as far as known. */
  goneSince: ReadonlyMap<string, Instant>;
  guardians: readonly NodeId[];
  /** Nodes that have said that they hold exactly this. */
  readonly confirmed: Set<NodeId>;
}

/** What a merge did. `before` is undefined when the record was unknown. */
export interface Merged {
  readonly held: Held;
  readonly hasChanged: boolean;
  readonly before: DirectoryRecord | undefined;
}

export class Shelf {
  readonly #tombstoneMs: number;
  readonly #guardiansOf: (key: string) => readonly NodeId[];
  readonly #held = new Map<string, Held>();
  readonly #withTombstones = new Set<string>();

  constructor(tombstoneMs: number, guardiansOf: (key: string) => readonly NodeId[]) {
    this.#tombstoneMs = tombstoneMs;
    this.#guardiansOf = guardiansOf;
  }

  get hasTombstones(): boolean {
    return this.#withTombstones.size > 0;
  }

  get(ref: RecordRef): Held | undefined {
    return this.#held.get(refText(ref));
  }

  all(): IterableIterator<Held> {
    return this.#held.values();
  }

  remove(ref: RecordRef): void {
    this.#held.delete(refText(ref));
    this.#withTombstones.delete(refText(ref));
  }

  /** Takes a copy in. Undefined when nothing is held and all it could add are tombstones past their time. */
  merge(copy: Copy, now: Instant): Merged | undefined {
    const text = refText(copy.record);
    const known = this.#held.get(text);
    const incoming = this.#withoutExpired(copy, known);
    if (known === undefined) {
      if (incoming === undefined) return undefined;
      const fresh: Held = {
        record: incoming,
        hash: recordHash(incoming),
        goneSince: goneSince(incoming, [], copy, now),
        guardians: this.#guardiansOf(incoming.key),
        confirmed: new Set(),
      };
      this.#held.set(text, fresh);
      this.#note(fresh);
      return { held: fresh, hasChanged: true, before: undefined };
    }
    const before = known.record;
    const merged = incoming === undefined ? before : mergeRecords(before, incoming);
    const hash = recordHash(merged);
    known.goneSince = goneSince(merged, [known], copy, now);
    if (hash === known.hash) return { held: known, hasChanged: false, before };
    known.record = merged;
    known.hash = hash;
    known.confirmed.clear();
    this.#note(known);
    return { held: known, hasChanged: true, before };
  }

  copyOf(held: Held, now: Instant): Copy {
    const gone = Array.from(held.goneSince, ([name, since]) => ({ name, forMs: Math.max(0, now - since) }));
    return { record: held.record, gone };
  }

  /** Drops tombstones past their time; `gone` are the records of which nothing is left, `changed` the others. */
  sweep(now: Instant): { readonly gone: readonly Held[]; readonly changed: readonly Held[] } {
    const gone: Held[] = [];
    const changed: Held[] = [];
    for (const text of this.#withTombstones) {
      const held = this.#held.get(text);
      if (held === undefined) continue;
      const expired = new Set<string>();
      for (const [name, since] of held.goneSince) if (since + this.#tombstoneMs <= now) expired.add(name);
      if (expired.size === 0) continue;
      const rest = withoutTombstones(held.record, expired);
      if (rest === undefined) {
        this.remove(held.record);
        gone.push(held);
        continue;
      }
      held.record = rest;
      held.hash = recordHash(rest);
      held.goneSince = new Map([...held.goneSince].filter(([name]) => !expired.has(name)));
      held.confirmed.clear();
      this.#note(held);
      changed.push(held);
    }
    return { gone, changed };
  }

  /** A tombstone past its time still deletes what is held here, and is dropped by the next sweep; it adds nothing. */
  #withoutExpired(copy: Copy, known: Held | undefined): DirectoryRecord | undefined {
    const expired = new Set<string>();
    for (const { name, forMs } of copy.gone) {
      if (forMs >= this.#tombstoneMs && (known === undefined || !hasName(known.record, name)))
        expired.add(name);
    }
    return withoutTombstones(copy.record, expired);
  }

  #note(held: Held): void {
    const text = refText(held.record);
    if (tombstones(held.record).length > 0) this.#withTombstones.add(text);
    else this.#withTombstones.delete(text);
  }
}

function hasName(record: DirectoryRecord, name: string): boolean {
  return record.kind === "charter" || record.entries.some((entry) => entry.name === name);
}

/** The earliest that either copy knows for the very same tombstone. */
function goneSince(
  merged: DirectoryRecord,
  known: readonly Held[],
  copy: Copy,
  now: Instant,
): ReadonlyMap<string, Instant> {
  const names = tombstones(merged);
  if (names.length === 0) return new Map();
  const heard = new Map(copy.gone.map(({ name, forMs }) => [name, now - forMs]));
  return new Map(
    names.map((name) => {
      const text = tombstoneText(merged, name);
      const since = known
        .filter(({ record }) => tombstoneText(record, name) === text)
        .map((held) => held.goneSince.get(name) ?? now);
      if (tombstoneText(copy.record, name) === text) since.push(heard.get(name) ?? now);
      return [name, Math.min(now, ...since)];
    }),
  );
}
