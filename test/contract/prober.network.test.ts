import { afterAll, expect, test } from "bun:test";
import { createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { NetworkProber } from "../../src/adapters/probers/network-prober.ts";
import { http, runProberSuite } from "./prober-suite.ts";

const address = "127.0.0.1";
const closers: (() => Promise<void> | void)[] = [];
afterAll(async () => {
  for (const close of closers) await close();
});

function portOf(server: { address(): AddressInfo | string | null }): number {
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("the server is not bound to a port");
  return bound.port;
}

async function listenOn(server: Pick<Server, "listen" | "once">): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, address, () => resolve());
  await promise;
}

function serveHttp(): number {
  const server = Bun.serve({
    hostname: address,
    port: 0,
    fetch: ({ url }) => {
      const { pathname } = new URL(url);
      if (pathname === "/elsewhere") return Response.redirect("http://127.0.0.1:1/nowhere", 302);
      return new Response(null, { status: pathname === "/fine" ? 204 : 503 });
    },
  });
  closers.push(() => server.stop(true));
  return server.port ?? 0;
}

async function serveSilence(): Promise<{ port: number; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
  });
  await listenOn(server);
  closers.push(() => void server.close());
  return { port: portOf(server), sockets };
}

/** Speaks the health checking protocol, with messages as its own definition lays them out. */
async function serveGrpc(): Promise<number> {
  const server = createHttp2Server();
  server.on("stream", (stream: ServerHttp2Stream) => {
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("end", () => {
      const service = Buffer.concat(chunks).subarray(7).toString();
      const status = service === "" || service === "fine" ? 1 : service === "ill" ? 2 : undefined;
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.on("wantTrailers", () =>
        stream.sendTrailers({ "grpc-status": status === undefined ? "5" : "0" }),
      );
      if (status !== undefined) stream.write(Buffer.from([0, 0, 0, 0, 2, 0x08, status]));
      stream.end();
    });
  });
  await listenOn(server);
  closers.push(() => void server.close());
  return portOf(server);
}

async function closedPort(): Promise<number> {
  const server = createServer();
  await listenOn(server);
  const port = portOf(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

runProberSuite("network", async () => ({
  prober: new NetworkProber(),
  address,
  ports: {
    http: serveHttp(),
    silent: (await serveSilence()).port,
    closed: await closedPort(),
    grpc: await serveGrpc(),
  },
  dispose: async () => {},
}));

test("another address is asked where nobody listens on the first", async () => {
  const port = serveHttp();
  const prober = new NetworkProber();
  const signal = AbortSignal.timeout(2_000);
  expect((await prober.probe(http(port, "/fine"), ["::1", address], signal)).isWell).toBe(true);
  const answer = await prober.probe(http(port, "/broken"), [address, "::1"], signal);
  expect(answer.detail).toBe("HTTP 503");
});

test("no connection is left behind", async () => {
  const { port, sockets } = await serveSilence();
  const abort = new AbortController();
  const answer = new NetworkProber().probe(http(port, "/"), [address], abort.signal);
  while (sockets.size === 0) await new Promise((resolve) => setImmediate(resolve));
  abort.abort();
  await answer;
  while (sockets.size > 0) await new Promise((resolve) => setImmediate(resolve));
  expect(sockets.size).toBe(0);
});
