/**
 * Holders' reports on their way into the log: one batch in flight, everything that comes meanwhile
 * merged to the newest word on each promise. A report is acknowledged once it is in the log, or at
 * once when it tells nothing the log needs.
 */
import type { NodeId, PromiseId } from "../../model/ids.ts";
import type { InstanceReport } from "../../model/promise.ts";
import type { CohortState, PromiseRecord } from "./state.ts";
import type { Turn } from "./turn.ts";

type Batches = readonly {
  readonly node: NodeId;
  readonly reports: readonly InstanceReport[];
}[];

export class ReportDesk {
  readonly #waiting = new Map<NodeId, Map<PromiseId, InstanceReport>>();
  readonly #inFlight = new Set<PromiseId>();
  /** The greatest number heard of each promise: a late report is not news, though the log knows of an earlier one. */
  readonly #heard = new Map<PromiseId, number>();

  receive(turn: Turn, node: NodeId, reports: readonly InstanceReport[]): void {
    const acked: { promise: PromiseId; seq: number }[] = [];
    const unknown: PromiseId[] = [];
    this.#forgetGone(turn.state);
    for (const report of reports) {
      const promise = ownOf(turn.state, node, report.promise);
      if (promise === undefined && report.phase !== "stopped") unknown.push(report.promise);
      else if (
        promise !== undefined &&
        this.#isNewest(report) &&
        (this.#isUnderWay(node, promise.id) || isForTheLog(promise, report))
      )
        this.#merge(node, report);
      else acked.push({ promise: report.promise, seq: report.seq });
    }
    if (acked.length > 0 || unknown.length > 0)
      turn.emit({
        kind: "ack-report",
        to: node,
        acked,
        unknown,
        cohort: turn.cohort,
      });
  }

  advance(turn: Turn): void {
    if (this.#waiting.size === 0 || turn.isInFlight("report")) return;
    const isNew = ({ promise, seq }: InstanceReport): boolean =>
      seq > (turn.state.promises.get(promise)?.seq ?? seq);
    const batches = [...this.#waiting]
      .map(([node, reports]) => ({ node, reports: [...reports.values()].filter(isNew) }))
      .filter(({ reports }) => reports.length > 0);
    this.#waiting.clear();
    if (batches.length === 0) return;
    for (const { reports } of batches) for (const { promise } of reports) this.#inFlight.add(promise);
    turn.propose({ kind: "report", batches });
  }

  committed(turn: Turn, batches: Batches): void {
    this.#inFlight.clear();
    for (const { node, reports } of batches)
      turn.emit({
        kind: "ack-report",
        to: node,
        acked: reports.map(({ promise, seq }) => ({ promise, seq })),
        unknown: [],
        cohort: turn.cohort,
      });
  }

  dropped(batches: Batches): void {
    this.#inFlight.clear();
    for (const { node, reports } of batches) for (const report of reports) this.#merge(node, report);
  }

  /** What is on its way into the log would be the last word there, were a later report not to follow it. */
  #isUnderWay(node: NodeId, promise: PromiseId): boolean {
    return this.#inFlight.has(promise) || (this.#waiting.get(node)?.has(promise) ?? false);
  }

  #isNewest({ promise, seq }: InstanceReport): boolean {
    const heard = this.#heard.get(promise) ?? 0;
    this.#heard.set(promise, Math.max(heard, seq));
    return seq >= heard;
  }

  #forgetGone(state: CohortState): void {
    if (this.#heard.size < 2 * state.promises.size + 100) return;
    for (const id of this.#heard.keys()) if (!state.promises.has(id)) this.#heard.delete(id);
  }

  #merge(node: NodeId, report: InstanceReport): void {
    const ofNode = this.#waiting.get(node) ?? new Map();
    this.#waiting.set(node, ofNode);
    const earlier = ofNode.get(report.promise);
    if (earlier === undefined || earlier.seq < report.seq) ofNode.set(report.promise, report);
  }
}

function ownOf(state: CohortState, node: NodeId, id: PromiseId): PromiseRecord | undefined {
  const promise = state.promises.get(id);
  return promise?.node === node ? promise : undefined;
}

/** Progress within a phase is not: the log is history, not telemetry. */
function isForTheLog(promise: PromiseRecord, report: InstanceReport): boolean {
  if (report.seq <= promise.seq) return false;
  if (report.phase === "stopped" || promise.stage === "awarded") return true;
  if (promise.stage !== "promised") return false;
  const isSame = report.phase === promise.phase && report.ready === promise.ready;
  return !isSame || report.restarts !== promise.restarts;
}
