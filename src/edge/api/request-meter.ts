/** Requests to the API, counted by route and status, and how long each took until its answer began. */
import type { BunRequest } from "bun";
import type { MetricFamily } from "../../model/metric.ts";
import { Histogram } from "../../node/metrics/histogram.ts";
import type { ApiServer } from "./requests.ts";

type RouteHandler = (request: BunRequest<string>, server: ApiServer) => Promise<Response | undefined>;
const methods = ["GET", "POST", "PUT", "DELETE"] as const;
/** By path, then by method. */
export type Routes = Readonly<
  Record<string, { readonly [Method in (typeof methods)[number]]?: RouteHandler }>
>;
/** An answer that is none: the connection became a WebSocket. */
const switchingProtocols = 101;

interface RouteCount {
  readonly method: string;
  readonly route: string;
  readonly statuses: Map<number, number>;
  readonly durations: Histogram;
}

export class RequestMeter {
  /** Bounded by the table of routes: what no route took is one row. */
  readonly #rows = new Map<string, RouteCount>();

  /** `route` is the pattern, never the path that was asked for. */
  seen(
    request: { readonly method: string; readonly route: string; readonly status: number },
    ms: number,
  ): void {
    const { method, route, status } = request;
    const key = `${method} ${route}`;
    const row = this.#rows.get(key) ?? { method, route, statuses: new Map(), durations: new Histogram() };
    this.#rows.set(key, row);
    row.statuses.set(status, (row.statuses.get(status) ?? 0) + 1);
    row.durations.observe(ms / 1000);
  }

  families(): readonly MetricFamily[] {
    const rows = [...this.#rows.values()];
    return [
      {
        type: "counter",
        name: "muster_api_requests_total",
        help: "Requests to the HTTP API, by route and status.",
        samples: rows.flatMap(({ method, route, statuses }) =>
          [...statuses].map(([status, value]) => ({ labels: { method, route, status: `${status}` }, value })),
        ),
      },
      {
        type: "histogram",
        name: "muster_api_request_duration_seconds",
        help: "Time until the answer to a request began, by route.",
        samples: rows.map(({ method, route, durations }) => durations.sample({ method, route })),
      },
    ];
  }
}

/** The same routes, each request counted. */
export function meteredRoutes(meter: RequestMeter, routes: Routes): Routes {
  return Object.fromEntries(
    Object.entries(routes).map(([route, handlers]) => [
      route,
      Object.fromEntries(
        methods.flatMap((method) => {
          const handle = handlers[method];
          return handle === undefined ? [] : [[method, metered(meter, { method, route }, handle)]];
        }),
      ),
    ]),
  );
}

function metered(
  meter: RequestMeter,
  of: { readonly method: string; readonly route: string },
  handle: RouteHandler,
): RouteHandler {
  return async (request, server) => {
    const startedAt = performance.now();
    const response = await handle(request, server);
    meter.seen({ ...of, status: response?.status ?? switchingProtocols }, performance.now() - startedAt);
    return response;
  };
}
