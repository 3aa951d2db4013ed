/** What requests carry, checked before anything acts on it. */
import * as v from "valibot";
import { ProblemError } from "../../model/problem.ts";
import { replicasMax, type DeploymentSpec, type PortSpec } from "../../model/spec.ts";
import { checkDocument, closedObject, describe } from "../manifest/check.ts";
import {
  envNamePattern,
  imageLengthMax,
  imagePattern,
  listLengthMax,
  namePattern,
  publishedTwice,
  sortedEnv,
  specBytesMax,
  stopTimeoutMsMax,
  textLengthMax,
} from "../manifest/fields.ts";
import { memoryBytesMin } from "../manifest/quantity.ts";
import { formatPath, reservedKeys, type PathKey } from "../manifest/source.ts";

/** Longest body, in bytes. */
export const bodyBytesMax = 2 * specBytesMax;
const inviteTtlMsMax = 30 * 86_400_000;

const found = (what: string) => (issue: v.BaseIssue<unknown>) =>
  `expected ${what}, found ${describe(issue.input)}`;

function whole(min: number, max: number) {
  const message = found(`a whole number from ${min} to ${max}`);
  return v.pipe(
    v.number(message),
    v.safeInteger(message),
    v.minValue(min, message),
    v.maxValue(max, message),
  );
}

const text = v.pipe(
  v.string(found("text")),
  v.maxLength(textLengthMax, `longer than ${textLengthMax} characters`),
  v.check((value) => !value.includes("\0"), "holds a NUL character"),
);
const texts = v.pipe(
  v.array(text, found("a list of texts")),
  v.maxLength(listLengthMax, `more than ${listLengthMax} items`),
);
export const nameSchema = v.pipe(v.string(found("a name")), v.regex(namePattern, found("a DNS label")));
const flag = v.boolean(found("true or false"));

const portSchema = v.pipe(
  closedObject({
    container: whole(1, 65_535),
    published: v.exactOptional(whole(1, 65_535)),
    protocol: v.picklist(["tcp", "udp"], found("tcp or udp")),
  }),
  // Without the index signature that a closed object's type carries.
  v.transform(({ container, published, protocol }): PortSpec =>
    published === undefined ? { container, protocol } : { container, published, protocol },
  ),
);

const templateSchema = closedObject({
  image: v.pipe(
    v.string(found("an image reference")),
    v.maxLength(imageLengthMax, `longer than ${imageLengthMax} characters`),
    v.regex(imagePattern, found("an image reference")),
  ),
  entrypoint: v.exactOptional(texts),
  command: v.exactOptional(texts),
  env: v.pipe(
    v.record(
      v.pipe(v.string(), v.regex(envNamePattern, found("the name of a variable"))),
      text,
      found("a map of texts"),
    ),
    v.transform((env) => sortedEnv(new Map(Object.entries(env)))),
  ),
  resources: closedObject({
    cpuMillis: whole(0, Number.MAX_SAFE_INTEGER),
    memoryBytes: v.pipe(
      whole(0, Number.MAX_SAFE_INTEGER),
      v.check((bytes) => bytes === 0 || bytes >= memoryBytesMin, `expected 0 or at least ${memoryBytesMin}`),
    ),
  }),
  ports: v.pipe(
    v.array(portSchema, found("a list of ports")),
    v.maxLength(listLengthMax, `more than ${listLengthMax} items`),
    v.check((ports) => publishedTwice(ports).length === 0, "two of them publish the same port"),
  ),
  restart: v.picklist(["always", "on-failure", "never"], found("always, on-failure or never")),
  stopTimeoutMs: whole(0, stopTimeoutMsMax),
});

/** A resolved spec, as `inspect` shows it: every field present but entrypoint and command. */
export const specSchema = v.pipe(
  closedObject({
    namespace: nameSchema,
    name: nameSchema,
    replicas: whole(0, replicasMax),
    template: templateSchema,
  }),
  v.transform(({ namespace, name, replicas, template }): DeploymentSpec => {
    const { image, entrypoint, command, env, ports, restart, stopTimeoutMs } = template;
    const { cpuMillis, memoryBytes } = template.resources;
    return {
      namespace,
      name,
      replicas,
      template: {
        image,
        ...(entrypoint === undefined ? {} : { entrypoint }),
        ...(command === undefined ? {} : { command }),
        env,
        resources: { cpuMillis, memoryBytes },
        ports,
        restart,
        stopTimeoutMs,
      },
    };
  }),
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

const queryCount = v.pipe(v.string(), v.regex(/^\d{1,15}$/, found("a whole number")), v.transform(Number));
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
  tail: v.optional(queryCount),
});
export const execQuery = closedObject({ replica: v.optional(queryCount) });

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
