import type { Clock } from "../ports/clock.ts";

/** The promise's outcome, or a rejection with `late()` when it has none in time. What it does goes on all the same. */
export async function within<T>(
  clock: Clock,
  timeoutMs: number,
  promise: Promise<T>,
  late: () => Error,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const cancel = clock.at(clock.now() + timeoutMs, () => reject(late()));
    promise.then(resolve, reject).finally(cancel);
  });
}
