/** What handlers of the API share: running one, and reading what a request carries. */
import type { BunRequest, Server } from "bun";
import type { Outcome } from "../../model/outcome.ts";
import { ProblemError, type Problem } from "../../model/problem.ts";
import type { DeploymentKey } from "../../node/node-api.ts";
import { bodyBytesMax, checked, nameSchema, noQuery } from "./bodies.ts";
import type { ExecSocket } from "./exec-socket.ts";
import { problemOf, problemResponse } from "./problem-status.ts";

export type ApiServer = Server<ExecSocket>;

/** Seconds a request may be quiet; streams lift it for themselves. */
const idleTimeoutSeconds = 120;

export type Allow = (request: Request) => Problem | undefined;
type Handle<R extends Request> = (request: R, server: ApiServer) => Promise<Response | undefined> | Response;
export type Answer = ReturnType<typeof answerWith>;

/** Runs a handler, and answers what it throws. */
export function answerWith(allow: Allow) {
  return <R extends Request>(handle: Handle<R>) =>
    async (request: R, server: ApiServer): Promise<Response | undefined> => {
      try {
        server.timeout(request, idleTimeoutSeconds);
        const refusal = allow(request);
        if (refusal !== undefined) throw new ProblemError(refusal);
        return await handle(request, server);
      } catch (error) {
        return problemResponse(problemOf(error));
      }
    };
}

export function queryOf(request: Request): unknown {
  return Object.fromEntries(new URL(request.url).searchParams);
}

/** For paths that take no query: one that is there is a mistake. */
export function refuseQuery(request: Request): void {
  checked(noQuery, queryOf(request), "query");
}

/** Read piece by piece, so that nobody fills the agent's memory by saying nothing of the length. */
export async function bodyOf(request: Request): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request.body ?? []) {
    bytes += chunk.length;
    if (bytes > bodyBytesMax)
      throw new ProblemError({
        code: "invalid-request",
        message: `the body is larger than ${bodyBytesMax / 1024} KiB`,
      });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** Aborts when the caller is gone, and lifts the limit on quiet time. */
export function abortWith(request: Request, server: ApiServer): AbortController {
  server.timeout(request, 0);
  const abort = new AbortController();
  request.signal.addEventListener("abort", () => abort.abort(), { once: true });
  return abort;
}

export async function upgraded(
  server: ApiServer,
  request: Request,
  data: ExecSocket,
): Promise<Response | undefined> {
  if (server.upgrade(request, { data })) return undefined;
  throw new ProblemError({ code: "invalid-request", message: "this is a WebSocket: ask for the upgrade" });
}

export function keyOf(request: BunRequest<string>): DeploymentKey {
  return {
    namespace: checked(nameSchema, request.params.namespace, "namespace in the path"),
    name: checked(nameSchema, request.params.name, "name in the path"),
  };
}

export function valueOf<T>(outcome: Outcome<T, Problem>): T {
  if (outcome.ok) return outcome.value;
  throw new ProblemError(outcome.error);
}
