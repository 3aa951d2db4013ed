/** A cohort machine's times, all in milliseconds. */
export interface CohortOptions {
  /** A call is closed after this long even when asked nodes are silent; doubles with each call in vain up to `callTimeoutMaxMs`. */
  readonly callTimeoutMs: number;
  readonly callTimeoutMaxMs: number;
  /** Pause after the first call in vain when some node was silent: nothing is said to be unplaceable yet. */
  readonly silenceRetryMs: number;
  /** Offers not taken serve as the next best for this long. */
  readonly offerFreshMs: number;
  /** An award or release without an answer is sent again. */
  readonly resendMs: number;
  /** A release that was accepted is looked after this often until its promise is stopped. */
  readonly releaseCheckMs: number;
  readonly inquiryResendMs: number;
  /** An award that stays unanswered this long by a live node is broken. */
  readonly awardTimeoutMs: number;
  /** First pause after a refused award or an unplaceable call; doubles to `backoffMaxMs`. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** Least time between calls that only changed hints cause. */
  readonly hintPauseMs: number;
  /** A holder that membership does not know at all is held for dead after this long. */
  readonly unknownGraceMs: number;
  /** A configuration change that shows no effect is proposed again. */
  readonly confChangeTimeoutMs: number;
  /** Pause after consensus refused a proposal. */
  readonly proposePauseMs: number;
  /** A deleted group stays this long, so that its members learn that it is deleted. */
  readonly lingerMs: number;
}

export const defaultCohortOptions: CohortOptions = {
  callTimeoutMs: 400,
  callTimeoutMaxMs: 3_200,
  silenceRetryMs: 100,
  offerFreshMs: 1_000,
  resendMs: 500,
  releaseCheckMs: 5_000,
  inquiryResendMs: 1_000,
  awardTimeoutMs: 15_000,
  backoffMinMs: 1_000,
  backoffMaxMs: 30_000,
  hintPauseMs: 1_000,
  unknownGraceMs: 30_000,
  confChangeTimeoutMs: 5_000,
  proposePauseMs: 100,
  lingerMs: 60_000,
};
