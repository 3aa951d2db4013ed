/** What handlers of the API share: running one, and reading what a request carries. */
import type { Server } from "bun";
import { ProblemError, type Problem } from "../../model/problem.ts";
import { bodyBytesMax, checked, noQuery } from "./bodies.ts";
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

export async function bodyOf(request: Request): Promise<string> {
  const declared = Number(request.headers.get("content-length") ?? 0);
  const body = declared > bodyBytesMax ? undefined : await request.text();
  if (body === undefined || Buffer.byteLength(body) > bodyBytesMax)
    throw new ProblemError({
      code: "invalid-request",
      message: `the body is larger than ${bodyBytesMax / 1024} KiB`,
    });
  return body;
}

/** Aborts when the caller is gone, and lifts the limit on quiet time. */
export function abortWith(request: Request, server: ApiServer): AbortController {
  server.timeout(request, 0);
  const abort = new AbortController();
  request.signal.addEventListener("abort", () => abort.abort(), { once: true });
  return abort;
}
