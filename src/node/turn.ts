/**
 * The one place where machines meet the disk.
 *
 * A turn takes every input that waits, steps the machines, and gathers what must be durable. All of it
 * is one commit of the store, whatever number of groups it came from: one sync for the whole node.
 * Only then do the effects that stand behind a `persist` in their machine's list go out. Inputs that
 * arrive during the commit wait for the next turn.
 *
 * T1  Effects of one machine are carried out in the order the machine returned them.
 * T2  No effect behind a persist is carried out before that persist is durable.
 * T3  After a failed commit nothing behind it goes out; it is tried again until it succeeds or the node closes.
 */
import { assert } from "../model/assert.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import type { Store, StoreWrite } from "../ports/store.ts";

export interface TurnPorts {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What a machine's effect asks of the turn: writes to make durable, or an action to carry out. */
export type Work =
  | {
      readonly kind: "write";
      readonly writes: readonly StoreWrite[];
      readonly done?: () => void;
    }
  | { readonly kind: "do"; readonly run: () => void };

/** Most inputs one turn steps before it commits; the rest waits for the next. */
const inputsPerTurnMax = 2_048;
/** Most inputs that may wait. Past it the oldest kinds of load (peers' messages) are dropped by their drivers, which ask `isFull`. */
const inputsWaitingMax = 65_536;
const commitRetryMs = 500;

export class Turn {
  readonly #ports: TurnPorts;
  #waiting: (() => void)[] = [];
  #isRunning = false;
  #isScheduled = false;
  #isClosing = false;
  #isClosed = false;
  #writes: StoreWrite[] = [];
  #afterCommit: (() => void)[] = [];
  /** Machines (by lane) that have a write in this turn: what follows waits for the commit. */
  readonly #blockedLanes = new Set<object>();
  #idleWaiters: (() => void)[] = [];
  #failure: string | undefined;
  readonly #refusalListeners = new Set<(reason: string) => void>();

  constructor(ports: TurnPorts) {
    this.#ports = ports;
  }

  /** True while so much waits that peers' messages should be dropped rather than queued. */
  get isFull(): boolean {
    return this.#waiting.length >= inputsWaitingMax;
  }

  /** Why the store refuses the commit that everything waits for; undefined while it takes commits. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /**
   * What `work` comes to. Rejects as soon as the store refuses a commit, because work that has to become durable waits from then on
   * for as long as the store refuses; what has begun may still be done later.
   */
  async unlessRefused<T>(work: () => Promise<T>): Promise<T> {
    const refused = Promise.withResolvers<never>();
    const refuse = (reason: string): void =>
      refused.reject(new Error(`the store of this node takes no writes: ${reason}`));
    if (this.#failure !== undefined) refuse(this.#failure);
    else this.#refusalListeners.add(refuse);
    try {
      return await (this.#failure === undefined ? Promise.race([work(), refused.promise]) : refused.promise);
    } finally {
      this.#refusalListeners.delete(refuse);
    }
  }

  /** Queues an input: `step` runs in a coming turn and calls `carryOut` with what the machine returned. */
  enqueue(step: () => void): void {
    if (this.#isClosed) return;
    this.#waiting.push(step);
    if (this.#isScheduled || this.#isRunning) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      void this.#run();
    });
  }

  /** Carries out one machine's effects in order; `lane` identifies the machine. Only within a turn. */
  carryOut(lane: object, work: Iterable<Work>): void {
    assert(this.#isRunning, "effects are carried out within a turn");
    for (const item of work) {
      if (item.kind === "write") {
        this.#writes.push(...item.writes);
        this.#blockedLanes.add(lane);
        if (item.done !== undefined) this.#afterCommit.push(item.done);
      } else if (this.#blockedLanes.has(lane)) {
        this.#afterCommit.push(item.run);
      } else {
        item.run();
      }
    }
  }

  /** Resolves when nothing waits and nothing runs. */
  async idle(): Promise<void> {
    if (!this.#isRunning && this.#waiting.length === 0) return;
    await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
  }

  /** A turn under way ends, and no further input is taken. A store that takes no commits is not waited for. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.idle();
    this.#isClosed = true;
  }

  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      while (this.#waiting.length > 0) {
        this.#stepWaiting();
        if (this.#writes.length > 0 && !(await this.#commit())) {
          this.#abandon();
          break;
        }
        const after = this.#afterCommit;
        this.#afterCommit = [];
        this.#blockedLanes.clear();
        for (const run of after) run();
      }
    } finally {
      this.#isRunning = false;
    }
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const resolve of waiters) resolve();
  }

  #stepWaiting(): void {
    let stepped = 0;
    while (this.#waiting.length > 0 && stepped < inputsPerTurnMax) {
      const batch = this.#waiting;
      this.#waiting = [];
      for (const step of batch) step();
      stepped += batch.length;
    }
  }

  /** What was not made durable has not happened. */
  #abandon(): void {
    this.#waiting = [];
    this.#afterCommit = [];
    this.#blockedLanes.clear();
    this.#isClosed = true;
  }

  /** False when the store refuses and the node is closing. */
  async #commit(): Promise<boolean> {
    const writes = this.#writes;
    this.#writes = [];
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#ports.store.commit(writes);
        this.#failure = undefined;
        return true;
      } catch (error) {
        this.#failure = String(error);
        for (const listener of this.#refusalListeners) listener(this.#failure);
        if (this.#isClosing) return false;
        this.#ports.logger.error("the store refused a commit; this node stands still until it succeeds", {
          attempt,
          error: String(error),
        });
        await new Promise<void>((resolve) =>
          this.#ports.clock.at(this.#ports.clock.now() + commitRetryMs, resolve),
        );
      }
    }
  }
}
