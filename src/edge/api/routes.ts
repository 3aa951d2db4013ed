/** What each path of the API does: parse, ask the node, answer. Routing between nodes is the node's own business. */
import type { BunRequest } from "bun";
import type { Outcome } from "../../model/outcome.ts";
import { ProblemError, type Problem } from "../../model/problem.ts";
import type { NodeApi } from "../../node/node-api.ts";
import {
  checked,
  checkedJson,
  downSchema,
  eventsQuery,
  execQuery,
  execSchema,
  inviteSchema,
  listQuery,
  logsQuery,
  promisesQuery,
  scaleSchema,
  specSchema,
} from "./bodies.ts";
import { ExecSocket } from "./exec-socket.ts";
import { containerRoutes } from "./container-routes.ts";
import { imageRoutes } from "./image-routes.ts";
import {
  abortWith,
  type Allow,
  type Answer,
  answerWith,
  bodyOf,
  keyOf,
  queryOf,
  refuseQuery,
  upgraded,
  valueOf,
} from "./requests.ts";
import { metricsContentType, metricsText } from "./metrics-text.ts";
import { meteredRoutes, type RequestMeter, type Routes } from "./request-meter.ts";
import { eventsResponse, linesResponse } from "./streams.ts";

type KeyRequest = BunRequest<string>;

/** The paths as Bun.serve takes them; `allow` refuses a request before it is looked at. */
export function createRoutes(api: NodeApi, allow: Allow, meter: RequestMeter): Routes {
  const answer = answerWith(allow);
  const routes = {
    ...metricsRoutes(api, meter, answer),
    ...nodeRoutes(api, answer),
    ...imageRoutes(api.images, answer),
    ...containerRoutes(api.containers, answer),
    ...deploymentRoutes(api, answer),
    ...streamRoutes(api, answer),
  };
  const own: Routes = {
    "/v1/openapi.json": {
      GET: answer(async (request) => {
        refuseQuery(request);
        // Seldom asked for: its schemas are not loaded before.
        const { openApiDocument } = await import("./openapi.ts");
        return Response.json(openApiDocument(routeNames({ ...routes, ...own }), api.status().version));
      }),
    },
  };
  return meteredRoutes(meter, { ...routes, ...own });
}

/** `METHOD /path` of each route. */
export function routeNames(routes: Routes): readonly string[] {
  return Object.entries(routes).flatMap(([path, handlers]) =>
    Object.keys(handlers).map((method) => `${method} ${path}`),
  );
}

/** The path that Prometheus asks; also what a listener for metrics alone serves. */
export function metricsRoutes(api: NodeApi, meter: RequestMeter, answer: Answer) {
  return {
    "/metrics": {
      GET: answer((request) => {
        refuseQuery(request);
        return new Response(metricsText([...api.metrics(), ...meter.families()]), {
          headers: { "content-type": metricsContentType },
        });
      }),
    },
  };
}

function nodeRoutes(api: NodeApi, answer: Answer) {
  return {
    "/v1/status": {
      GET: answer((request) => {
        refuseQuery(request);
        return Response.json(api.status());
      }),
    },
    "/v1/nodes": {
      GET: answer((request) => {
        refuseQuery(request);
        return Response.json(api.nodes());
      }),
    },
    "/v1/invites": {
      POST: answer(async (request) => {
        const { ttlMs } = checkedJson(inviteSchema, await bodyOf(request));
        return Response.json(await api.invite({ ttlMs }), { status: 201 });
      }),
    },
    "/v1/promises": {
      GET: answer(async (request) =>
        Response.json(await api.promises(checked(promisesQuery, queryOf(request), "query").scope)),
      ),
    },
    "/v1/down": {
      POST: answer(async (request) => {
        const { keep } = checkedJson(downSchema, await bodyOf(request));
        await api.down({ keep });
        return Response.json({});
      }),
    },
  };
}

