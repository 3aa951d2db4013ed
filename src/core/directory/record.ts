/**
 * What guardians keep, and how two copies of it become one. Merging is commutative, associative and
 * idempotent, so copies may meet in any order and any number of times and end up equal (D1).
 */
import { compareCharters, type Charter } from "../../model/charter.ts";
import { idPattern, type DeploymentId } from "../../model/ids.ts";

/** One name in a namespace's index. */
export interface IndexEntry {
  readonly name: string;
  readonly id: DeploymentId;
  /** Those of the charter that the entry speaks of. */
  readonly epoch: number;
  readonly version: number;
  /** Orders the foundings of one epoch; the lower one wins. */
  readonly lineage: string;
  /** False once the deployment is deleted: a tombstone. */
  readonly isPresent: boolean;
}

export type DirectoryRecord =
  /** `key` is the deployment's id. */
  | { readonly kind: "charter"; readonly key: string; readonly charter: Charter }
  /** The names of one namespace, in order; `key` is a digest of the namespace. */
  | { readonly kind: "index"; readonly key: string; readonly entries: readonly IndexEntry[] };

/** Names a record. */
export interface RecordRef {
  readonly kind: DirectoryRecord["kind"];
  /** 32 lower-case hex digits; the nodes with the nearest ids are its guardians. */
  readonly key: string;
}

/** Most names in one index; a record with more is refused. */
export const indexEntriesMax = 10_000;

/** The form in which stores and maps know a record. */
export function refText(ref: RecordRef): string {
  return `${ref.kind}:${ref.key}`;
}

/** What is wrong with a record from outside, or undefined when nothing is. */
export function recordFault(record: DirectoryRecord): string | undefined {
  if (!idPattern.test(record.key)) return "the key is not 32 hex digits";
  if (record.kind === "charter") {
    return record.charter.deployment === record.key ? undefined : "the charter is of another deployment";
  }
  if (record.entries.length === 0) return "an index has at least one name";
  if (record.entries.length > indexEntriesMax) return `an index has at most ${indexEntriesMax} names`;
  const names = new Set(record.entries.map(({ name }) => name));
  return names.size === record.entries.length ? undefined : "a name appears twice";
}

/** The newer of two charters, or of two index entries name by name. Both records have the same ref. */
export function mergeRecords(a: DirectoryRecord, b: DirectoryRecord): DirectoryRecord {
  if (a.kind === "charter" && b.kind === "charter") {
    const order =
      compareCharters(a.charter, b.charter) || compareText(charterText(a.charter), charterText(b.charter));
    return order >= 0 ? a : b;
  }
  if (a.kind === "index" && b.kind === "index") {
    const merged = new Map(a.entries.map((entry) => [entry.name, entry]));
    for (const entry of b.entries) {
      const known = merged.get(entry.name);
      merged.set(entry.name, known === undefined || compareEntries(known, entry) < 0 ? entry : known);
    }
    const entries = [...merged.values()].sort((left, right) => compareText(left.name, right.name));
    return { kind: "index", key: a.key, entries };
  }
  return a;
}

/** Names of the tombstones in a record; a deleted charter's is the empty name. */
export function tombstones(record: DirectoryRecord): string[] {
  if (record.kind === "charter") return record.charter.deleted ? [""] : [];
  return record.entries.filter(({ isPresent }) => !isPresent).map(({ name }) => name);
}

/** The record without those tombstones; undefined when nothing is left. */
export function withoutTombstones(
  record: DirectoryRecord,
  names: ReadonlySet<string>,
): DirectoryRecord | undefined {
  if (record.kind === "charter") return names.has("") && record.charter.deleted ? undefined : record;
  const entries = record.entries.filter(({ name, isPresent }) => isPresent || !names.has(name));
  return entries.length === 0 ? undefined : { ...record, entries };
}

/** Equal for equal content and, in practice, different otherwise. Tells honest copies apart; proves nothing. */
export function recordHash(record: DirectoryRecord): string {
  const text =
    record.kind === "charter" ? charterText(record.charter) : record.entries.map(entryText).join("\n");
  return fnv1a(text, 0x811c9dc5) + fnv1a(text, 0x050c5d1f);
}

/** The one spelling of a tombstone, to see whether two copies hold the same one. */
export function tombstoneText(record: DirectoryRecord, name: string): string | undefined {
  if (record.kind === "charter") return record.charter.deleted ? charterText(record.charter) : undefined;
  const entry = record.entries.find((candidate) => candidate.name === name);
  return entry === undefined || entry.isPresent ? undefined : entryText(entry);
}

/** As charters: by epoch, lineage, version; at a draw the tombstone wins, then the lower id. */
function compareEntries(a: IndexEntry, b: IndexEntry): number {
  if (a.epoch !== b.epoch) return a.epoch - b.epoch;
  if (a.lineage !== b.lineage) return compareText(b.lineage, a.lineage);
  if (a.version !== b.version) return a.version - b.version;
  if (a.isPresent !== b.isPresent) return a.isPresent ? -1 : 1;
  return compareText(b.id, a.id);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Independent of the order in which a decoder filled in the fields. */
function charterText(charter: Charter): string {
  return JSON.stringify(Object.entries(charter).sort(([a], [b]) => compareText(a, b)));
}

function entryText({ name, id, epoch, version, lineage, isPresent }: IndexEntry): string {
  return JSON.stringify([name, id, epoch, version, lineage, isPresent]);
}

function fnv1a(text: string, basis: number): string {
  let hash = basis;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, "0");
}
