/** Schemas of the shared nouns, for everything that comes from a peer or from disk. Bounded, like all that enters. */
import * as v from "valibot";
import {
  countSchema,
  groupIdSchema,
  idSchema,
  millisSchema,
  nameSchema,
  promiseIdSchema,
  textSchema,
} from "./scalars.ts";
import { portSchema, resourcesSchema, templateSchema } from "./template.ts";

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

export const containerPhaseSchema = v.picklist([
  "waiting",
  "starting",
  "running",
  "backoff",
  "completed",
  "stopping",
]);

/** Containers of a replica, init containers among them. */
const containersMax = 128;

const containerReportSchema = v.object({
  name: v.pipe(v.string(), v.maxLength(1_024)),
  isInit: v.boolean(),
  phase: containerPhaseSchema,
  ready: v.boolean(),
  restarts: countSchema,
  exitCode: v.exactOptional(v.pipe(v.number(), v.integer())),
  oomKilled: v.exactOptional(v.boolean()),
  message: v.exactOptional(textSchema),
  imageDigest: v.exactOptional(v.pipe(v.string(), v.maxLength(256))),
});

export const containerReportsSchema = v.pipe(v.array(containerReportSchema), v.maxLength(containersMax));

export const reportSchema = v.object({
  promise: promiseIdSchema,
  seq: countSchema,
  phase: phaseSchema,
  ready: v.boolean(),
  restarts: countSchema,
  exitCode: v.exactOptional(v.pipe(v.number(), v.integer())),
  message: v.exactOptional(textSchema),
  sinceMs: millisSchema,
  imageDigest: v.exactOptional(v.pipe(v.string(), v.maxLength(256))),
  containers: containerReportsSchema,
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
  images: v.pipe(v.array(v.pipe(v.string(), v.maxLength(1_024))), v.maxLength(128)),
});

export const offerSchema = v.object({
  node: idSchema,
  slots: countSchema,
  held: countSchema,
  promises: countSchema,
  free: resourcesSchema,
  capacity: resourcesSchema,
  hasImages: v.boolean(),
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
