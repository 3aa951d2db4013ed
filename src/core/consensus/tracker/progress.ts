import { Inflights } from "./inflights.ts";

/**
 * How a leader feeds one follower. "probe": one message at a time until the logs are known to meet;
 * "replicate": a pipeline of appends; "snapshot": nothing, until the follower has digested a snapshot.
 */
export type ProgressMode = "probe" | "replicate" | "snapshot";

/** Limits on the appends in flight to one follower. */
export interface FlowLimits {
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
}

/** What a leader knows of one follower. P1: `match < next`. P2: entries in (match, next) are in flight. */
export class Progress {
  match: number;
  next: number;
  mode: ProgressMode = "probe";
  isLearner: boolean;
  /** The follower was heard from since the last quorum check. */
  isRecentlyActive: boolean;
  /** Appends wait for an answer, or for the next heartbeat's. */
  isFlowPaused = false;
  /** The index of the snapshot on its way; 0 outside "snapshot". */
  pendingSnapshot = 0;
  /** Quorum checks since the snapshot was sent. */
  snapshotAge = 0;
  /** The greatest commit index that was sent and that the follower may be able to act on. */
  sentCommit = 0;
  inflights: Inflights;

  constructor(start: {
    match: number;
    next: number;
    isLearner: boolean;
    isRecentlyActive: boolean;
    flow: FlowLimits;
  }) {
    this.match = start.match;
    this.next = start.next;
    this.isLearner = start.isLearner;
    this.isRecentlyActive = start.isRecentlyActive;
    this.inflights = new Inflights(start.flow.inflightMessagesMax, start.flow.inflightBytesMax);
  }

  /** A copy that conf changes may edit; what is in flight is shared with the original. */
  clone(flow: FlowLimits): Progress {
    const copy = new Progress({ ...this.#start(), flow });
    copy.mode = this.mode;
    copy.isFlowPaused = this.isFlowPaused;
    copy.pendingSnapshot = this.pendingSnapshot;
    copy.snapshotAge = this.snapshotAge;
    copy.sentCommit = this.sentCommit;
    copy.inflights = this.inflights;
    return copy;
  }

  get isPaused(): boolean {
    return this.mode === "snapshot" || this.isFlowPaused;
  }

  becomeProbe(): void {
    const afterSnapshot = this.mode === "snapshot" ? this.pendingSnapshot + 1 : 0;
    this.#enter("probe");
    this.next = Math.max(this.match + 1, afterSnapshot);
    this.#clampSentCommit();
  }

  becomeReplicate(): void {
    this.#enter("replicate");
    this.next = this.match + 1;
  }

  becomeSnapshot(index: number): void {
    this.#enter("snapshot");
    this.pendingSnapshot = index;
    this.next = index + 1;
    this.sentCommit = index;
  }

  /** Accounts for an append of `count` entries that is about to leave. */
  sentEntries(count: number, bytes: number): void {
    if (this.mode === "replicate") {
      if (count > 0) {
        this.next += count;
        this.inflights.add(this.next - 1, bytes);
      }
      this.isFlowPaused = this.inflights.isFull;
      return;
    }
    if (count > 0) this.isFlowPaused = true;
  }

  /** An append carrying `commit` now would tell the follower something it can use. */
  canBumpCommit(commit: number): boolean {
    return commit > this.sentCommit && this.sentCommit < this.next - 1;
  }

  /** Takes in an acknowledgement; false if it says nothing new. */
  maybeUpdate(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.isFlowPaused = false;
    return true;
  }

  /**
   * Takes in a rejection of the append that followed `rejected`; `matchHint` is where the logs may meet.
   * False when the rejection is stale.
   */
  maybeDecrease(rejected: number, matchHint: number): boolean {
    if (this.mode === "replicate") {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
      this.#clampSentCommit();
      return true;
    }
    if (this.next - 1 !== rejected) return false;
    this.next = Math.max(Math.min(rejected, matchHint + 1), this.match + 1);
    this.#clampSentCommit();
    this.isFlowPaused = false;
    return true;
  }

  #enter(mode: ProgressMode): void {
    this.mode = mode;
    this.isFlowPaused = false;
    this.pendingSnapshot = 0;
    this.snapshotAge = 0;
    this.inflights.reset();
  }

  #clampSentCommit(): void {
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
  }

  #start(): { match: number; next: number; isLearner: boolean; isRecentlyActive: boolean } {
    return {
      match: this.match,
      next: this.next,
      isLearner: this.isLearner,
      isRecentlyActive: this.isRecentlyActive,
    };
  }
}
