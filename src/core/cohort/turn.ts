/** What the parts of a steward work with during one step. */
import type { NodeId } from "../../model/ids.ts";
import type { CohortRef } from "../../model/promise.ts";
import type { Instant } from "../machine.ts";
import type { StewardChange } from "./commands.ts";
import type { Fleet } from "./fleet.ts";
import type { CohortEffect } from "./messages.ts";
import type { CohortOptions } from "./options.ts";
import type { CohortState } from "./state.ts";

export interface Turn {
  readonly now: Instant;
  readonly state: CohortState;
  readonly fleet: Fleet;
  readonly cohort: CohortRef;
  readonly options: CohortOptions;
  /** Dead, or unknown to membership for too long. */
  readonly isLost: (node: NodeId) => boolean;
  readonly emit: (effect: CohortEffect) => void;
  readonly propose: (change: StewardChange) => void;
  /** A change of this kind is proposed and neither committed nor dropped. */
  readonly isInFlight: (kind: StewardChange["kind"]) => boolean;
}

/** The earlier of two deadlines. */
export function earlier(a: Instant | undefined, b: Instant | undefined): Instant | undefined {
  if (a === undefined) return b;
  return b === undefined ? a : Math.min(a, b);
}
