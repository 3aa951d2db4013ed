/** A source document against a schema: the value with defaults filled in, or every fault with its place. */
import * as v from "valibot";
import { ok, refused, type Outcome } from "../../model/outcome.ts";
import { nearest } from "./nearest.ts";
import { ourNameOf } from "./other-names.ts";
import type { PathKey } from "./field-path.ts";
import type { Fault, SourceDocument } from "./source.ts";

/**
 * An object that refuses keys it does not know, each with a fault of its own. The message of such a
 * fault carries the known keys for `checkDocument`, which alone also knows the key that was written.
 */
export function closedObject<const Entries extends v.ObjectEntries>(entries: Entries) {
  const known = Object.keys(entries).toSorted().join(" ");
  return v.pipe(
    // To valibot a list is an object too.
    v.custom<object>(
      (value) => typeof value === "object" && value !== null && !Array.isArray(value),
      (issue) => `expected a map of fields, found ${describe(issue.input)}`,
    ),
    v.objectWithRest(entries, v.never(known)),
  );
}

/** What a value is, in words for people. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a map";
  const text = String(value);
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);
}

export function checkDocument<Schema extends v.GenericSchema>(
  schema: Schema,
  document: SourceDocument,
): Outcome<v.InferOutput<Schema>, readonly Fault[]> {
  const result = v.safeParse(schema, document.value);
  if (result.success) return ok(result.output);
  return refused(result.issues.map((issue) => faultOf(issue, document)));
}

/** Rounds of `checkWhole`: names, then fields of fields, then what does not fit together. */
const roundsMax = 4;

/**
 * As `checkDocument`; what shows only once faulty fields are out of the way is told as well. `mend` gives the value
 * without what stands at those paths, or undefined when nothing is left to look at.
 */
export function checkWhole<Schema extends v.GenericSchema>(
  schema: Schema,
  document: SourceDocument,
  mend: (value: unknown, paths: readonly (readonly PathKey[])[]) => unknown,
): Outcome<v.InferOutput<Schema>, readonly Fault[]> {
  const first = v.safeParse(schema, document.value);
  if (first.success) return ok(first.output);
  const faults = new Map<string, Fault>();
  let { issues } = first;
  let { value } = document;
  for (let round = 1; round <= roundsMax; round += 1) {
    for (const issue of issues) {
      const fault = faultOf(issue, document);
      faults.set(JSON.stringify([fault.line, fault.column, fault.path, fault.message]), fault);
    }
    value = mend(value, issues.map(pathOf));
    if (value === undefined) break;
    const again = v.safeParse(schema, value);
    if (again.success) break;
    issues = again.issues;
  }
  return refused([...faults.values()]);
}

function faultOf(issue: v.BaseIssue<unknown>, document: SourceDocument): Fault {
  const path = pathOf(issue);
  const key = path.at(-1);
  if (issue.type === "never" && typeof key === "string")
    return { ...document.place(path, "key"), message: unknownKey(key, issue.message) };
  const message = issue.input === undefined ? `${String(key)} is missing` : issue.message;
  return { ...document.place(path, "value"), message };
}

/** The keys that lead to an issue's value. */
export function pathOf(issue: v.BaseIssue<unknown>): readonly PathKey[] {
  return (issue.path ?? []).map((item) => (typeof item.key === "number" ? item.key : String(item.key)));
}

/** Longer lists of what is known bury the error; the manual has them. */
const namesShownMax = 12;

function unknownKey(key: string, known: string): string {
  const unknown = `unknown field ${JSON.stringify(key.slice(0, 64))}`;
  if (known === "") return `${unknown}; none is known here`;
  const names = known.split(" ");
  const meant = ourNameOf(key, names) ?? nearest(key, names);
  if (meant !== undefined) return `${unknown}; did you mean ${meant}?`;
  return names.length > namesShownMax ? unknown : `${unknown}; known here: ${names.join(", ")}`;
}
