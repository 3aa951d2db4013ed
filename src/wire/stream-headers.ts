/** Streams between nodes that concern one container: what opens them, and the frames of a copy. */
import * as v from "valibot";
import { problemSchema } from "./nouns.ts";
import { bytesSchema, countSchema, promiseIdSchema } from "./scalars.ts";

export const attachMethod = "node.attach";
export const copyMethod = "node.copy";

const containerNameSchema = v.pipe(v.string(), v.minLength(1), v.maxLength(63));

/** The frames that follow are those of an exec. */
export const attachHeaderSchema = v.object({
  promise: promiseIdSchema,
  container: containerNameSchema,
  terminal: v.exactOptional(v.object({ columns: countSchema, rows: countSchema })),
});

export const copyHeaderSchema = v.object({
  promise: promiseIdSchema,
  container: containerNameSchema,
  direction: v.picklist(["in", "out"]),
  path: v.pipe(v.string(), v.minLength(1), v.maxLength(4_096)),
});

/** Of an archive; who has all of it says `done`. */
export const copyFrameSchema = v.variant("kind", [
  v.object({ kind: v.literal("started") }),
  v.object({ kind: v.literal("data"), data: bytesSchema }),
  v.object({ kind: v.literal("done") }),
  v.object({ kind: v.literal("problem"), problem: problemSchema }),
]);
