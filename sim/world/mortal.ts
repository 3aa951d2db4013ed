/**
 * What belongs to one life of an agent: when it is killed, its timers never fire and its calls never return; while
 * its process is stopped, everything that would reach it waits, in order, until it goes on.
 */
import type { Instant } from "../../src/core/machine.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { ContainerRuntime } from "../../src/ports/container-runtime.ts";
import type { Transport } from "../../src/ports/transport.ts";

export class Life {
  isOver = false;
  #isStopped = false;
  #backlog: (() => void)[] = [];

  get isStopped(): boolean {
    return this.#isStopped;
  }

  end(): void {
    this.isOver = true;
    this.#backlog = [];
  }

  /** As SIGSTOP does. */
  stop(): void {
    this.#isStopped = true;
  }

  /** As SIGCONT does: everything that waited comes at once. */
  resume(): void {
    this.#isStopped = false;
    const backlog = this.#backlog;
    this.#backlog = [];
    for (const act of backlog) this.reach(act);
  }

  /** Does it at once, or when the process runs again, or never. */
  reach(act: () => void): void {
    if (this.isOver) return;
    if (this.#isStopped) this.#backlog.push(act);
    else act();
  }

  /** The value when it comes within this life; a dead agent waits for ever. */
  async within<T>(promise: Promise<T>): Promise<T> {
    const outcome = await promise.then(
      (value) => ({ ok: true, value }) as const,
      (error: unknown) => ({ ok: false, error }) as const,
    );
    await new Promise<void>((resolve) => this.reach(resolve));
    if (outcome.ok) return outcome.value;
    throw outcome.error;
  }
}

export class MortalClock implements Clock {
  readonly #clock: Clock;
  readonly #life: Life;
  readonly #skewMs: () => number;

  /** `skewMs` is how far this machine's wall clock is off. */
  constructor(clock: Clock, life: Life, skewMs: () => number) {
    this.#clock = clock;
    this.#life = life;
    this.#skewMs = skewMs;
  }

  now(): Instant {
    return this.#clock.now();
  }

  wallMs(): number {
    return this.#clock.wallMs() + this.#skewMs();
  }

  at(when: Instant, callback: () => void): () => void {
    if (this.#life.isOver) return () => {};
    let isCancelled = false;
    const cancel = this.#clock.at(when, () =>
      this.#life.reach(() => {
        if (!isCancelled) callback();
      }),
    );
    return () => {
      isCancelled = true;
      cancel();
    };
  }
}

/** What an agent sends, by kind. */
export interface Traffic {
  datagrams: number;
  posts: number;
  calls: number;
}

/** A transport that counts what goes out, and hands nothing to an agent that is stopped. */
export function mortalTransport(transport: Transport, life: Life, traffic: Traffic): Transport {
  return {
    start: async (handlers) =>
      transport.start({
        datagram: (from, payload) => life.reach(() => handlers.datagram(from, payload)),
        post: (from, channel, payload) => life.reach(() => handlers.post(from, channel, payload)),
        call: async (from, method, payload) => {
          await new Promise<void>((resolve) => life.reach(resolve));
          return life.within(handlers.call(from, method, payload));
        },
        open: (from, method, header, stream) => life.reach(() => handlers.open(from, method, header, stream)),
      }),
    addresses: () => transport.addresses(),
    datagram: (to, payload) => {
      traffic.datagrams += 1;
      transport.datagram(to, payload);
    },
    post: (to, channel, payload) => {
      traffic.posts += 1;
      transport.post(to, channel, payload);
    },
    call: async (to, method, payload, options) => {
      traffic.calls += 1;
      return life.within(transport.call(to, method, payload, options));
    },
    open: async (to, method, header, options) => life.within(transport.open(to, method, header, options)),
    probe: async (to, options) => life.within(transport.probe(to, options)),
    close: async () => transport.close(),
  };
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
    if (conditions.fails()) throw new Error("the runtime failed, as told");
    return life.within(act());
  };
  return {
    create: async (spec) => slowly(async () => runtime.create(spec)),
    start: async (id) => slowly(async () => runtime.start(id)),
    signal: async (id, signal) => slowly(async () => runtime.signal(id, signal)),
    remove: async (id) => slowly(async () => runtime.remove(id)),
    list: async () => life.within(runtime.list()),
    watch: (listener) => runtime.watch((status) => life.reach(() => listener(status))),
    logs: (id, options) => runtime.logs(id, options),
    exec: async (id, request) => runtime.exec(id, request),
    attach: async (id, terminal) => runtime.attach(id, terminal),
    copyOut: async (id, path) => runtime.copyOut(id, path),
    copyIn: async (id, path, archive) => runtime.copyIn(id, path, archive),
    usage: async () => life.within(runtime.usage()),
    close: async () => runtime.close(),
  };
}
