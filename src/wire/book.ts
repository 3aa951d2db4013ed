/** Records of the promise book, as they come back from disk. */
import * as v from "valibot";
import { cohortRefSchema, containerPhaseSchema, phaseSchema, termsSchema } from "./nouns.ts";
import { countSchema, millisSchema, promiseIdSchema, textSchema } from "./scalars.ts";

const containerEntrySchema = v.object({
  attempt: countSchema,
  startedAttempt: v.pipe(v.number(), v.integer(), v.minValue(-1)),
  starts: countSchema,
  isDone: v.boolean(),
  hasStartedUp: v.boolean(),
  phase: containerPhaseSchema,
  ready: v.boolean(),
  exitCode: v.exactOptional(v.number()),
  oomKilled: v.exactOptional(v.boolean()),
  message: v.exactOptional(textSchema),
  imageDigest: v.exactOptional(v.string()),
});

export const bookRecordSchema = v.variant("kind", [
  v.object({
    kind: v.literal("promise"),
    terms: termsSchema,
    cohort: cohortRefSchema,
    order: countSchema,
    desired: v.picklist(["running", "released"]),
    releaseReason: v.exactOptional(textSchema),
    containers: v.pipe(v.array(containerEntrySchema), v.maxLength(128)),
    phase: phaseSchema,
    ready: v.boolean(),
    seq: countSchema,
    exitCode: v.exactOptional(v.number()),
    message: v.exactOptional(textSchema),
    sinceMs: millisSchema,
  }),
  v.object({ kind: v.literal("tombstone"), promise: promiseIdSchema, atMs: millisSchema }),
]);
