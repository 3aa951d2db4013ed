/** Schemas of the shared nouns, for everything that comes from a peer or from disk. Bounded, like all that enters. */
import * as v from "valibot";

export const idSchema = v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/, "expected 32 hex digits"));
export const groupIdSchema = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{32}\.\d{1,10}\.[0-9a-f]{8}$/, "expected a group id"),
);
export const promiseIdSchema = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{32}\.\d{1,10}\.[0-9a-f]{8}\/\d{1,12}$/, "expected a promise id"),
);
export const countSchema = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** Wall-clock readings may be fractional or skewed; they only have to be finite. */
export const millisSchema = v.pipe(v.number(), v.finite());
export const textSchema = v.pipe(v.string(), v.maxLength(4_096));
export const nameSchema = v.pipe(v.string(), v.minLength(1), v.maxLength(63));
export const bytesSchema = v.instance(Uint8Array);

const portNumberSchema = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535));
const argumentSchema = v.pipe(v.string(), v.maxLength(131_072));

export const portSchema = v.object({
  container: portNumberSchema,
  published: v.exactOptional(portNumberSchema),
  protocol: v.picklist(["tcp", "udp"]),
});

export const resourcesSchema = v.object({ cpuMillis: countSchema, memoryBytes: countSchema });

export const templateSchema = v.object({
  image: v.pipe(v.string(), v.minLength(1), v.maxLength(1_024)),
  entrypoint: v.exactOptional(v.pipe(v.array(argumentSchema), v.maxLength(4_096))),
  command: v.exactOptional(v.pipe(v.array(argumentSchema), v.maxLength(4_096))),
  env: v.record(v.string(), argumentSchema),
  resources: resourcesSchema,
  ports: v.pipe(v.array(portSchema), v.maxLength(256)),
  restart: v.picklist(["always", "on-failure", "never"]),
  stopTimeoutMs: countSchema,
});

export const specSchema = v.object({
  namespace: nameSchema,
  name: nameSchema,
  replicas: countSchema,
  template: templateSchema,
});

export const termsSchema = v.object({
  id: promiseIdSchema,
  group: groupIdSchema,
  deployment: idSchema,
  namespace: nameSchema,
  name: nameSchema,
  epoch: countSchema,
  replica: countSchema,
  templateHash: v.pipe(v.string(), v.maxLength(128)),
  template: templateSchema,
});

export const phaseSchema = v.picklist([
  "admitted",
  "starting",
  "running",
  "backoff",
  "completed",
  "stopping",
  "stopped",
]);

export const reportSchema = v.object({
  promise: promiseIdSchema,
  seq: countSchema,
  phase: phaseSchema,
  restarts: countSchema,
  exitCode: v.exactOptional(v.pipe(v.number(), v.integer())),
  message: v.exactOptional(textSchema),
  sinceMs: millisSchema,
  imageDigest: v.exactOptional(v.pipe(v.string(), v.maxLength(256))),
});

export const cohortRefSchema = v.object({
  group: groupIdSchema,
  deployment: idSchema,
  epoch: countSchema,
  voters: v.pipe(v.array(idSchema), v.maxLength(64)),
});

export const placementRequestSchema = v.object({
  group: groupIdSchema,
  deployment: idSchema,
  count: countSchema,
  resources: resourcesSchema,
  ports: v.pipe(v.array(portSchema), v.maxLength(256)),
  image: v.pipe(v.string(), v.maxLength(1_024)),
});

export const offerSchema = v.object({
  node: idSchema,
  slots: countSchema,
  held: countSchema,
  promises: countSchema,
  free: resourcesSchema,
  capacity: resourcesSchema,
  hasImage: v.boolean(),
});

export const refusalSchema = v.object({
  node: idSchema,
  reason: v.picklist([
    "cpu",
    "memory",
    "port-taken",
    "policy",
    "unreachable",
    "stopping",
    "stale-epoch",
    "busy",
  ]),
  detail: textSchema,
  free: v.exactOptional(resourcesSchema),
});

export const callAnswerSchema = v.variant("kind", [
  v.object({ kind: v.literal("offer"), offer: offerSchema }),
  v.object({ kind: v.literal("refusal"), refusal: refusalSchema }),
]);

export const charterSchema = v.object({
  deployment: idSchema,
  namespace: nameSchema,
  name: nameSchema,
  group: groupIdSchema,
  epoch: countSchema,
  version: countSchema,
  founder: idSchema,
  voters: v.pipe(v.array(idSchema), v.maxLength(64)),
  deleted: v.boolean(),
});

const problemCodes = [
  "invalid-spec",
  "invalid-request",
  "not-found",
  "already-exists",
  "unplaceable",
  "no-quorum",
  "no-steward",
  "unreachable",
  "image-failed",
  "conflict",
  "too-many-requests",
  "stopping",
  "unsupported",
  "internal",
] as const;

export const problemSchema = v.object({
  code: v.picklist(problemCodes),
  message: textSchema,
  places: v.exactOptional(
    v.array(
      v.object({
        file: v.exactOptional(v.string()),
        line: v.exactOptional(v.number()),
        column: v.exactOptional(v.number()),
        path: v.exactOptional(v.string()),
        message: textSchema,
      }),
    ),
  ),
  next: v.exactOptional(textSchema),
});
