/** Membership's datagrams and full states as they come from peers. */
import * as v from "valibot";
import { countSchema, idSchema, millisSchema, nameSchema } from "./scalars.ts";

const addressSchema = v.pipe(v.string(), v.minLength(3), v.maxLength(280));
const statusSchema = v.picklist(["alive", "suspect", "dead", "left"]);

export const memberMetaSchema = v.object({
  zone: v.exactOptional(nameSchema),
  architecture: v.exactOptional(v.pipe(v.string(), v.maxLength(32))),
  labelsDigest: v.exactOptional(v.pipe(v.string(), v.maxLength(64))),
  version: v.exactOptional(v.pipe(v.string(), v.maxLength(64))),
  capacityCpuMillis: v.exactOptional(countSchema),
  capacityMemoryBytes: v.exactOptional(countSchema),
  freeCpuMillis: countSchema,
  freeMemoryBytes: countSchema,
  protocolVersions: v.tuple([countSchema, countSchema]),
});

export const memberRecordSchema = v.object({
  id: idSchema,
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(253)),
  addresses: v.pipe(v.array(addressSchema), v.minLength(1), v.maxLength(16)),
  incarnation: countSchema,
  status: statusSchema,
  meta: memberMetaSchema,
});

const updateSchema = v.variant("kind", [
  v.object({ kind: v.literal("alive"), record: memberRecordSchema }),
  v.object({
    kind: v.literal("suspect"),
    id: idSchema,
    incarnation: countSchema,
    accuser: idSchema,
    evidence: countSchema,
  }),
  v.object({
    kind: v.literal("dead"),
    id: idSchema,
    incarnation: countSchema,
    accuser: idSchema,
    evidence: countSchema,
  }),
  v.object({ kind: v.literal("left"), id: idSchema, incarnation: countSchema }),
]);

const senderSchema = v.object({ id: idSchema, address: addressSchema });
const envelope = { from: senderSchema, updates: v.pipe(v.array(updateSchema), v.maxLength(256)) };

export const membershipMessageSchema = v.variant("kind", [
  v.object({ ...envelope, kind: v.literal("ping"), target: idSchema, sequence: countSchema }),
  v.object({ ...envelope, kind: v.literal("ack"), sequence: countSchema }),
  v.object({ ...envelope, kind: v.literal("nack"), sequence: countSchema }),
  v.object({
    ...envelope,
    kind: v.literal("ping-req"),
    target: idSchema,
    targetAddress: addressSchema,
    sequence: countSchema,
    pingTimeoutMs: millisSchema,
  }),
  v.object({ ...envelope, kind: v.literal("gossip") }),
]);

export const fullStateSchema = v.object({
  from: senderSchema,
  members: v.pipe(
    v.array(
      v.object({
        record: memberRecordSchema,
        evidence: countSchema,
        goneForMs: v.pipe(v.number(), v.finite(), v.minValue(0)),
      }),
    ),
    v.maxLength(8_192),
  ),
});
