/** Settings of the keeper. All times are milliseconds. */
export interface KeeperOptions {
  /** Most steps of each kind under way at a time: fetching images, starting, stopping, hooks. Each kind has a bound of its own. */
  readonly stepsMax: number;
  /** Most probes under way at a time on the node. */
  readonly probesMax: number;
  /** Delay before the second restart in a row; it doubles from there. The first restart is immediate. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** An instance that ran this long starts over with an immediate restart. */
  readonly backoffResetMs: number;
  /** Least delay after a failure that trying again soon does not cure. */
  readonly permanentBackoffMs: number;
  /** Least time between the stop signal and SIGKILL, however much of the stop timeout a hook has used. */
  readonly stopGraceMs: number;
  /** After SIGKILL, how long the end may take before the container is removed all the same. */
  readonly killGraceMs: number;
  /** A start that takes no longer than this is not reported as `starting`. */
  readonly startingReportDelayMs: number;
  /** First wait before a report without an ack is sent again; it doubles from there. */
  readonly reportRetryMinMs: number;
  readonly reportRetryMaxMs: number;
  /** How often the keeper's picture is compared with the runtime's list. */
  readonly observeIntervalMs: number;
  /** A stopped promise that no steward acked leaves the book after this; its tombstone stays as long again. */
  readonly forgetAfterMs: number;
  /** Most tombstones kept; the oldest go first. */
  readonly tombstonesMax: number;
}

export const keeperDefaults: KeeperOptions = {
  stepsMax: 8,
  probesMax: 16,
  backoffMinMs: 1_000,
  backoffMaxMs: 60_000,
  backoffResetMs: 60_000,
  permanentBackoffMs: 30_000,
  stopGraceMs: 2_000,
  killGraceMs: 2_000,
  startingReportDelayMs: 250,
  reportRetryMinMs: 1_000,
  reportRetryMaxMs: 30_000,
  observeIntervalMs: 30_000,
  forgetAfterMs: 3_600_000,
  tombstonesMax: 4_096,
};
