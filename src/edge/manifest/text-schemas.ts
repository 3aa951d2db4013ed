/** Schemas of values that arrive as the text a user wrote, and what the manual says of them. */
import * as v from "valibot";
import type { Outcome } from "../../model/outcome.ts";
import { describe } from "./check.ts";
import { envNamePattern, listLengthMax, textLengthMax, whyNoText } from "./fields.ts";

/** What `muster explain` and the reference say of a field; its default comes from the schema. */
export interface FieldWords {
  /** What is written there: `text`, `amount of memory`, `list of ports`. */
  readonly type: string;
  /** One sentence, and more where needed. */
  readonly meaning: string;
  /** A value as it may stand in a file, in YAML on one line. */
  readonly example: string;
  /** What holds when the field is left out and no value stands for that. */
  readonly absent?: string;
}

/** A schema that carries its words. */
export function field<const Schema extends v.GenericSchema>(schema: Schema, words: FieldWords) {
  return v.pipe(schema, v.metadata({ words }));
}

export function expected(what: string) {
  return (issue: v.BaseIssue<unknown>): string => `expected ${what}, found ${describe(issue.input)}`;
}

export function textOf(what: string, lengthMax = textLengthMax) {
  return v.pipe(
    v.string(expected(what)),
    v.maxLength(lengthMax, `longer than ${lengthMax} characters`),
    plainText(),
  );
}

/** Refuses what is no text to programs and peers. */
export function plainText() {
  return v.rawCheck<string>(({ dataset, addIssue }) => {
    const why = dataset.typed ? whyNoText(dataset.value) : undefined;
    if (why !== undefined) addIssue({ message: why });
  });
}

/** Text that `parse` turns into a value; `what` says what is expected when it is no text at all. */
export function parsedText<T>(what: string, parse: (text: string) => Outcome<T, string>) {
  return v.pipe(
    textOf(what),
    v.rawTransform<string, T>(({ dataset, addIssue, NEVER }) => {
      const outcome = parse(dataset.value);
      if (outcome.ok) return outcome.value;
      addIssue({ message: `${describe(dataset.value)} ${outcome.error}` });
      return NEVER;
    }),
  );
}

export function choice<const Options extends readonly string[]>(options: Options) {
  const list = `${options.slice(0, -1).join(", ")} or ${options.at(-1) ?? ""}`;
  return v.picklist(options, expected(list));
}

export function listOf<const Item extends v.GenericSchema>(what: string, item: Item) {
  return v.pipe(
    v.array(item, expected(what)),
    v.maxLength(listLengthMax, `more than ${listLengthMax} items`),
  );
}

/** Text in short form, or a map of fields; each faulty value is told by the form it is in. */
export function shortOrLong<const Short extends v.GenericSchema, const Long extends v.GenericSchema>(
  short: Short,
  long: Long,
) {
  return v.lazy((input: unknown): Short | Long => (typeof input === "string" ? short : long));
}

/** The path of an issue that `rawCheck` or `rawTransform` finds in a part of its value. */
export function issuePath(
  input: unknown,
  path: readonly (string | number)[],
): [v.IssuePathItem, ...v.IssuePathItem[]] | undefined {
  let parent = input;
  const items = path.map((key): v.IssuePathItem => {
    const member: unknown =
      typeof parent === "object" && parent !== null ? Reflect.get(parent, key) : undefined;
    const item: v.IssuePathItem = { type: "unknown", origin: "value", input: parent, key, value: member };
    parent = member;
    return item;
  });
  const [first, ...rest] = items;
  return first === undefined ? undefined : [first, ...rest];
}

export interface NamedTexts {
  /** Of what is named: `variable`. */
  readonly what: string;
  readonly pattern: RegExp;
}

export const variableNames: NamedTexts = { what: "variable", pattern: envNamePattern };

/** A map of names to texts, or a list of `NAME=value` lines; sorted by name. */
export function namedTexts({ what, pattern }: NamedTexts) {
  return v.pipe(
    v.union(
      [v.array(v.unknown()), v.record(v.string(), v.unknown())],
      expected("a map, or a list of NAME=value"),
    ),
    v.rawTransform<unknown[] | Record<string, unknown>, Readonly<Record<string, string>>>(
      ({ dataset, addIssue }) => {
        const values = new Map<string, string>();
        const input = dataset.value;
        const fail = (key: string | number, value: unknown, message: string): void => {
          const path = issuePath(input, [key]);
          addIssue({ message, input: value, ...(path === undefined ? {} : { path }) });
        };
        const add = (name: string, value: string, key: string | number): void => {
          if (!pattern.test(name)) fail(key, value, `${describe(name)} is no name of a ${what}`);
          else if (values.has(name)) fail(key, value, `${name} is set a second time`);
          else if (value.length > textLengthMax) fail(key, value, `longer than ${textLengthMax} characters`);
          else {
            const why = whyNoText(value);
            if (why === undefined) values.set(name, value);
            else fail(key, value, why);
          }
        };
        if (Array.isArray(input))
          input.forEach((line: unknown, index) => {
            const at = typeof line === "string" ? line.indexOf("=") : -1;
            if (typeof line !== "string" || at < 0)
              fail(index, line, `expected NAME=value, found ${describe(line)}`);
            else add(line.slice(0, at), line.slice(at + 1), index);
          });
        else
          for (const [name, value] of Object.entries(input)) {
            if (value === null) add(name, "", name);
            else if (typeof value === "string") add(name, value, name);
            else fail(name, value, `expected text, found ${describe(value)}`);
          }
        return Object.fromEntries([...values].sort(([a], [b]) => (a < b ? -1 : 1)));
      },
    ),
  );
}
