/** Drives one machine: queues its inputs into turns, keeps its timer, and hands its effects on in order. */
import type { Instant, Machine } from "../core/machine.ts";
import type { Clock } from "../ports/clock.ts";
import type { Turn, Work } from "./turn.ts";

export interface LanePorts {
  readonly turn: Turn;
  readonly clock: Clock;
}

export interface LaneOptions<Input, Effect> {
  readonly machine: Machine<Input, Effect>;
  /** The input that tells the machine its deadline has come. */
  readonly timeout: Input;
  /** What an effect means outside: a durable write or an action. */
  readonly work: (effect: Effect) => Work;
  /** A throw inside the machine: the lane is dead and this is told why. Without it the throw goes up. */
  readonly onFailure?: (error: unknown) => void;
}

export class MachineLane<Input, Effect> {
  readonly #ports: LanePorts;
  readonly #options: LaneOptions<Input, Effect>;
  #timerAt: Instant | undefined;
  #cancelTimer: (() => void) | undefined;
  #isClosed = false;

  constructor(ports: LanePorts, options: LaneOptions<Input, Effect>) {
    this.#ports = ports;
    this.#options = options;
  }

  feed(input: Input): void {
    if (this.#isClosed) return;
    this.#ports.turn.enqueue(() => this.#step(input));
  }

  /** Makes the input at the moment it is stepped, so that nothing comes between a look and the step; undefined steps nothing. */
  feedWith(make: () => Input | undefined): void {
    if (this.#isClosed) return;
    this.#ports.turn.enqueue(() => {
      const input = this.#isClosed ? undefined : make();
      if (input !== undefined) this.#step(input);
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #step(input: Input): void {
    if (this.#isClosed) return;
    const { machine, work, onFailure } = this.#options;
    let effects: readonly Effect[];
    try {
      effects = machine.step(input, this.#ports.clock.now());
    } catch (error) {
      this.close();
      if (onFailure === undefined) throw error;
      onFailure(error);
      return;
    }
    if (effects.length > 0) this.#ports.turn.carryOut(this, effects.map(work));
    this.#rearm();
  }

  #rearm(): void {
    const deadline = this.#options.machine.deadline();
    if (deadline === this.#timerAt && this.#cancelTimer !== undefined) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#timerAt = deadline;
    if (deadline === undefined || this.#isClosed) return;
    this.#cancelTimer = this.#ports.clock.at(deadline, () => {
      this.#cancelTimer = undefined;
      this.#timerAt = undefined;
      this.feed(this.#options.timeout);
    });
  }
}
