/** Which HTTP status stands for which problem. The code in the body is what programs should look at. */
import { ProblemError, type Problem, type ProblemCode } from "../../model/problem.ts";

const statuses: Readonly<Record<ProblemCode, number>> = {
  "invalid-spec": 422,
  "invalid-request": 400,
  "not-found": 404,
  "already-exists": 409,
  unplaceable: 409,
  conflict: 409,
  "no-quorum": 503,
  "no-steward": 503,
  stopping: 503,
  unreachable: 502,
  "image-failed": 424,
  "too-many-requests": 429,
  unsupported: 501,
  internal: 500,
};

export function problemResponse(problem: Problem): Response {
  return Response.json({ problem }, { status: statuses[problem.code] });
}

/** What a caller is told of a failure: its problem, or that it is ours. */
export function problemOf(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  return {
    code: "internal",
    message: `the agent failed: ${error instanceof Error ? error.message : String(error)}`,
    next: "look into the agent's log, and report it with that",
  };
}
