/** The replicated state as plain data (no Maps, nothing undefined), for snapshots. */
import type { NodeId } from "../../model/ids.ts";
import type { ReplicaTemplate } from "../../model/spec.ts";
import type { CohortState, PromiseRecord, RequestAnswer } from "./state.ts";

export interface EncodedState extends Omit<CohortState, "promises" | "templates" | "requests" | "steward"> {
  /** Of this shape; another number is another shape. */
  readonly format: 1;
  readonly steward: NodeId | null;
  readonly promises: readonly PromiseRecord[];
  readonly templates: readonly (readonly [string, ReplicaTemplate])[];
  readonly requests: readonly (readonly [string, RequestAnswer])[];
}

export function encodeState(state: CohortState): EncodedState {
  return {
    ...state,
    format: 1,
    steward: state.steward ?? null,
    promises: [...state.promises.values()],
    templates: [...state.templates],
    requests: [...state.requests],
  };
}

export function decodeState(encoded: EncodedState): CohortState {
  const { format: _format, steward, ...rest } = encoded;
  return {
    ...rest,
    steward: steward ?? undefined,
    promises: new Map(encoded.promises.map((promise) => [promise.id, promise] as const)),
    templates: new Map(encoded.templates),
    requests: new Map(encoded.requests),
  };
}
