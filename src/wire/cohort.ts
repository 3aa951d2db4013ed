/** Log entries of a cohort, as they come out of the replicated log. */
import * as v from "valibot";
import {
  containerReportsSchema,
  problemSchema,
  phaseSchema,
  refusalSchema,
  reportSchema,
  specSchema,
} from "./nouns.ts";
import {
  groupIdSchema,
  countSchema,
  idSchema,
  millisSchema,
  promiseIdSchema,
  textSchema,
} from "./scalars.ts";
import { templateSchema } from "./template.ts";

const hashSchema = v.pipe(v.string(), v.maxLength(128));
const requestIdSchema = v.pipe(v.string(), v.minLength(1), v.maxLength(64));
const promiseIdsSchema = v.array(promiseIdSchema);

const stamp = { atMs: millisSchema, actor: v.union([idSchema, v.literal("user")]), proposal: countSchema };

const declareChange = {
  kind: v.literal("declare"),
  spec: specSchema,
  templateHash: hashSchema,
  createOnly: v.boolean(),
};
const scaleChange = { kind: v.literal("scale"), replicas: countSchema };
const deleteChange = { kind: v.literal("delete") };

/** What a user asks of a deployment that exists, passed on to its steward. */
export const userChangeSchema = v.variant("kind", [
  v.object(declareChange),
  v.object(scaleChange),
  v.object(deleteChange),
]);

export const cohortCommandSchema = v.variant("kind", [
  v.object({ ...declareChange, ...stamp, requestId: requestIdSchema }),
  v.object({ ...scaleChange, ...stamp, requestId: requestIdSchema }),
  v.object({ ...deleteChange, ...stamp, requestId: requestIdSchema }),
  v.object({ ...stamp, kind: v.literal("steward"), node: idSchema, term: countSchema }),
  v.object({
    ...stamp,
    kind: v.literal("award"),
    templateHash: hashSchema,
    awards: v.array(v.object({ replica: countSchema, node: idSchema })),
    reason: textSchema,
  }),
  v.object({
    ...stamp,
    kind: v.literal("answer"),
    promised: promiseIdsSchema,
    refused: v.array(v.object({ promise: promiseIdSchema, refusal: refusalSchema })),
  }),
  v.object({
    ...stamp,
    kind: v.literal("report"),
    batches: v.array(v.object({ node: idSchema, reports: v.array(reportSchema) })),
  }),
  v.object({ ...stamp, kind: v.literal("break"), promises: promiseIdsSchema, reason: textSchema }),
  v.object({ ...stamp, kind: v.literal("release"), promises: promiseIdsSchema, reason: textSchema }),
  v.object({ ...stamp, kind: v.literal("released"), promises: promiseIdsSchema, reason: textSchema }),
  v.object({ ...stamp, kind: v.literal("unplaceable"), key: textSchema, reasons: v.array(textSchema) }),
  v.object({ ...stamp, kind: v.literal("placeable") }),
  v.object({ ...stamp, kind: v.literal("voters-changed"), voters: v.array(idSchema) }),
]);

export const historyEventSchema = v.object({
  deployment: v.pipe(v.string(), v.maxLength(127)),
  index: countSchema,
  epoch: countSchema,
  atMs: millisSchema,
  kind: v.picklist([
    "declared",
    "scaled",
    "deleted",
    "called",
    "awarded",
    "promised",
    "refused",
    "starting",
    "running",
    "ready",
    "unready",
    "backoff",
    "completed",
    "broken",
    "releasing",
    "released",
    "steward",
    "voter-added",
    "voter-removed",
    "unplaceable",
    "placeable",
  ]),
  actor: v.union([idSchema, v.literal("user")]),
  node: v.exactOptional(idSchema),
  replica: v.exactOptional(countSchema),
  promise: v.exactOptional(promiseIdSchema),
  cause: textSchema,
});

const promiseRecordSchema = v.object({
  id: promiseIdSchema,
  replica: countSchema,
  node: idSchema,
  templateHash: hashSchema,
  stage: v.picklist(["awarded", "promised", "releasing", "broken"]),
  phase: phaseSchema,
  ready: v.boolean(),
  seq: countSchema,
  restarts: countSchema,
  exitCode: v.exactOptional(v.number()),
  message: v.exactOptional(textSchema),
  imageDigest: v.exactOptional(v.string()),
  sinceMs: millisSchema,
  containers: containerReportsSchema,
});

const receiptSchema = v.object({
  deployment: idSchema,
  templateHash: hashSchema,
  desired: countSchema,
  changed: v.boolean(),
  epoch: countSchema,
  index: countSchema,
  notes: v.array(textSchema),
});

/** The answer to a user's write, as the log remembers it. */
export const requestAnswerSchema = v.variant("ok", [
  v.object({ ok: v.literal(true), value: receiptSchema }),
  v.object({ ok: v.literal(false), error: problemSchema }),
]);

/** The replicated state inside a snapshot. */
export const cohortStateSchema = v.object({
  format: v.literal(1),
  group: groupIdSchema,
  deployment: idSchema,
  epoch: countSchema,
  founder: idSchema,
  index: countSchema,
  status: v.picklist(["active", "deleting", "deleted"]),
  spec: specSchema,
  templateHash: hashSchema,
  specVersion: countSchema,
  charterVersion: countSchema,
  voters: v.array(idSchema),
  steward: v.nullable(idSchema),
  stewardTerm: countSchema,
  nextOrdinal: countSchema,
  emptyOtherwise: countSchema,
  promises: v.array(promiseRecordSchema),
  templates: v.array(v.tuple([hashSchema, templateSchema])),
  requests: v.array(v.tuple([requestIdSchema, requestAnswerSchema])),
  unplaced: v.object({ key: textSchema, reasons: v.array(textSchema) }),
  history: v.array(historyEventSchema),
  historyCount: countSchema,
});
