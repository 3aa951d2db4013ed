/** What requests carry, checked before anything acts on it. */
import * as v from "valibot";
import { ProblemError } from "../../model/problem.ts";
import { replicasMax, type DeploymentSpec } from "../../model/spec.ts";
import type { TerminalSize } from "../../ports/container-runtime.ts";
import { checkDocument, closedObject } from "../manifest/check.ts";
import { namePattern, specBytesMax } from "../manifest/fields.ts";
import { formatPath, reservedKeys, type PathKey } from "../manifest/field-path.ts";
import { flag, found, text, texts, whole } from "./body-values.ts";
import { templateSchema } from "./template-body.ts";

/** Longest body, in bytes. */
export const bodyBytesMax = 2 * specBytesMax;
const inviteTtlMsMax = 30 * 86_400_000;

export const nameSchema = v.pipe(v.string(found("a name")), v.regex(namePattern, found("a DNS label")));

/** A resolved spec, as `inspect` shows it. */
export const specSchema = v.pipe(
  closedObject({
    namespace: nameSchema,
    name: nameSchema,
    replicas: whole(0, replicasMax),
    template: templateSchema,
  }),
  v.transform(({ namespace, name, replicas, template }): DeploymentSpec => ({
    namespace,
    name,
    replicas,
    template,
  })),
  v.check(
    (spec) => Buffer.byteLength(JSON.stringify(spec)) <= specBytesMax,
    `the spec is larger than ${specBytesMax / 1024} KiB`,
  ),
);

export const scaleSchema = closedObject({ replicas: whole(0, replicasMax) });
export const inviteSchema = closedObject({ ttlMs: whole(1000, inviteTtlMsMax) });
export const downSchema = closedObject({ keep: v.optional(flag, false) });

export const execSchema = v.pipe(
  closedObject({
    args: v.pipe(texts, v.minLength(1, "expected a command")),
    env: v.optional(texts, []),
    terminal: v.exactOptional(closedObject({ columns: whole(1, 65_535), rows: whole(1, 65_535) })),
    user: v.exactOptional(text),
    workingDirectory: v.exactOptional(text),
  }),
  v.transform(({ args, env, terminal, user, workingDirectory }) => ({
    args,
    env,
    ...(terminal === undefined ? {} : { terminal: { columns: terminal.columns, rows: terminal.rows } }),
    ...(user === undefined ? {} : { user }),
    ...(workingDirectory === undefined ? {} : { workingDirectory }),
  })),
);

/** The first message of an attached session. */
export const attachSchema = v.pipe(
  closedObject({
    terminal: v.exactOptional(closedObject({ columns: whole(1, 65_535), rows: whole(1, 65_535) })),
  }),
  v.transform(({ terminal }) =>
    terminal === undefined ? {} : { terminal: { columns: terminal.columns, rows: terminal.rows } },
  ),
  v.transform((given): { readonly terminal?: TerminalSize } => given),
);

export const queryCount = v.pipe(
  v.string(),
  v.regex(/^\d{1,15}$/, found("a whole number")),
  v.transform(Number),
);
const queryFlag = v.pipe(
  v.picklist(["true", "false"], found("true or false")),
  v.transform((value) => value === "true"),
);

export const noQuery = closedObject({});
export const listQuery = closedObject({ namespace: v.optional(nameSchema) });
export const promisesQuery = closedObject({
  scope: v.optional(v.picklist(["fleet", "node"], found("fleet or node")), "fleet"),
});
export const eventsQuery = closedObject({
  follow: v.optional(queryFlag, "false"),
  since: v.optional(queryCount),
});
export const logsQuery = closedObject({
  follow: v.optional(queryFlag, "false"),
  replica: v.optional(queryCount),
  container: v.optional(nameSchema),
  tail: v.optional(queryCount),
  since: v.optional(queryCount),
});
export const execQuery = closedObject({ replica: v.optional(queryCount), container: v.optional(nameSchema) });

/** The value checked, or ProblemError `invalid-request` with the path of every fault. */
export function checked<Schema extends v.GenericSchema>(
  schema: Schema,
  value: unknown,
  what: string,
): v.InferOutput<Schema> {
  const outcome = checkDocument(schema, {
    value,
    place: (path: readonly PathKey[]) => ({ path: formatPath(path) }),
  });
  if (outcome.ok) return outcome.value;
  throw new ProblemError({
    code: "invalid-request",
    message: `the ${what} is not as expected; nothing was changed`,
    places: outcome.error,
    next: "correct the places named above; docs/guide/api.md describes every request",
  });
}

export function checkedJson<Schema extends v.GenericSchema>(
  schema: Schema,
  json: string,
): v.InferOutput<Schema> {
  let reserved: string | undefined;
  let value: unknown;
  try {
    value = JSON.parse(json, (key, item: unknown) => {
      if (reservedKeys.has(key)) reserved = key;
      return item;
    });
  } catch (error) {
    throw new ProblemError(
      {
        code: "invalid-request",
        message: `the body is not JSON: ${error instanceof Error ? error.message : ""}`,
      },
      { cause: error },
    );
  }
  if (reserved !== undefined)
    throw new ProblemError({ code: "invalid-request", message: `${reserved} cannot be used as a name` });
  return checked(schema, value, "body");
}
