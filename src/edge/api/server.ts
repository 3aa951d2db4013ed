/** The HTTP API of one node: on a unix socket that only its owner can open, and if asked for on loopback. */
import type { Server } from "bun";
import { chmodSync } from "node:fs";
import { ProblemError, type Problem } from "../../model/problem.ts";
import type { NodeApi } from "../../node/node-api.ts";
import { frameBytesMax } from "./exec-frames.ts";
import type { ExecSocket } from "./exec-socket.ts";
import { problemResponse } from "./problem-status.ts";
import { meteredRoutes, RequestMeter, type Routes } from "./request-meter.ts";
import { answerWith } from "./requests.ts";
import { createRoutes, metricsRoutes } from "./routes.ts";
import { clearSocketFile } from "./socket-file.ts";

export interface ApiOptions {
  readonly socketPath: string;
  /**
   * Also listen on this loopback address; port 0 lets the system choose. Whoever can connect has all
   * the rights of the agent, and that is every user of the machine.
   */
  readonly loopback?: { readonly hostname: "127.0.0.1" | "::1"; readonly port: number };
  /** Also serve `/metrics` on this address, and nothing else: whoever can connect may read them. */
  readonly metrics?: { readonly hostname: string; readonly port: number };
}

export interface Api {
  /** The loopback port that is listened on. */
  readonly port: number | undefined;
  /** The port on which metrics alone are served. */
  readonly metricsPort: number | undefined;
  /** Takes no new requests, waits at most `graceMs` for the ones under way, then cuts them. */
  close(graceMs: number): Promise<void>;
}

const loopbackHost = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/;

/** Resolves when requests are answered. Throws ProblemError `conflict` when another agent has the socket. */
export async function createApi(api: NodeApi, options: ApiOptions): Promise<Api> {
  await clearSocketFile(options.socketPath);
  const meter = new RequestMeter();
  const servers: Server<ExecSocket>[] = [];
  // The file is made with the umask: between making it and chmod anybody could open it.
  const umask = process.umask(0o177);
  try {
    // Bun 1.4.5 cuts quiet requests on a unix socket after 10 s whatever server.timeout says. It does
    // honour idleTimeout there, though its types say otherwise.
    const unix = { unix: options.socketPath, ...handlers(createRoutes(api, refuseBrowser, meter), meter) };
    Object.assign(unix, { idleTimeout: 0 });
    servers.push(Bun.serve<ExecSocket, string>(unix));
  } finally {
    process.umask(umask);
  }
  chmodSync(options.socketPath, 0o600);
  const listen = (at: { hostname: string; port: number }, serve: ReturnType<typeof handlers>): number => {
    try {
      const server = Bun.serve<ExecSocket, string>({ ...at, ...serve });
      servers.push(server);
      return server.port ?? at.port;
    } catch (error) {
      throw new ProblemError(
        {
          code: "conflict",
          message: `cannot listen on ${at.hostname}:${at.port}`,
          next: "choose another port",
        },
        { cause: error },
      );
    }
  };
  let port: number | undefined;
  let metricsPort: number | undefined;
  try {
    const { loopback, metrics } = options;
    if (loopback !== undefined)
      port = listen(loopback, handlers(createRoutes(api, refuseForeign, meter), meter));
    if (metrics !== undefined) {
      const routes = metricsRoutes(api, meter, answerWith(refuseBrowser));
      metricsPort = listen(metrics, handlers(meteredRoutes(meter, routes), meter));
    }
  } catch (error) {
    await Promise.all(servers.map((server) => server.stop(true)));
    throw error;
  }
  return {
    port,
    metricsPort,
    async close(graceMs) {
      const stopped = Promise.all(servers.map((server) => server.stop(false)));
      const cut = setTimeout(() => {
        for (const server of servers) void server.stop(true);
      }, graceMs);
      await stopped;
      clearTimeout(cut);
    },
  };
}

function handlers(routes: Routes, meter: RequestMeter) {
  return {
    // Archives may be of any length; everything else is bounded where it is read.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    routes,
    fetch(request: Request): Response {
      meter.seen({ method: "any", route: "none", status: 404 }, 0);
      return problemResponse({
        code: "not-found",
        message: `there is no ${request.method} ${new URL(request.url).pathname}`,
        next: "docs/guide/api.md lists every path",
      });
    },
    websocket: {
      // Bun answers pings by itself; a session may be silent for as long as it likes.
      idleTimeout: 0,
      maxPayloadLength: frameBytesMax,
      message: (socket: Bun.ServerWebSocket<ExecSocket>, data: string | Uint8Array) =>
        socket.data.message(socket, data),
      drain: (socket: Bun.ServerWebSocket<ExecSocket>) => socket.data.drain(),
      close: (socket: Bun.ServerWebSocket<ExecSocket>) => socket.data.closed(),
    },
  };
}

/** A page that a user of this machine has open must not reach the agent: browsers name the page's origin. */
function refuseBrowser(request: Request): Problem | undefined {
  if (request.headers.get("origin") === null) return undefined;
  return { code: "invalid-request", message: "requests from web pages are refused" };
}

/** Against rebinding: a name that a stranger's DNS points at loopback is not a name of this machine. */
function refuseForeign(request: Request): Problem | undefined {
  if (!loopbackHost.test(request.headers.get("host") ?? ""))
    return { code: "invalid-request", message: "the Host header must name loopback" };
  return refuseBrowser(request);
}
