/** The next state while one command is applied to it. */
import type { HistoryEvent, HistoryKind } from "../../model/event.ts";
import type { NodeId, PromiseId } from "../../model/ids.ts";
import { deploymentName, type DeploymentSpec } from "../../model/spec.ts";
import {
  brokenMax,
  historyMax,
  isOccupying,
  requestsMax,
  type CohortState,
  type PromiseRecord,
  type RequestAnswer,
} from "./state.ts";

/** Characters of a cause: what holders report is bounded in the log as well. */
const causeMax = 1_000;

export interface Draft {
  readonly base: CohortState;
  readonly index: number;
  readonly atMs: number;
  readonly actor: NodeId | "user";
  status: CohortState["status"];
  spec: DeploymentSpec;
  templateHash: string;
  specVersion: number;
  charterVersion: number;
  voters: readonly NodeId[];
  steward: NodeId | undefined;
  stewardTerm: number;
  nextOrdinal: number;
  emptyOtherwise: number;
  unplaced: CohortState["unplaced"];
  readonly promises: Map<PromiseId, PromiseRecord>;
  readonly requests: Map<string, RequestAnswer>;
  readonly history: HistoryEvent[];
}

export function openDraft(
  base: CohortState,
  index: number,
  stamp: { readonly atMs: number; readonly actor: NodeId | "user" },
): Draft {
  return {
    base,
    index,
    atMs: stamp.atMs,
    actor: stamp.actor,
    status: base.status,
    spec: base.spec,
    templateHash: base.templateHash,
    specVersion: base.specVersion,
    charterVersion: base.charterVersion,
    voters: base.voters,
    steward: base.steward,
    stewardTerm: base.stewardTerm,
    nextOrdinal: base.nextOrdinal,
    emptyOtherwise: base.emptyOtherwise,
    unplaced: base.unplaced,
    promises: new Map(base.promises),
    requests: new Map(base.requests),
    history: [],
  };
}

/** Adds a line of history; `about` is the promise it tells of. */
export function note(
  draft: Draft,
  line: {
    readonly kind: HistoryKind;
    readonly cause: string;
    readonly node?: NodeId;
  },
  about?: PromiseRecord,
): void {
  const node = about?.node ?? line.node;
  draft.history.push({
    deployment: deploymentName(draft.spec),
    index: draft.index,
    epoch: draft.base.epoch,
    atMs: draft.atMs,
    kind: line.kind,
    actor: draft.actor,
    ...(node === undefined ? {} : { node }),
    ...(about === undefined ? {} : { replica: about.replica, promise: about.id }),
    cause: line.cause.slice(0, causeMax),
  });
}

/** The finished state, with everything bounded cut to its bound. */
export function closeDraft(draft: Draft): CohortState {
  dropOldest(draft.requests, draft.requests.size - requestsMax);
  const broken = [...draft.promises.values()].filter((promise) => !isOccupying(promise));
  for (const promise of broken.slice(0, Math.max(0, broken.length - brokenMax)))
    draft.promises.delete(promise.id);
  if (draft.status === "deleting" && !hasOccupied(draft)) draft.status = "deleted";
  const { base, history } = draft;
  return {
    group: base.group,
    deployment: base.deployment,
    epoch: base.epoch,
    founder: base.founder,
    index: draft.index,
    status: draft.status,
    spec: draft.spec,
    templateHash: draft.templateHash,
    specVersion: draft.specVersion,
    charterVersion: draft.charterVersion,
    voters: draft.voters,
    steward: draft.steward,
    stewardTerm: draft.stewardTerm,
    nextOrdinal: draft.nextOrdinal,
    emptyOtherwise: draft.emptyOtherwise,
    promises: draft.promises,
    templates: neededTemplates(draft),
    requests: draft.requests,
    unplaced: draft.unplaced,
    history: history.length === 0 ? base.history : [...base.history, ...history].slice(-historyMax),
    historyCount: base.historyCount + history.length,
  };
}

/** How many of the wanted slots have no promise for which `counts` holds. */
export function slotsWithout(draft: Draft, counts: (promise: PromiseRecord) => boolean): number {
  const slots = new Set<number>();
  for (const promise of draft.promises.values())
    if (promise.replica < draft.spec.replicas && counts(promise)) slots.add(promise.replica);
  return draft.spec.replicas - slots.size;
}

function hasOccupied(draft: Draft): boolean {
  for (const promise of draft.promises.values()) if (isOccupying(promise)) return true;
  return false;
}

function dropOldest(map: Map<string, unknown>, count: number): void {
  let left = count;
  for (const key of map.keys()) {
    if (left <= 0) return;
    map.delete(key);
    left -= 1;
  }
}

function neededTemplates(draft: Draft): CohortState["templates"] {
  const templates = new Map([[draft.templateHash, draft.spec.template]]);
  for (const promise of draft.promises.values()) {
    const template = draft.base.templates.get(promise.templateHash);
    if (isOccupying(promise) && template !== undefined && !templates.has(promise.templateHash))
      templates.set(promise.templateHash, template);
  }
  return templates;
}