function deploymentRoutes(api: NodeApi, answer: Answer) {
  return {
    "/v1/deployments": {
      GET: answer(async (request) =>
        Response.json(await api.deployments(checked(listQuery, queryOf(request), "query").namespace)),
      ),
    },
    "/v1/deployments/:namespace/:name": {
      GET: answer(async (request: KeyRequest) => {
        refuseQuery(request);
        return jsonOf(await api.inspect(keyOf(request)));
      }),
      PUT: answer(async (request: KeyRequest) => {
        const key = keyOf(request);
        refuseQuery(request);
        const spec = checkedJson(specSchema, await bodyOf(request));
        if (spec.namespace !== key.namespace || spec.name !== key.name)
          throw new ProblemError({
            code: "invalid-request",
            message: `the body declares ${spec.namespace}/${spec.name}, the path names ${key.namespace}/${key.name}`,
          });
        const createOnly = request.headers.get("if-none-match") === "*";
        return jsonOf(await api.declare(spec, { requestId: requestIdOf(request), createOnly }));
      }),
      DELETE: answer(async (request: KeyRequest) => {
        refuseQuery(request);
        return jsonOf(await api.delete(keyOf(request), { requestId: requestIdOf(request) }));
      }),
    },
    "/v1/deployments/:namespace/:name/scale": {
      PUT: answer(async (request: KeyRequest) => {
        const key = keyOf(request);
        const { replicas } = checkedJson(scaleSchema, await bodyOf(request));
        return jsonOf(await api.scale(key, replicas, { requestId: requestIdOf(request) }));
      }),
    },
    "/v1/deployments/:namespace/:name/cohort": {
      GET: answer(async (request: KeyRequest) => {
        refuseQuery(request);
        return jsonOf(await api.cohort(keyOf(request)));
      }),
    },
  };
}

function streamRoutes(api: NodeApi, answer: Answer) {
  return {
    "/v1/deployments/:namespace/:name/events": {
      GET: answer(async (request: KeyRequest, server) => {
        const query = checked(eventsQuery, queryOf(request), "query");
        const abort = abortWith(request, server);
        const events = valueOf(
          await api.events(keyOf(request), {
            follow: query.follow,
            sinceIndex: query.since ?? lastEventId(request),
            signal: abort.signal,
          }),
        );
        // One entry may hold several events: whoever resumes at the id sees the last entry again, whole.
        return eventsResponse(events, abort, (event) => `${event.index}`);
      }),
    },
    "/v1/deployments/:namespace/:name/logs": {
      GET: answer(async (request: KeyRequest, server) => {
        const { follow, replica, container, tail, since } = checked(logsQuery, queryOf(request), "query");
        const abort = abortWith(request, server);
        const lines = await api.logs(keyOf(request), {
          follow,
          signal: abort.signal,
          ...(replica === undefined ? {} : { replica }),
          ...(container === undefined ? {} : { container }),
          ...(tail === undefined ? {} : { tail }),
          ...(since === undefined ? {} : { sinceMs: since }),
        });
        return linesResponse(valueOf(lines), abort);
      }),
    },
    "/v1/deployments/:namespace/:name/exec": {
      GET: answer((request: KeyRequest, server) => {
        const { replica, container } = checked(execQuery, queryOf(request), "query");
        const choice = {
          ...(replica === undefined ? {} : { replica }),
          ...(container === undefined ? {} : { container }),
        };
        const key = keyOf(request);
        return upgraded(
          server,
          request,
          new ExecSocket((json) => api.exec(key, choice, checkedJson(execSchema, json))),
        );
      }),
    },
  };
}

function requestIdOf(request: Request): string {
  const id = request.headers.get("idempotency-key");
  if (id === null) return Bun.randomUUIDv7();
  if (/^[\x21-\x7e]{1,64}$/.test(id)) return id;
  throw new ProblemError({
    code: "invalid-request",
    message: "Idempotency-Key must be 1 to 64 printable ASCII characters",
  });
}

function lastEventId(request: Request): number {
  const id = request.headers.get("last-event-id");
  return id !== null && /^\d{1,15}$/.test(id) ? Number(id) : 0;
}

function jsonOf(outcome: Outcome<unknown, Problem>): Response {
  return Response.json(valueOf(outcome));
}
