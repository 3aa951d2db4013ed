/** Consensus messages between members of a group, and the form of entries on disk. */
import * as v from "valibot";
import { bytesSchema, countSchema, groupIdSchema, idSchema } from "./scalars.ts";

const membersSchema = v.pipe(v.array(idSchema), v.maxLength(64));

const confChangeSchema = v.object({
  transition: v.picklist(["auto", "implicit", "explicit"]),
  changes: v.pipe(
    v.array(
      v.object({ kind: v.picklist(["add-voter", "add-learner", "remove", "update"]), member: idSchema }),
    ),
    v.maxLength(64),
  ),
  context: bytesSchema,
});

export const entrySchema = v.variant("kind", [
  v.object({ kind: v.literal("normal"), term: countSchema, index: countSchema, data: bytesSchema }),
  v.object({
    kind: v.literal("conf-change"),
    term: countSchema,
    index: countSchema,
    change: confChangeSchema,
  }),
]);

const confStateSchema = v.object({
  voters: membersSchema,
  votersOutgoing: membersSchema,
  learners: membersSchema,
  learnersNext: membersSchema,
  autoLeave: v.boolean(),
});

export const snapshotSchema = v.object({
  index: countSchema,
  term: countSchema,
  conf: confStateSchema,
  data: bytesSchema,
});

export const hardStateSchema = v.object({
  term: countSchema,
  vote: v.optional(idSchema),
  commit: countSchema,
});

const envelope = { from: idSchema, to: idSchema, term: countSchema };

export const messageSchema = v.variant("kind", [
  v.object({
    ...envelope,
    kind: v.picklist(["vote", "pre-vote"]),
    lastIndex: countSchema,
    lastTerm: countSchema,
    reason: v.picklist(["timeout", "transfer", "leader-dead"]),
  }),
  v.object({
    ...envelope,
    kind: v.picklist(["vote-response", "pre-vote-response"]),
    rejected: v.boolean(),
    commit: countSchema,
    commitTerm: countSchema,
  }),
  v.object({
    ...envelope,
    kind: v.literal("append"),
    prevIndex: countSchema,
    prevTerm: countSchema,
    entries: v.array(entrySchema),
    commit: countSchema,
  }),
  v.object({
    ...envelope,
    kind: v.literal("append-response"),
    index: countSchema,
    rejected: v.boolean(),
    hintIndex: countSchema,
    hintTerm: countSchema,
  }),
  v.object({ ...envelope, kind: v.literal("heartbeat"), commit: countSchema, readSequence: countSchema }),
  v.object({ ...envelope, kind: v.literal("heartbeat-response"), readSequence: countSchema }),
  v.object({ ...envelope, kind: v.literal("snapshot"), snapshot: snapshotSchema }),
  v.object({ ...envelope, kind: v.literal("timeout-now") }),
]);

/** One post on the consensus channel: messages of one group. */
export const groupMessagesSchema = v.object({
  group: groupIdSchema,
  messages: v.pipe(v.array(messageSchema), v.maxLength(1_024)),
});

/** One post on the beats channel: heartbeats and answers of any number of groups; who sent them says the connection. */
export const beatsSchema = v.object({
  /** Group, term, commit, read sequence. */
  beats: v.pipe(v.array(v.tuple([groupIdSchema, countSchema, countSchema, countSchema])), v.maxLength(1_024)),
  /** Group, term, read sequence. */
  answers: v.pipe(v.array(v.tuple([groupIdSchema, countSchema, countSchema])), v.maxLength(1_024)),
});
