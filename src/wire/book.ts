/** Records of the promise book, as they come back from disk. */
import * as v from "valibot";
import { cohortRefSchema, phaseSchema, termsSchema } from "./nouns.ts";
import { countSchema, millisSchema, promiseIdSchema, textSchema } from "./scalars.ts";

export const bookRecordSchema = v.variant("kind", [
  v.object({
    kind: v.literal("promise"),
    terms: termsSchema,
    cohort: cohortRefSchema,
    order: countSchema,
    desired: v.picklist(["running", "released"]),
    releaseReason: v.exactOptional(textSchema),
    attempt: countSchema,
    startedAttempt: v.pipe(v.number(), v.integer(), v.minValue(-1)),
    starts: countSchema,
    phase: phaseSchema,
    seq: countSchema,
    exitCode: v.exactOptional(v.number()),
    message: v.exactOptional(textSchema),
    sinceMs: millisSchema,
    imageDigest: v.exactOptional(v.string()),
  }),
  v.object({ kind: v.literal("tombstone"), promise: promiseIdSchema, atMs: millisSchema }),
]);
