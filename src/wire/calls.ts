/** Bodies of the calls between nodes, by method. */
import * as v from "valibot";
import { userChangeSchema } from "./cohort.ts";
import { snapshotSchema } from "./consensus.ts";
import {
  callAnswerSchema,
  charterSchema,
  cohortRefSchema,
  placementRequestSchema,
  problemSchema,
  refusalSchema,
  reportSchema,
  termsSchema,
} from "./nouns.ts";
import { bytesSchema, countSchema, groupIdSchema, idSchema, promiseIdSchema } from "./scalars.ts";

/** A call for volunteers. */
const callRequestSchema = placementRequestSchema;
const callResponseSchema = callAnswerSchema;

/** Awards for one node's book. */
const awardRequestSchema = v.object({
  cohort: cohortRefSchema,
  promises: v.pipe(v.array(termsSchema), v.maxLength(10_000)),
});
const awardResponseSchema = v.array(
  v.object({ promise: promiseIdSchema, refusal: v.exactOptional(refusalSchema) }),
);

/** Promises that their cohort no longer wants. */
const releaseRequestSchema = v.object({
  cohort: cohortRefSchema,
  promises: v.array(promiseIdSchema),
  reason: v.pipe(v.string(), v.maxLength(4_096)),
});
const releaseResponseSchema = v.object({
  accepted: v.array(promiseIdSchema),
  unknown: v.array(promiseIdSchema),
});

/** A new steward asks a holder for all it has. */
const inquireRequestSchema = v.object({ cohort: cohortRefSchema });
const inquireResponseSchema = v.object({ reports: v.array(reportSchema) });

/** A holder's word to its cohort; the answer says whether this voter took it or who is steward. */
const reportRequestSchema = v.object({ group: groupIdSchema, reports: v.array(reportSchema) });
const reportResponseSchema = v.variant("kind", [
  v.object({ kind: v.literal("taken") }),
  v.object({ kind: v.literal("not-steward"), steward: v.exactOptional(idSchema) }),
  /** This node has no such group. */
  v.object({ kind: v.literal("unknown-group") }),
]);

/** The steward tells a holder which reports are in the log and which promises are not the cohort's. */
const acknowledgeRequestSchema = v.object({
  cohort: cohortRefSchema,
  acked: v.array(v.object({ promise: promiseIdSchema, seq: countSchema })),
  unknown: v.array(promiseIdSchema),
});

/** A user's change, passed on to the steward. */
const changeRequestSchema = v.object({
  group: groupIdSchema,
  requestId: v.pipe(v.string(), v.minLength(1), v.maxLength(64)),
  change: userChangeSchema,
  /** It came through another member already: who is not steward does not pass it on again. */
  isRelayed: v.boolean(),
});
const receiptSchema = v.object({
  deployment: idSchema,
  templateHash: v.string(),
  desired: countSchema,
  changed: v.boolean(),
  epoch: countSchema,
  index: countSchema,
  notes: v.array(v.string()),
});
const changeResponseSchema = v.variant("kind", [
  v.object({ kind: v.literal("receipt"), receipt: receiptSchema }),
  v.object({ kind: v.literal("problem"), problem: problemSchema }),
  v.object({ kind: v.literal("not-steward"), steward: v.exactOptional(idSchema) }),
  v.object({ kind: v.literal("unknown-group") }),
]);

/** A sponsor founds a cohort: the voter makes the bootstrap snapshot durable before it answers. */
const foundRequestSchema = v.object({ charter: charterSchema, snapshot: snapshotSchema });

/** The founding did not come about: forget the group. */
const groupRequestSchema = v.object({ group: groupIdSchema });

const emptySchema = v.object({});

/** What a view of this kind is asked with; the answers are the JSON views of the API. */
const viewRequestSchema = v.object({
  group: groupIdSchema,
  what: v.picklist(["deployment", "cohort"]),
});
const viewResponseSchema = v.variant("kind", [
  v.object({ kind: v.literal("view"), json: v.string() }),
  v.object({ kind: v.literal("not-steward"), steward: v.exactOptional(idSchema) }),
  v.object({ kind: v.literal("unknown-group") }),
]);

