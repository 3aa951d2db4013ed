/** What a user is told when something is refused: what is wrong, where, and what to do next. */

export type ProblemCode =
  | "invalid-spec"
  | "invalid-request"
  | "not-found"
  | "already-exists"
  | "unplaceable"
  | "no-quorum"
  | "no-steward"
  | "unreachable"
  | "image-failed"
  | "conflict"
  | "too-many-requests"
  | "stopping"
  | "unsupported"
  | "internal";

/** A place in a file the user wrote; lines and columns count from 1. */
export interface Place {
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
  /** Field path such as `ports[0].container`. */
  readonly path?: string;
}

export interface Problem {
  readonly code: ProblemCode;
  /** One sentence: what is wrong. */
  readonly message: string;
  readonly places?: readonly (Place & { readonly message: string })[];
  /** One sentence: what to do next. */
  readonly next?: string;
}

/** A problem thrown across a boundary where a value would have to pass through many hands. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly problem: Problem;
  constructor(problem: Problem, options?: { cause?: unknown }) {
    super(problem.message, options);
    this.problem = problem;
  }
}
