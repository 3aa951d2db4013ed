/** When a holder speaks of a promise, and what it says. */
import type { Instant } from "../machine.ts";
import type { PromiseId } from "../../model/ids.ts";
import type { InstanceReport } from "../../model/promise.ts";
import { amend, contentOf, phaseOf, reportedExitCode, type Instance } from "./instance.ts";
import type { BookEntry, BookView } from "./messages.ts";
import type { KeeperOptions } from "./options.ts";

export function reportOf(entry: BookEntry): InstanceReport {
  const { message, imageDigest } = entry;
  const exitCode = reportedExitCode(entry);
  return {
    promise: entry.terms.id,
    seq: entry.seq,
    phase: entry.phase,
    restarts: Math.max(0, entry.starts - 1),
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(message === undefined ? {} : { message }),
    sinceMs: entry.sinceMs,
    ...(imageDigest === undefined ? {} : { imageDigest }),
  };
}

export function viewOf(entry: BookEntry): BookView {
  const { terms, cohort, desired, attempt, releaseReason } = entry;
  const view = { terms, cohort, desired, attempt, report: reportOf(entry) };
  return releaseReason === undefined ? view : { ...view, releaseReason };
}

/** Greater than any number a book counts up to: nothing is newer than that a promise is not here. */
const lastSeq = 2 ** 40;

/** Of a promise that the book does not hold, and will not. */
export function stoppedReport(promise: PromiseId, sinceMs: number): InstanceReport {
  return {
    promise,
    seq: lastSeq,
    phase: "stopped",
    restarts: 0,
    message: "not in this node's book",
    sinceMs,
  };
}

/** Everything is reported again, until it is acked. */
export function resend(instance: Instance, now: Instant): void {
  instance.ackedSeq = -1;
  instance.resendAt = now;
  instance.resendDelayMs = 0;
}

/**
 * Brings the entry's phase up to date and makes a new report of news. A start is news only once it
 * takes long, because most are over before anybody could read it.
 */
export function noteNews(instance: Instance, now: Instant, wallMs: number, options: KeeperOptions): void {
  const phase = phaseOf(instance);
  if (phase !== instance.entry.phase) amend(instance, { phase, sinceMs: wallMs });
  // Most passes change nothing, and entries are replaced when they change.
  if (instance.entry === instance.reportedEntry) return;
  const content = contentOf(instance.entry);
  if (content === instance.reported) {
    instance.reportedEntry = instance.entry;
    instance.startingReportAt = undefined;
    return;
  }
  if (phase === "starting") {
    instance.startingReportAt ??= now + options.startingReportDelayMs;
    // A report that is due anyway says how things are, under a number of its own.
    if (now < instance.startingReportAt && !isReportDue(instance, now)) return;
  }
  instance.startingReportAt = undefined;
  instance.reported = content;
  amend(instance, { seq: instance.entry.seq + 1 });
  instance.reportedEntry = instance.entry;
  instance.isDirty = true;
  instance.resendAt = now;
  instance.resendDelayMs = 0;
}

function isReportDue({ ackedSeq, entry, resendAt }: Instance, now: Instant): boolean {
  return ackedSeq < entry.seq && resendAt !== undefined && now >= resendAt;
}

/** The report to send now, if any; without an ack it is due again, later each time. */
export function takeDueReport(
  instance: Instance,
  now: Instant,
  options: KeeperOptions,
): InstanceReport | undefined {
  if (instance.ackedSeq >= instance.entry.seq) instance.resendAt = undefined;
  if (!isReportDue(instance, now)) return undefined;
  const { reportRetryMinMs, reportRetryMaxMs } = options;
  const delayMs = Math.min(reportRetryMaxMs, Math.max(reportRetryMinMs, instance.resendDelayMs * 2));
  instance.resendDelayMs = delayMs;
  instance.resendAt = now + delayMs;
  return reportOf(instance.entry);
}
