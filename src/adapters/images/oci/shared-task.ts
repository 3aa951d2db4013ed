/** One piece of work that several wait for. It is aborted when the last of them gives up. */
export class SharedTask<Result, Progress> {
  readonly #controller = new AbortController();
  readonly #listeners = new Set<(progress: Progress) => void>();
  readonly #result: Promise<Result>;
  #waiting = 0;
  #isAbandoned = false;
  #lastProgress: Progress | undefined;

  constructor(work: (signal: AbortSignal, report: (progress: Progress) => void) => Promise<Result>) {
    // A microtask later, so that whoever keeps the task has it before the work can end.
    this.#result = Promise.resolve().then(() =>
      work(this.#controller.signal, (progress) => this.#report(progress)),
    );
    // All may have given up by the time it fails.
    this.#result.catch(() => {});
  }

  /** Whether everybody gave up: its end is of no use to a newcomer. */
  get isAbandoned(): boolean {
    return this.#isAbandoned;
  }

  /** The result; or a rejection with `givenUp()` as soon as `signal` is aborted. */
  async join(
    signal: AbortSignal,
    givenUp: () => Error,
    onProgress?: (progress: Progress) => void,
  ): Promise<Result> {
    const { promise, reject } = Promise.withResolvers<never>();
    const leave = () => reject(givenUp());
    this.#waiting += 1;
    if (signal.aborted) leave();
    signal.addEventListener("abort", leave, { once: true });
    if (onProgress !== undefined) {
      this.#listeners.add(onProgress);
      if (this.#lastProgress !== undefined) onProgress(this.#lastProgress);
    }
    try {
      return await Promise.race([promise, this.#result]);
    } finally {
      signal.removeEventListener("abort", leave);
      if (onProgress !== undefined) this.#listeners.delete(onProgress);
      this.#waiting -= 1;
      if (this.#waiting === 0) this.#abandon();
    }
  }

  #abandon(): void {
    this.#isAbandoned = true;
    this.#controller.abort();
  }

  #report(progress: Progress): void {
    this.#lastProgress = progress;
    for (const listener of this.#listeners) listener(progress);
  }
}