/** One node's own promises. */
const jsonResponseSchema = v.object({ json: v.string() });

const containerNameSchema = v.pipe(v.string(), v.minLength(1), v.maxLength(1_024));

/** New runs in place of what a promise keeps running. */
const restartRequestSchema = v.object({
  promise: promiseIdSchema,
  /** Absent: all but the init containers. */
  container: v.exactOptional(containerNameSchema),
});
const restartResponseSchema = v.object({ isHeld: v.boolean() });

/** Streams between nodes. */

export const logsMethod = "node.logs";
export const execMethod = "node.exec";
export const eventsMethod = "cohort.events";

export const logsHeaderSchema = v.object({
  promise: promiseIdSchema,
  follow: v.boolean(),
  tail: v.exactOptional(countSchema),
  sinceMs: v.exactOptional(countSchema),
  container: v.exactOptional(containerNameSchema),
});

export const logLineSchema = v.object({
  stream: v.picklist(["stdout", "stderr"]),
  atMs: v.number(),
  text: v.string(),
});

export const execHeaderSchema = v.object({
  promise: promiseIdSchema,
  /** Absent: the first of the spec. */
  container: v.exactOptional(containerNameSchema),
  request: v.object({
    args: v.pipe(v.array(v.string()), v.minLength(1)),
    env: v.array(v.string()),
    terminal: v.exactOptional(v.object({ columns: countSchema, rows: countSchema })),
    user: v.exactOptional(v.string()),
    workingDirectory: v.exactOptional(v.string()),
  }),
});

export const eventsHeaderSchema = v.object({
  group: groupIdSchema,
  follow: v.boolean(),
  sinceIndex: countSchema,
});

/** Frames of an exec stream, towards the process and back. */
export const execInputSchema = v.variant("kind", [
  v.object({ kind: v.literal("input"), data: bytesSchema }),
  v.object({ kind: v.literal("end") }),
  v.object({ kind: v.literal("resize"), columns: countSchema, rows: countSchema }),
  v.object({ kind: v.literal("kill") }),
]);
export const execOutputSchema = v.variant("kind", [
  v.object({ kind: v.literal("started") }),
  v.object({ kind: v.literal("output"), stream: v.picklist(["stdout", "stderr"]), data: bytesSchema }),
  v.object({ kind: v.literal("exit"), code: v.number() }),
  v.object({ kind: v.literal("problem"), problem: problemSchema }),
]);

/** Every call between nodes: its name on the wire and the schemas of its two bodies. */
export const methods = {
  call: { name: "placement.call", request: callRequestSchema, response: callResponseSchema },
  award: { name: "promise.award", request: awardRequestSchema, response: awardResponseSchema },
  release: { name: "promise.release", request: releaseRequestSchema, response: releaseResponseSchema },
  restart: { name: "promise.restart", request: restartRequestSchema, response: restartResponseSchema },
  inquire: { name: "promise.inquire", request: inquireRequestSchema, response: inquireResponseSchema },
  report: { name: "cohort.report", request: reportRequestSchema, response: reportResponseSchema },
  acknowledge: { name: "promise.acknowledge", request: acknowledgeRequestSchema, response: emptySchema },
  change: { name: "cohort.change", request: changeRequestSchema, response: changeResponseSchema },
  found: { name: "cohort.found", request: foundRequestSchema, response: emptySchema },
  abandon: { name: "cohort.abandon", request: groupRequestSchema, response: emptySchema },
  lead: { name: "cohort.lead", request: groupRequestSchema, response: emptySchema },
  view: { name: "cohort.view", request: viewRequestSchema, response: viewResponseSchema },
  promises: { name: "node.promises", request: emptySchema, response: jsonResponseSchema },
  usage: { name: "node.usage", request: emptySchema, response: jsonResponseSchema },
} as const;
