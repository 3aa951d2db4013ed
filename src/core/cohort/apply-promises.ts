/** What became of promises, applied to the replicated state. */
import type { HistoryKind } from "../../model/event.ts";
import type { NodeId } from "../../model/ids.ts";
import type { InstancePhase, InstanceReport } from "../../model/promise.ts";
import { unreachable } from "../../model/assert.ts";
import type { StewardChange } from "./commands.ts";
import { note, slotsWithout, type Draft } from "./draft.ts";
import { isOccupying, isServing, type PromiseRecord } from "./state.ts";

type Change<Kind extends StewardChange["kind"]> = Extract<StewardChange, { readonly kind: Kind }>;

export function applyAward(draft: Draft, change: Change<"award">): void {
  if (draft.status !== "active" || change.templateHash !== draft.templateHash) return;
  const occupied = new Set<number>();
  for (const promise of draft.promises.values()) if (isOccupying(promise)) occupied.add(promise.replica);
  for (const { replica, node } of change.awards) {
    if (replica >= draft.spec.replicas || occupied.has(replica)) continue;
    occupied.add(replica);
    const promise: PromiseRecord = {
      id: `${draft.base.group}/${draft.nextOrdinal}`,
      replica,
      node,
      templateHash: change.templateHash,
      stage: "awarded",
      phase: "admitted",
      ready: false,
      seq: 0,
      restarts: 0,
      sinceMs: draft.atMs,
      containers: [],
    };
    draft.nextOrdinal += 1;
    draft.promises.set(promise.id, promise);
    note(draft, { kind: "awarded", cause: change.reason }, promise);
  }
  // A slot that is releasing counts as empty: its place may just have been given to another slot.
  draft.emptyOtherwise = Math.min(draft.emptyOtherwise, slotsWithout(draft, isServing));
}

export function applyAnswer(draft: Draft, change: Change<"answer">): void {
  for (const id of change.promised) {
    const promise = draft.promises.get(id);
    if (promise?.stage === "awarded") promised(draft, promise);
  }
  for (const { promise: id, refusal } of change.refused) {
    const promise = draft.promises.get(id);
    // A promised one was admitted: the refusal is older, or belongs to a repeated award.
    if (promise === undefined || promise.stage === "promised") continue;
    draft.promises.delete(id);
    if (promise.stage === "awarded") {
      if (promise.replica < draft.spec.replicas) draft.emptyOtherwise += 1;
      note(draft, { kind: "refused", cause: refusal.detail }, promise);
    } else note(draft, { kind: "released", cause: "the node never promised it" }, promise);
  }
}

export function applyReports(draft: Draft, change: Change<"report">): void {
  for (const { node, reports } of change.batches)
    for (const report of reports) applyReport(draft, node, report);
}

function applyReport(draft: Draft, node: NodeId, report: InstanceReport): void {
  const found = draft.promises.get(report.promise);
  if (found === undefined || found.node !== node || report.seq <= found.seq) return;
  const promise = found.stage === "awarded" ? promised(draft, found) : found;
  if (report.phase === "stopped") {
    draft.promises.delete(promise.id);
    const cause = report.message ?? "nothing of it is left on the node";
    const kind = promise.stage === "promised" ? "broken" : "released";
    if (kind === "broken" && promise.replica < draft.spec.replicas) draft.emptyOtherwise += 1;
    note(draft, { kind, cause }, promise);
    return;
  }
  if (promise.stage !== "promised") {
    draft.promises.set(promise.id, { ...promise, seq: report.seq });
    return;
  }
  const { exitCode: _exitCode, message: _message, imageDigest: _digest, ...rest } = promise;
  draft.promises.set(promise.id, {
    ...rest,
    phase: report.phase,
    ready: report.ready,
    seq: report.seq,
    restarts: report.restarts,
    sinceMs: report.sinceMs,
    containers: report.containers,
    ...(report.exitCode === undefined ? {} : { exitCode: report.exitCode }),
    ...(report.message === undefined ? {} : { message: report.message }),
    ...(report.imageDigest === undefined ? {} : { imageDigest: report.imageDigest }),
  });
  const kind = historyKindOf(report.phase);
  const isNews = report.phase !== promise.phase || report.restarts !== promise.restarts;
  if (kind !== undefined && isNews) note(draft, { kind, cause: report.message ?? causeOf(report) }, promise);
  noteReadiness(draft, promise, report);
}

/** That a replica without probes is ready the moment it runs is not worth a line. */
function noteReadiness(draft: Draft, promise: PromiseRecord, report: InstanceReport): void {
  const wasRunning = promise.phase === "running";
  if (report.phase !== "running" || report.ready === (wasRunning ? promise.ready : true)) return;
  if (report.ready) note(draft, { kind: "ready", cause: "its containers are well" }, promise);
  else note(draft, { kind: "unready", cause: report.message ?? "its probes have not answered yet" }, promise);
}

function causeOf(report: InstanceReport): string {
  if (report.exitCode !== undefined && report.phase !== "running") return `ended with ${report.exitCode}`;
  return report.restarts === 0 ? "reported" : `restart ${report.restarts}`;
}

function historyKindOf(phase: InstancePhase): HistoryKind | undefined {
  switch (phase) {
    case "starting":
    case "running":
    case "backoff":
    case "completed":
      return phase;
    case "admitted":
    case "stopping":
    case "stopped":
      return undefined;
    default:
      return unreachable(phase);
  }
}

export function applyBreak(draft: Draft, change: Change<"break">): void {
  for (const id of change.promises) {
    const promise = draft.promises.get(id);
    if (promise === undefined || promise.stage === "broken") continue;
    if (promise.replica < draft.spec.replicas) draft.emptyOtherwise += 1;
    // Moved to the end: the oldest broken ones are dropped first.
    draft.promises.delete(id);
    draft.promises.set(id, {
      ...promise,
      stage: "broken",
      sinceMs: draft.atMs,
    });
    note(draft, { kind: "broken", cause: change.reason }, promise);
  }
}

export function applyRelease(draft: Draft, change: Change<"release">): void {
  for (const id of change.promises) {
    const promise = draft.promises.get(id);
    if (promise === undefined || !isServing(promise)) continue;
    draft.promises.set(id, {
      ...promise,
      stage: "releasing",
      sinceMs: draft.atMs,
    });
    note(draft, { kind: "releasing", cause: change.reason }, promise);
  }
}

/** Only what is not wanted can be released: a serving promise must be broken or released first. */
export function applyReleased(draft: Draft, change: Change<"released">): void {
  for (const id of change.promises) {
    const promise = draft.promises.get(id);
    if (promise === undefined || isServing(promise)) continue;
    draft.promises.delete(id);
    note(draft, { kind: "released", cause: change.reason }, promise);
  }
}

function promised(draft: Draft, promise: PromiseRecord): PromiseRecord {
  const kept: PromiseRecord = {
    ...promise,
    stage: "promised",
    sinceMs: draft.atMs,
  };
  draft.promises.set(promise.id, kept);
  note(draft, { kind: "promised", cause: "admitted by the node" }, kept);
  return kept;
}
