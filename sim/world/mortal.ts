/** What belongs to one life of an agent: when it is killed, its timers never fire and its calls never return. */
import type { Instant } from "../../src/core/machine.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { ContainerRuntime } from "../../src/ports/container-runtime.ts";

export class Life {
  isOver = false;

  end(): void {
    this.isOver = true;
  }

  /** The value when it comes within this life; a dead agent waits for ever. */
  async within<T>(promise: Promise<T>): Promise<T> {
    const outcome = await promise.then(
      (value) => ({ ok: true, value }) as const,
      (error: unknown) => ({ ok: false, error }) as const,
    );
    if (this.isOver) return new Promise<T>(() => {});
    if (outcome.ok) return outcome.value;
    throw outcome.error;
  }
}

export class MortalClock implements Clock {
  readonly #clock: Clock;
  readonly #life: Life;

  constructor(clock: Clock, life: Life) {
    this.#clock = clock;
    this.#life = life;
  }

  now(): Instant {
    return this.#clock.now();
  }

  wallMs(): number {
    return this.#clock.wallMs();
  }

  at(when: Instant, callback: () => void): () => void {
    if (this.#life.isOver) return () => {};
    return this.#clock.at(when, () => {
      if (!this.#life.isOver) callback();
    });
  }
}

/** How long the runtime takes, and how often it fails. */
export interface RuntimeConditions {
  delayMs(): number;
  fails(): boolean;
}

/** A runtime that takes its time, fails as told, and is silent once its agent is dead. */
export function slowRuntime(
  runtime: ContainerRuntime,
  clock: Clock,
  life: Life,
  conditions: RuntimeConditions,
): ContainerRuntime {
  const slowly = async <T>(act: () => Promise<T>): Promise<T> => {
    await new Promise<void>((resolve) => clock.at(clock.now() + conditions.delayMs(), resolve));
    if (life.isOver) return new Promise<T>(() => {});
    if (conditions.fails()) throw new Error("the runtime failed, as told");
    return life.within(act());
  };
  return {
    create: async (spec) => slowly(async () => runtime.create(spec)),
    start: async (id) => slowly(async () => runtime.start(id)),
    signal: async (id, signal) => slowly(async () => runtime.signal(id, signal)),
    remove: async (id) => slowly(async () => runtime.remove(id)),
    list: async () => life.within(runtime.list()),
    watch: (listener) =>
      runtime.watch((status) => {
        if (!life.isOver) listener(status);
      }),
    logs: (id, options) => runtime.logs(id, options),
    exec: async (id, request) => runtime.exec(id, request),
    close: async () => runtime.close(),
  };
}
