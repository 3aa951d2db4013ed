/** What goes into a cohort machine and what comes out of it. */
import type { Charter } from "../../model/charter.ts";
import type { HistoryEvent } from "../../model/event.ts";
import type { NodeId, PromiseId } from "../../model/ids.ts";
import type { Outcome } from "../../model/outcome.ts";
import type { CallAnswer, PlacementRequest, Refusal } from "../../model/placement.ts";
import type { Problem } from "../../model/problem.ts";
import type { CohortRef, InstanceReport, PromiseTerms } from "../../model/promise.ts";
import type { Resources } from "../../model/spec.ts";
import type { CohortCommand, UserChange } from "./commands.ts";
import type { CohortState, WriteReceipt } from "./state.ts";

/** A member as reasons name it. */
export interface NamedNode {
  readonly id: NodeId;
  readonly name: string;
}

/** A member that may be asked to volunteer. */
export interface Candidate extends NamedNode {
  /** As last gossiped: a hint, never the truth. */
  readonly free: Resources;
  readonly zone?: string;
}

/** What one node said to one award. */
export interface AwardResult {
  readonly promise: PromiseId;
  /** Undefined: promised, durable in the node's book. */
  readonly refusal?: Refusal;
}

export type CohortInput =
  /** From consensus: who leads in this term. `steward` is this node or another or not known. */
  | {
      readonly kind: "role";
      readonly role: "steward" | "follower";
      readonly steward?: NodeId;
      readonly term: number;
    }
  /** One committed log entry, in index order. An entry at or below the state's index is ignored. */
  | {
      readonly kind: "committed";
      readonly index: number;
      readonly term: number;
      readonly command: CohortCommand;
    }
  /** A snapshot replaced the state. */
  | { readonly kind: "restored"; readonly state: CohortState }
  /** The consensus group's membership as applied; `joint` while a change is half done. */
  | {
      readonly kind: "config";
      readonly voters: readonly NodeId[];
      readonly learners: readonly NodeId[];
      readonly joint: boolean;
    }
  /** Answered by exactly one `reply` effect with this request id, unless the same id is asked again meanwhile: then one for both. */
  | {
      readonly kind: "request";
      readonly requestId: string;
      readonly change: UserChange;
    }
  /** Every call is answered: the driver makes a refusal `unreachable` of a failed connection. */
  | {
      readonly kind: "call-answer";
      readonly callId: number;
      readonly node: NodeId;
      readonly answer: CallAnswer;
    }
  /** Only real answers; of a failed connection nothing is said and the award is sent again. */
  | {
      readonly kind: "award-answer";
      readonly node: NodeId;
      readonly results: readonly AwardResult[];
    }
  /** From a holder; `inquiry` when this is its complete answer to that inquiry: all it has in its book for this group. */
  | {
      readonly kind: "report";
      readonly node: NodeId;
      readonly reports: readonly InstanceReport[];
      readonly inquiry?: number;
    }
  /** `accepted` will be stopped (a report `stopped` follows); of `unknown` the node has nothing. */
  | {
      readonly kind: "release-answer";
      readonly node: NodeId;
      readonly accepted: readonly PromiseId[];
      readonly unknown: readonly PromiseId[];
    }
  /** The fleet as membership sees it, whole, whenever it changed. Left members count as dead. This node itself is among the alive. */
  | {
      readonly kind: "members";
      readonly alive: readonly Candidate[];
      readonly suspect: readonly NamedNode[];
      readonly dead: readonly NamedNode[];
    }
  /** Whether a learner's log is close enough to the leader's to make it a voter; when it changes. */
  | {
      readonly kind: "peer-progress";
      readonly node: NodeId;
      readonly caughtUp: boolean;
    }
  /** A proposal or configuration change that consensus did not take. */
  | {
      readonly kind: "dropped";
      readonly proposal: number;
      readonly reason: string;
    }
  /** Milliseconds to add to an Instant to get the wall clock; when it changed by more than a little. */
  | { readonly kind: "wall-clock"; readonly offsetMs: number }
  | { readonly kind: "timeout" };

/** One change of the consensus group, done jointly when it has more than one part. */
export interface VoterChange {
  readonly addLearners: readonly NodeId[];
  /** Learners that become voters. */
  readonly promote: readonly NodeId[];
  /** Voters or learners that leave the group. */
  readonly remove: readonly NodeId[];
}

export type CohortEffect =
  | {
      readonly kind: "propose";
      readonly proposal: number;
      readonly command: CohortCommand;
    }
  | {
      readonly kind: "propose-conf-change";
      readonly proposal: number;
      readonly change: VoterChange;
    }
  | {
      readonly kind: "call";
      readonly callId: number;
      readonly to: NodeId;
      readonly request: PlacementRequest;
    }
  /** All awards of one node together. Sent again until answered; admitting is idempotent by promise id. */
  | {
      readonly kind: "award";
      readonly to: NodeId;
      readonly promises: readonly PromiseTerms[];
      readonly cohort: CohortRef;
    }
  | {
      readonly kind: "release";
      readonly to: NodeId;
      readonly promises: readonly PromiseId[];
      readonly reason: string;
      readonly cohort: CohortRef;
    }
  /** Ask a holder for all it has for this group; it keeps `cohort` as whom to report to. */
  | {
      readonly kind: "inquire";
      readonly to: NodeId;
      readonly inquiry: number;
      readonly cohort: CohortRef;
    }
  /**
   * `acked` reports are in the log and need not be repeated. `unknown` promises are not this
   * cohort's any more: the holder releases them.
   */
  | {
      readonly kind: "ack-report";
      readonly to: NodeId;
      readonly acked: readonly {
        readonly promise: PromiseId;
        readonly seq: number;
      }[];
      readonly unknown: readonly PromiseId[];
      readonly cohort: CohortRef;
    }
  | {
      readonly kind: "reply";
      readonly requestId: string;
      readonly outcome: Outcome<WriteReceipt, Problem>;
    }
  /** Steward only; to be put at the guardians, and kept at until it is there. */
  | { readonly kind: "publish-charter"; readonly charter: Charter }
  /** On every member, once for each line of history, as entries are applied. */
  | { readonly kind: "event"; readonly event: HistoryEvent }
  /** The deployment is deleted and nobody needs this group any more: drop it. */
  | { readonly kind: "retire" };

export type { WriteReceipt } from "./state.ts";
