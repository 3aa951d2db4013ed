/**
 * A YAML or JSON text as plain values that remember where each of them stands in the text.
 *
 * Every scalar stays the text the user wrote (`1.10` is not 1.1, `no` is not false); what it has to be
 * is for the schema to say. Only an empty or `null` plain scalar becomes null. What would be
 * understood in two ways is refused: duplicate keys, keys that are no text, merge keys, custom tags.
 */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  type Alias,
  type Document,
  type Node,
  type Pair,
} from "yaml";
import type { Place } from "../../model/problem.ts";
import { formatPath, reservedKeys, type PathKey } from "./field-path.ts";

export type Fault = Place & { readonly message: string };

export interface SourceDocument {
  readonly value: unknown;
  /** Where the value (or the key) at `path` stands, or else its nearest parent that exists. */
  place(path: readonly PathKey[], what: "key" | "value"): Place;
}

/** Longest text that is read, in UTF-16 units. */
export const sourceLengthMax = 1024 * 1024;
/** Most values of one text after aliases are filled in: an alias bomb ends here. */
const valuesMax = 50_000;
const depthMax = 32;
const faultsMax = 100;

/** All documents of a text that hold something, or all faults of its syntax. */
export function readSource(
  text: string,
  file: string | undefined,
): { readonly documents: readonly SourceDocument[]; readonly faults: readonly Fault[] } {
  const lines = new LineCounter();
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    // An empty text has no line for the counter to find.
    return { ...(file === undefined ? {} : { file }), line: Math.max(1, line), column: Math.max(1, col) };
  };
  if (text.length > sourceLengthMax)
    return { documents: [], faults: [{ ...placeAt(0), message: "the file is larger than 1 MiB" }] };
  let parsed: readonly Document[];
  try {
    parsed = [
      ...parseAllDocuments(text, {
        schema: "failsafe",
        lineCounter: lines,
        prettyErrors: false,
        logLevel: "silent",
      }),
    ];
  } catch (error) {
    // The parser recurses: nesting thousands deep exhausts its stack.
    if (!(error instanceof RangeError)) throw error;
    return { documents: [], faults: [{ ...placeAt(0), message: "the file is nested too deeply" }] };
  }
  const faults: Fault[] = [];
  const documents: SourceDocument[] = [];
  const budget = { values: valuesMax };
  for (const document of parsed) {
    const broken = [...document.errors, ...document.warnings];
    for (const error of broken.slice(0, faultsMax))
      faults.push({ ...placeAt(error.pos[0]), message: syntaxMessage(error.code, error.message) });
    if (broken.length > 0) continue;
    const reader = new DocumentReader(document, placeAt, budget);
    if (document.contents === null || isEmpty(document.contents)) continue;
    const value = reader.read(document.contents, [], 0);
    faults.push(...reader.faults);
    documents.push({ value, place: (path, what) => reader.place(path, what) });
  }
  return { documents, faults: faults.slice(0, faultsMax) };
}

function isEmpty(node: Node): boolean {
  return isScalar(node) && node.type === "PLAIN" && node.source === "";
}

function syntaxMessage(code: string, message: string): string {
  switch (code) {
    case "DUPLICATE_KEY":
      return "this key stands here a second time";
    case "TAG_RESOLVE_FAILED":
      return "tags are not supported";
    case "TAB_AS_INDENT":
      return "a tab cannot indent; use spaces";
    default:
      return message.split("\n", 1)[0] ?? message;
  }
}

class DocumentReader {
  readonly faults: Fault[] = [];
  readonly #document: Document;
  readonly #placeAt: (offset: number) => Place;
  readonly #budget: { values: number };
  readonly #values = new Map<string, number>();
  readonly #keys = new Map<string, number>();

  constructor(document: Document, placeAt: (offset: number) => Place, budget: { values: number }) {
    this.#document = document;
    this.#placeAt = placeAt;
    this.#budget = budget;
  }

  place(path: readonly PathKey[], what: "key" | "value"): Place {
    const text = formatPath(path);
    const named = text === "" ? {} : { path: text };
    if (what === "key") {
      const offset = this.#keys.get(JSON.stringify(path));
      if (offset !== undefined) return { ...this.#placeAt(offset), ...named };
    }
    for (let length = path.length; length >= 0; length -= 1) {
      const offset = this.#values.get(JSON.stringify(path.slice(0, length)));
      if (offset !== undefined) return { ...this.#placeAt(offset), ...named };
    }
    return { ...this.#placeAt(0), ...named };
  }

  read(node: unknown, path: readonly PathKey[], depth: number): unknown {
    const target = isAlias(node) ? this.#resolve(node, path) : node;
    const offset = offsetOf(node) ?? offsetOf(target);
    if (offset !== undefined) this.#values.set(JSON.stringify(path), offset);
    this.#budget.values -= 1;
    if (this.#budget.values === 0)
      this.#fault(path, "value", "the file holds too many values, aliases filled in");
    if (this.#budget.values <= 0) return null;
    if (depth > depthMax) {
      this.#fault(path, "value", `nested more than ${depthMax} deep`);
      return null;
    }
    if (isSeq(target)) return target.items.map((item, index) => this.read(item, [...path, index], depth + 1));
    if (isMap(target)) {
      const entries: [string, unknown][] = [];
      for (const pair of target.items) {
        const entry = this.#readPair(pair, path, depth);
        if (entry !== undefined) entries.push(entry);
      }
      return Object.fromEntries(entries);
    }
    if (!isScalar(target)) return null;
    const source = target.source ?? String(target.value);
    if (target.type === "PLAIN" && /^(|~|null|Null|NULL)$/.test(source)) return null;
    return String(target.value);
  }

  #readPair(pair: Pair, path: readonly PathKey[], depth: number): [string, unknown] | undefined {
    const key = isScalar(pair.key) ? String(pair.key.value) : undefined;
    const keyPath = [...path, key ?? "?"];
    const offset = offsetOf(pair.key);
    if (offset !== undefined) this.#keys.set(JSON.stringify(keyPath), offset);
    if (key === undefined) {
      this.#fault(keyPath, "key", "a key must be text");
      return undefined;
    }
    if (reservedKeys.has(key)) {
      this.#fault(keyPath, "key", `${key} cannot be used as a name`);
      return undefined;
    }
    if (key === "<<") {
      this.#fault(keyPath, "key", "merge keys are not supported; write the fields out");
      return undefined;
    }
    if (pair.value === null && offset !== undefined) this.#values.set(JSON.stringify(keyPath), offset);
    return [key, this.read(pair.value, keyPath, depth + 1)];
  }

  #resolve(alias: Alias, path: readonly PathKey[]): Node | undefined {
    const offset = offsetOf(alias);
    if (offset !== undefined) this.#values.set(JSON.stringify(path), offset);
    const target = alias.resolve(this.#document);
    if (target === undefined) this.#fault(path, "value", `no anchor &${alias.source} before this`);
    return target;
  }

  #fault(path: readonly PathKey[], what: "key" | "value", message: string): void {
    if (this.faults.length < faultsMax) this.faults.push({ ...this.place(path, what), message });
  }
}

function offsetOf(node: unknown): number | undefined {
  if (!isScalar(node) && !isMap(node) && !isSeq(node) && !isAlias(node)) return undefined;
  return node.range?.[0];
}
