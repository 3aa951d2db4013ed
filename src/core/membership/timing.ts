/**
 * The protocol's formulas, as plain functions. They agree with hashicorp/memberlist's, whose
 * published test values are this file's tests.
 */

/** Shortest suspicion for a fleet of n: mult * max(1, log10(n)) * interval, in milliseconds (Lifeguard 4.2). */
export function suspicionTimeoutMs(mult: number, n: number, intervalMs: number): number {
  return Math.floor(mult * Math.max(1, Math.log10(Math.max(1, n))) * intervalMs);
}

/** A suspicion's two ends and how many confirmations lead from the longer to the shorter. */
export interface SuspicionSpan {
  readonly minMs: number;
  readonly maxMs: number;
  /** 0 when the fleet is too small to confirm; the suspicion then lasts minMs. */
  readonly confirmationsWanted: number;
}

/**
 * How long a suspicion lasts in all after `confirmations` independent ones: from max to min with the
 * logarithm of the count (Lifeguard 4.2).
 */
export function suspicionDurationMs(span: SuspicionSpan, confirmations: number): number {
  if (span.confirmationsWanted < 1) return span.minMs;
  const share = Math.log(confirmations + 1) / Math.log(span.confirmationsWanted + 1);
  return Math.max(span.minMs, Math.floor(span.maxMs - share * (span.maxMs - span.minMs)));
}

/** What is left of a suspicion; negative when it should have ended before. */
export function remainingSuspicionMs(span: SuspicionSpan, confirmations: number, elapsedMs: number): number {
  return suspicionDurationMs(span, confirmations) - elapsedMs;
}

/** How often one piece of news is sent in a fleet of n: mult * ceil(log10(n + 1)). */
export function retransmitLimit(mult: number, n: number): number {
  return mult * Math.ceil(Math.log10(n + 1));
}

/** Fleets up to this size exchange full state at the plain interval. */
const PUSH_PULL_SCALE_MEMBERS = 32;

/** Full state grows with n, so the interval gets one step longer for each doubling past 32 members. */
export function pushPullIntervalMs(intervalMs: number, n: number): number {
  if (n <= PUSH_PULL_SCALE_MEMBERS) return intervalMs;
  return intervalMs * (Math.ceil(Math.log2(n) - Math.log2(PUSH_PULL_SCALE_MEMBERS)) + 1);
}
