/** The manual of the manifest, read from the schema that checks it. */
import * as v from "valibot";
import { ok, refused, type Outcome } from "../../model/outcome.ts";
import { containerEntries } from "./container-schema.ts";
import { longEntries, replicaEntries } from "./deployment-schema.ts";
import { nearest } from "./nearest.ts";
import { ourNameOf } from "./other-names.ts";

export interface FieldManual {
  /** From the root, without list indexes: `containers.resources.cpu`. */
  readonly path: string;
  readonly name: string;
  readonly type: string;
  readonly isRequired: boolean;
  /** Several of what `fields` describes, one behind the other. */
  readonly isList: boolean;
  /** As a user would write it, or in words; undefined when it must be given, or leaving it out says it all. */
  readonly default?: string;
  readonly meaning: string;
  readonly example: string;
  readonly fields: readonly FieldManual[];
}

/** All fields of a manifest. Those of a single container may stand at the top, too; here they stand in `containers`. */
export function manualOfSpec(): readonly FieldManual[] {
  return manualsOf({ ...replicaEntries, ...longEntries }, "");
}

/** Names of the fields that may stand at the top when there is one container. */
export const shortFormNames: readonly string[] = Object.keys(containerEntries);

export const rootName = "spec";

export interface Explained {
  /** `spec` itself has no manual of its own. */
  readonly field?: FieldManual;
  readonly fields: readonly FieldManual[];
}

/**
 * What a path such as `spec.containers.resources` names; `spec.` and indexes such as `[0]` may stand or not, and the
 * fields of a container are found at the top as well. The error says what may have been meant.
 */
export function explain(
  path: string,
): Outcome<Explained, { readonly message: string; readonly next: string }> {
  const keys = path
    .replaceAll(/\[[^\]]*\]|\.\d+(?=\.|$)/g, "")
    .split(".")
    .filter((key) => key !== "");
  if (keys[0] === rootName) keys.shift();
  const root = manualOfSpec();
  const start = shortFormNames.includes(keys[0] ?? "") ? ["containers", ...keys] : keys;
  let fields = root;
  let field: FieldManual | undefined;
  for (const key of start) {
    const next = fields.find(({ name }) => name === key);
    if (next === undefined) return refused(unknownPath(key, field, fields, root));
    field = next;
    ({ fields } = next);
  }
  return ok({ ...(field === undefined ? {} : { field }), fields });
}

function unknownPath(
  key: string,
  parent: FieldManual | undefined,
  siblings: readonly FieldManual[],
  root: readonly FieldManual[],
): { readonly message: string; readonly next: string } {
  const where = parent === undefined ? rootName : `${rootName}.${parent.path}`;
  const names = siblings.map(({ name }) => name);
  const here = parent === undefined ? [...names, ...shortFormNames] : names;
  const beside = ourNameOf(key, here) ?? nearest(key, here);
  const elsewhere = everyField(root).find(({ name }) => name.toLowerCase() === key.toLowerCase());
  const meant = beside === undefined ? elsewhere?.path : pathIn(parent, beside);
  return {
    message: `${where} has no field ${JSON.stringify(key.slice(0, 64))}${meant === undefined ? "" : `; did you mean ${rootName}.${meant}?`}`,
    next: `muster explain ${siblings.length === 0 ? rootName : where} lists what there is`,
  };
}

function pathIn(parent: FieldManual | undefined, name: string): string {
  return parent === undefined ? name : `${parent.path}.${name}`;
}

/** Depth first, parents before their fields. */
export function everyField(fields: readonly FieldManual[]): readonly FieldManual[] {
  return fields.flatMap((field) => [field, ...everyField(field.fields)]);
}

const wordsSchema = v.object({
  type: v.string(),
  meaning: v.string(),
  example: v.string(),
  absent: v.optional(v.string()),
});

function manualsOf(entries: object, parent: string): readonly FieldManual[] {
  return Object.entries(entries).flatMap(([name, schema]: [string, unknown]): readonly FieldManual[] => {
    const words = wordsOf(schema);
    if (words === undefined) return [];
    const path = parent === "" ? name : `${parent}.${name}`;
    const inside = insideOf(schema);
    const absent = words.absent ?? defaultOf(schema);
    return [
      {
        path,
        name,
        type: words.type,
        isRequired: !isOptional(schema),
        isList: inside.isList,
        ...(absent === undefined ? {} : { default: absent }),
        meaning: words.meaning,
        example: words.example,
        fields: inside.entries === undefined ? [] : manualsOf(inside.entries, path),
      },
    ];
  });
}

/** The steps of a pipe, or the schema alone. */
function stepsOf(schema: unknown): readonly unknown[] {
  if (typeof schema !== "object" || schema === null) return [];
  return "pipe" in schema && Array.isArray(schema.pipe) ? schema.pipe : [schema];
}

function wordsOf(schema: unknown): v.InferOutput<typeof wordsSchema> | undefined {
  for (const step of stepsOf(schema)) {
    if (typeof step !== "object" || step === null) continue;
    if ("metadata" in step && typeof step.metadata === "object" && step.metadata !== null) {
      const parsed = v.safeParse(wordsSchema, "words" in step.metadata ? step.metadata.words : undefined);
      if (parsed.success) return parsed.output;
    }
    const wrapped = "wrapped" in step ? wordsOf(step.wrapped) : undefined;
    if (wrapped !== undefined) return wrapped;
  }
  return undefined;
}

function isOptional(schema: unknown): boolean {
  return typeof schema === "object" && schema !== null && "wrapped" in schema;
}

/** The text that stands for a field that is left out. */
function defaultOf(schema: unknown): string | undefined {
  const value =
    typeof schema === "object" && schema !== null && "default" in schema ? schema.default : undefined;
  return typeof value === "string" && value !== "" ? value : undefined;
}

interface Inside {
  readonly isList: boolean;
  readonly entries?: object;
}

/** The fields of a map, of the items of a list, or of the long form where there is a short one. */
function insideOf(schema: unknown): Inside {
  for (const step of stepsOf(schema)) {
    if (typeof step !== "object" || step === null) continue;
    if ("entries" in step && typeof step.entries === "object" && step.entries !== null)
      return { isList: false, entries: step.entries };
    if ("item" in step) return { ...insideOf(step.item), isList: true };
    if ("getter" in step && typeof step.getter === "function") {
      const long: unknown = step.getter({});
      return insideOf(long);
    }
    const nested = "wrapped" in step ? step.wrapped : step === schema ? undefined : step;
    if (nested === undefined) continue;
    const inside = insideOf(nested);
    if (inside.isList || inside.entries !== undefined) return inside;
  }
  return { isList: false };
}
