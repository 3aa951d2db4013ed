/**
 * What stands in a cohort's log. Every change of the replicated state is one of these; each is
 * validated when it is applied, so a repeated, late or contradicting one changes nothing.
 * All are plain data without Maps, undefined values or class instances: any codec can carry them.
 */
import type { NodeId, PromiseId } from "../../model/ids.ts";
import type { Refusal } from "../../model/placement.ts";
import type { InstanceReport } from "../../model/promise.ts";
import type { DeploymentSpec } from "../../model/spec.ts";

/** On every command. */
export interface CommandStamp {
  /** Wall clock of the proposer, milliseconds since 1970. */
  readonly atMs: number;
  /** Who wants it: the proposing steward, or "user" for declare, scale and delete. */
  readonly actor: NodeId | "user";
  /** Counts the proposals of one steward in one term: how the proposer knows its own entry again. */
  readonly proposal: number;
}

/** What a user may ask of a deployment that exists. */
export type UserChange =
  | {
      readonly kind: "declare";
      readonly spec: DeploymentSpec;
      readonly templateHash: string;
      /** Refuse with `already-exists` instead of updating. */
      readonly createOnly: boolean;
    }
  | { readonly kind: "scale"; readonly replicas: number }
  | { readonly kind: "delete" };

export type StewardChange =
  /** The first entry of a new steward; it acts only once this is committed. */
  | { readonly kind: "steward"; readonly node: NodeId; readonly term: number }
  /**
   * New promises; their ids are given when the entry is applied. Each is void when its slot is
   * occupied, out of range, or the template is no longer the wanted one.
   */
  | {
      readonly kind: "award";
      readonly templateHash: string;
      readonly awards: readonly {
        readonly replica: number;
        readonly node: NodeId;
      }[];
      readonly reason: string;
    }
  /** What nodes said to awards. */
  | {
      readonly kind: "answer";
      readonly promised: readonly PromiseId[];
      readonly refused: readonly {
        readonly promise: PromiseId;
        readonly refusal: Refusal;
      }[];
    }
  /** What holders said about their instances. */
  | {
      readonly kind: "report";
      readonly batches: readonly {
        readonly node: NodeId;
        readonly reports: readonly InstanceReport[];
      }[];
    }
  /** These promises will not be kept: their slots are free at once. */
  | {
      readonly kind: "break";
      readonly promises: readonly PromiseId[];
      readonly reason: string;
    }
  /** These promises are no longer wanted: their slots stay occupied until nothing of them is left. */
  | {
      readonly kind: "release";
      readonly promises: readonly PromiseId[];
      readonly reason: string;
    }
  /** Nothing of these is left on their nodes. */
  | {
      readonly kind: "released";
      readonly promises: readonly PromiseId[];
      readonly reason: string;
    }
  /** Why slots stay empty; `key` names the set of reasons without their numbers. */
  | {
      readonly kind: "unplaceable";
      readonly key: string;
      readonly reasons: readonly string[];
    }
  | { readonly kind: "placeable" }
  /** The consensus group has these voters now. */
  | { readonly kind: "voters-changed"; readonly voters: readonly NodeId[] };

export type CohortCommand =
  (UserChange & { readonly requestId: string } & CommandStamp) | (StewardChange & CommandStamp);
