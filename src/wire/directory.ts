/** Directory messages and records, from peers and from disk. */
import * as v from "valibot";
import { charterSchema } from "./nouns.ts";
import { countSchema, idSchema, nameSchema } from "./scalars.ts";

const kindSchema = v.picklist(["charter", "index"]);
const refSchema = v.object({ kind: kindSchema, key: idSchema });

export const recordSchema = v.variant("kind", [
  v.object({ kind: v.literal("charter"), key: idSchema, charter: charterSchema }),
  v.object({
    kind: v.literal("index"),
    key: idSchema,
    entries: v.pipe(
      v.array(
        v.object({
          name: nameSchema,
          id: idSchema,
          epoch: countSchema,
          version: countSchema,
          lineage: v.pipe(v.string(), v.maxLength(32)),
          isPresent: v.boolean(),
        }),
      ),
      v.maxLength(10_000),
    ),
  }),
]);

const copySchema = v.object({
  record: recordSchema,
  gone: v.array(
    v.object({ name: v.pipe(v.string(), v.maxLength(63)), forMs: v.pipe(v.number(), v.finite()) }),
  ),
});
const digestSchema = v.object({ kind: kindSchema, key: idSchema, hash: v.pipe(v.string(), v.maxLength(64)) });
const refTextSchema = v.pipe(v.string(), v.maxLength(64));
const listMax = 1_024;

export const directoryMessageSchema = v.variant("kind", [
  v.object({
    kind: v.literal("store"),
    sequence: countSchema,
    copies: v.pipe(v.array(copySchema), v.maxLength(listMax)),
  }),
  v.object({
    kind: v.literal("stored"),
    sequence: countSchema,
    digests: v.pipe(v.array(digestSchema), v.maxLength(listMax)),
    newer: v.pipe(v.array(copySchema), v.maxLength(listMax)),
  }),
  v.object({ kind: v.literal("fetch"), sequence: countSchema, ref: refSchema }),
  v.object({ kind: v.literal("found"), sequence: countSchema, copy: v.optional(copySchema) }),
  v.object({
    kind: v.literal("compare"),
    digests: v.pipe(v.array(digestSchema), v.maxLength(listMax)),
    range: v.optional(v.object({ after: refTextSchema, through: refTextSchema })),
  }),
  v.object({
    kind: v.literal("compared"),
    same: v.pipe(v.array(digestSchema), v.maxLength(listMax)),
    wanted: v.pipe(v.array(refSchema), v.maxLength(listMax)),
    copies: v.pipe(v.array(copySchema), v.maxLength(listMax)),
  }),
]);
