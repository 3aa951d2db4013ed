/** The one function that changes the replicated state: deterministic, total, never refusing an entry. */
import { unreachable } from "../../model/assert.ts";
import type { HistoryEvent } from "../../model/event.ts";
import { shortId, type NodeId } from "../../model/ids.ts";
import {
  applyAnswer,
  applyAward,
  applyBreak,
  applyRelease,
  applyReleased,
  applyReports,
} from "./apply-promises.ts";
import { applyRequest } from "./apply-request.ts";
import type { CohortCommand, StewardChange } from "./commands.ts";
import { closeDraft, note, openDraft, type Draft } from "./draft.ts";
import type { CohortState } from "./state.ts";

export interface Applied {
  readonly state: CohortState;
  /** The lines this entry added. */
  readonly history: readonly HistoryEvent[];
}

/** The state after `command` at `index`; an index that was applied already changes nothing. */
export function applyCommand(state: CohortState, command: CohortCommand, index: number): Applied {
  if (index <= state.index) return { state, history: [] };
  const draft = openDraft(state, index, command);
  switch (command.kind) {
    case "declare":
    case "scale":
    case "delete":
      applyRequest(draft, command.requestId, command);
      break;
    default:
      applySteward(draft, command);
  }
  return { state: closeDraft(draft), history: draft.history };
}

function applySteward(draft: Draft, change: StewardChange): void {
  switch (change.kind) {
    case "steward":
      if (change.term <= draft.stewardTerm) return;
      draft.steward = change.node;
      draft.stewardTerm = change.term;
      return note(draft, {
        kind: "steward",
        node: change.node,
        cause: `leads since term ${change.term}`,
      });
    case "award":
      return applyAward(draft, change);
    case "answer":
      return applyAnswer(draft, change);
    case "report":
      return applyReports(draft, change);
    case "break":
      return applyBreak(draft, change);
    case "release":
      return applyRelease(draft, change);
    case "released":
      return applyReleased(draft, change);
    case "unplaceable":
      return applyUnplaced(draft, change.key, change.reasons);
    case "placeable":
      return applyUnplaced(draft, "", []);
    case "voters-changed":
      return applyVoters(draft, change.voters);
    default:
      return unreachable(change);
  }
}

function applyUnplaced(draft: Draft, key: string, reasons: readonly string[]): void {
  if (draft.status !== "active" || draft.unplaced.key === key) return;
  draft.unplaced = { key, reasons: [...reasons] };
  if (reasons.length === 0) note(draft, { kind: "placeable", cause: "all replicas have a place" });
  else note(draft, { kind: "unplaceable", cause: reasons.join("; ") });
}

function applyVoters(draft: Draft, voters: readonly NodeId[]): void {
  const added = voters.filter((node) => !draft.voters.includes(node));
  const removed = draft.voters.filter((node) => !voters.includes(node));
  if (added.length === 0 && removed.length === 0) return;
  draft.voters = [...voters];
  draft.charterVersion += 1;
  for (const node of added)
    note(draft, {
      kind: "voter-added",
      node,
      cause: `${shortId(node)} votes, ${voters.length} voters`,
    });
  for (const node of removed)
    note(draft, {
      kind: "voter-removed",
      node,
      cause: `${shortId(node)} votes no more, ${voters.length} voters`,
    });
}
