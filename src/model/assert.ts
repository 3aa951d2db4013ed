/**
 * Invariants stay on in production: a broken one is a programmer's error, and stopping is safer than
 * going on in a state nobody thought of.
 */
export class AssertionFailure extends Error {
  override readonly name = "AssertionFailure";
}

/** Throws AssertionFailure unless `condition` holds. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionFailure(message);
}

/** The value itself, or an AssertionFailure naming what was expected, when it is null or undefined. */
export function defined<T>(value: T | null | undefined, what: string): T {
  if (value === undefined || value === null) throw new AssertionFailure(`expected ${what}`);
  return value;
}

/** Ends an exhaustive switch: does not typecheck while a case is missing. */
export function unreachable(value: never): never {
  throw new AssertionFailure(`unreachable: ${JSON.stringify(value)}`);
}
