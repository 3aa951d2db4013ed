/** How a call to an agent fails other than by an answer. */
import type { Problem } from "../../model/problem.ts";

/** Who asked does not want the answer any more. What was asked for may have been done, or be done yet. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}

/** Nobody answers on the socket. */
export class AgentUnreachable extends Error {
  override readonly name = "AgentUnreachable";
  readonly problem: Problem;
  constructor(socketPath: string, options?: { cause?: unknown }) {
    const problem: Problem = {
      code: "unreachable",
      message: `no agent answers on ${socketPath}`,
      next: "start one with muster up, or name the socket of one that runs: --socket, --data-dir or MUSTER_SOCKET",
    };
    super(problem.message, options);
    this.problem = problem;
  }
}
