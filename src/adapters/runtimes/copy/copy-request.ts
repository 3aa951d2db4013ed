/** What the copying child is told, and how it says that it failed. */
import * as v from "valibot";

export const copyRequestSchema = v.object({
  direction: v.picklist(["in", "out"]),
  /** The container's root directory, as the machine sees it. */
  root: v.string(),
  /** Absolute, inside. */
  path: v.string(),
  /** The machine's id of the container's root: not 0 in a user namespace. */
  ownerBase: v.number(),
});

export type CopyRequest = v.InferOutput<typeof copyRequestSchema>;

/** The one line that the child writes to its standard error. */
export const copyFailureSchema = v.object({
  /** Whether the caller named something that is not there or does not fit. */
  isBadPath: v.boolean(),
  detail: v.string(),
});

export type CopyFailure = v.InferOutput<typeof copyFailureSchema>;

/** Thrown in the child: the path is the caller's to mend. */
export class PathRefusal extends Error {
  override readonly name = "PathRefusal";
}
