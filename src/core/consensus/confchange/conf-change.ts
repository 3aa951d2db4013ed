import type { MemberId } from "../entry.ts";

/** One step of a membership change. "update" changes nothing here: it carries news about a member. */
export interface MemberChange {
  readonly kind: "add-voter" | "add-learner" | "remove" | "update";
  readonly member: MemberId;
}

/**
 * A membership change as it stands in the log. One step with "auto" takes effect at once (thesis 4.1);
 * anything more goes through a joint configuration (Raft paper 6), which "auto" and "implicit" leave by
 * themselves and "explicit" keeps until an empty change is proposed. No steps: leave the joint
 * configuration.
 */
export interface ConfChange {
  readonly transition: "auto" | "implicit" | "explicit";
  readonly changes: readonly MemberChange[];
  /** Opaque to consensus; handed back when the change is applied. */
  readonly context: Uint8Array;
}

export const leaveJointChange: ConfChange = { transition: "auto", changes: [], context: new Uint8Array(0) };

/** How a change is carried out. */
export type ChangeProcedure =
  { kind: "simple" } | { kind: "leave-joint" } | { kind: "enter-joint"; autoLeave: boolean };

export function procedureOf(change: ConfChange): ChangeProcedure {
  if (change.transition === "auto" && change.changes.length === 0) return { kind: "leave-joint" };
  if (change.transition === "auto" && change.changes.length === 1) return { kind: "simple" };
  return { kind: "enter-joint", autoLeave: change.transition !== "explicit" };
}
