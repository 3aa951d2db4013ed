/** When a holder speaks of a promise, and what it says. */
import type { Instant } from "../machine.ts";
import type { PromiseId } from "../../model/ids.ts";
import type { ContainerReport, InstanceReport } from "../../model/promise.ts";
import { amend, amendPart, entryOf, phaseOf, runIdOf, type Instance } from "./instance.ts";
import type { BookEntry, BookView, ContainerEntry, ContainerView } from "./messages.ts";
import type { KeeperOptions } from "./options.ts";
import { partPhaseOf } from "./part.ts";

export function reportOf(entry: BookEntry): InstanceReport {
  const { containers, phase, ready, sinceMs } = entry;
  const isStopping = phase === "stopping";
  // How it ends is not news while it is being stopped: the report of the end brings it.
  const exitCode = isStopping ? undefined : entry.exitCode;
  const message = entry.message ?? troubleOf(entry);
  const imageDigest = containers[entry.terms.template.initContainers.length]?.imageDigest;
  return {
    promise: entry.terms.id,
    seq: entry.seq,
    phase,
    ready,
    restarts: containers.reduce((sum, { starts }) => sum + Math.max(0, starts - 1), 0),
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(message === undefined ? {} : { message }),
    sinceMs,
    ...(imageDigest === undefined ? {} : { imageDigest }),
    containers: isStopping || phase === "stopped" ? [] : containerReports(entry),
  };
}

function namesOf({ terms: { template } }: BookEntry): readonly string[] {
  return [...template.initContainers, ...template.containers].map(({ name }) => name);
}

function containerReports(entry: BookEntry): readonly ContainerReport[] {
  const names = namesOf(entry);
  return entry.containers.map((container, index) => ({
    name: names[index] ?? "",
    isInit: index < entry.terms.template.initContainers.length,
    phase: container.phase,
    ready: container.ready,
    restarts: Math.max(0, container.starts - 1),
    ...(container.exitCode === undefined ? {} : { exitCode: container.exitCode }),
    ...(container.oomKilled === undefined ? {} : { oomKilled: container.oomKilled }),
    ...(container.message === undefined ? {} : { message: container.message }),
    ...(container.imageDigest === undefined ? {} : { imageDigest: container.imageDigest }),
  }));
}

/** The first container that has something to say; named where there are several. */
function troubleOf(entry: BookEntry): string | undefined {
  const names = namesOf(entry);
  const isTold = ({ isDone, message }: ContainerEntry): boolean =>
    message !== undefined && (!isDone || entry.phase === "completed");
  const index = entry.containers.findIndex(isTold);
  const message = entry.containers[index]?.message;
  return message === undefined || names.length === 1 ? message : `${names[index]}: ${message}`;
}

/** Everything of a report but its number; equal contents need no new report. */
function contentOf(entry: BookEntry): string {
  return JSON.stringify({ ...reportOf(entry), seq: 0 });
}

/** Where a run has ended and the next one is not made yet, it is the one that ended: its logs are there. */
export function viewOf(instance: Instance): BookView {
  const { entry, parts } = instance;
  const { terms, cohort, desired, releaseReason } = entry;
  const containers = parts.map((part): ContainerView => {
    const { imageDigest } = entryOf(instance, part);
    const view = { name: part.name, isInit: part.isInit, id: runIdOf(instance, part) };
    return imageDigest === undefined ? view : { ...view, imageDigest };
  });
  const view = { terms, cohort, desired, containers, report: reportOf(entry) };
  return releaseReason === undefined ? view : { ...view, releaseReason };
}

/** An admission that was answered is as good as a report of what it says. */
export function noteReported(instance: Instance): void {
  instance.reported = contentOf(instance.entry);
}

/** Greater than any number a book counts up to: nothing is newer than that a promise is not here. */
const lastSeq = 2 ** 40;

/** Of a promise that the book does not hold, and will not. */
export function stoppedReport(promise: PromiseId, sinceMs: number): InstanceReport {
  return {
    promise,
    seq: lastSeq,
    phase: "stopped",
    ready: false,
    restarts: 0,
    message: "not in this node's book",
    sinceMs,
    containers: [],
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
  for (const part of instance.parts) {
    const entry = entryOf(instance, part);
    const partPhase = partPhaseOf(part, entry, phase);
    if (partPhase !== entry.phase) amendPart(instance, part, { phase: partPhase });
  }
  const ready = isReady(instance.entry);
  if (ready !== instance.entry.ready) amend(instance, { ready });
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

function isReady({ phase, containers, terms: { template } }: BookEntry): boolean {
  const own = containers.slice(template.initContainers.length);
  return phase === "running" && own.every(({ isDone, ready }) => isDone || ready);
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
