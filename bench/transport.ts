/** Round trips and bulk throughput of the TLS transport, beside raw TCP in the same process on loopback. `bun bench/transport.ts` */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TlsTransport } from "../src/adapters/transports/tls-transport.ts";
import { libraryCertifier } from "../src/node/identity/certificates.ts";
import { foundFleet } from "../src/node/identity/identity.ts";
import type { Logger } from "../src/ports/logger.ts";
import type { TransportHandlers } from "../src/ports/transport.ts";

const logger: Logger = { error() {}, warn() {}, info() {}, debug() {}, child: () => logger };
const directory = await mkdtemp(join(tmpdir(), "muster-bench-"));
const identity = await foundFleet(directory, {
  name: "bench",
  nowMs: Date.now(),
  certifier: libraryCertifier,
}).finally(() => rm(directory, { recursive: true, force: true }));

const heard = { posts: 0, datagrams: 0, bytes: 0 };
const handlers: TransportHandlers = {
  datagram: () => void heard.datagrams++,
  post: () => void heard.posts++,
  call: async (_, __, payload) => payload,
  open: (_, __, ___, stream) =>
    void (async () => {
      for await (const chunk of stream.incoming) heard.bytes += chunk.byteLength;
      await stream.finish();
    })(),
};
async function start(): Promise<TlsTransport> {
  const transport = new TlsTransport(
    { logger, join: undefined },
    { identity, listen: ["127.0.0.1:0"], advertise: [] },
  );
  await transport.start(handlers);
  return transport;
}

/** Microseconds per run, the median of `runs`. */
async function medianUs(runs: number, run: () => Promise<unknown>): Promise<number> {
  const took: number[] = [];
  for (let i = 0; i < runs; i++) {
    const began = performance.now();
    await run();
    took.push((performance.now() - began) * 1_000);
  }
  return took.toSorted((a, b) => a - b)[Math.floor(runs / 2)] ?? 0;
}

const server = await start();
const client = await start();
const to = { id: identity.id, addresses: server.addresses() };
const small = new Uint8Array(104);
const call = (payload: Uint8Array): Promise<Uint8Array> =>
  client.call(to, "echo", payload, { timeoutMs: 30_000 });
const connectMs = (await medianUs(1, () => call(small))) / 1_000;
await medianUs(2_000, () => call(small));
const callUs = await medianUs(10_000, () => call(small));
const probeUs = await medianUs(50, () => client.probe(to, { timeoutMs: 5_000 }));

let answered: () => void = () => undefined;
const echo = Bun.listen({
  hostname: "127.0.0.1",
  port: 0,
  socket: { data: (socket, data) => void socket.write(data) },
});
const raw = await Bun.connect({ hostname: "127.0.0.1", port: echo.port, socket: { data: () => answered() } });
const rawCall = (): Promise<void> =>
  new Promise((resolve) => {
    answered = resolve;
    raw.write(small);
  });
await medianUs(2_000, rawCall);
const rawUs = await medianUs(10_000, rawCall);
raw.end();
echo.stop(true);

const bulkBytes = 512 * 1024 * 1024;
const chunk = new Uint8Array(256 * 1024);
const stream = await client.open(to, "sink", new Uint8Array(), { timeoutMs: 5_000 });
const bulkBegan = performance.now();
for (let sent = 0; sent < bulkBytes; sent += chunk.byteLength) await stream.write(chunk);
await stream.finish();
for await (const _ of stream.incoming) continue;
const bulkSeconds = (performance.now() - bulkBegan) / 1_000;

const postCount = 200_000;
const postsBegan = performance.now();
for (let i = 0; i < postCount; i++) {
  client.post(to, "bench", small);
  if (i % 500 === 499) await new Promise((resolve) => setImmediate(resolve));
}
while (heard.posts < postCount) await new Promise((resolve) => setImmediate(resolve));
const postsSeconds = (performance.now() - postsBegan) / 1_000;

const datagramCount = 50_000;
const datagramsBegan = performance.now();
for (let i = 0; i < datagramCount; i++) {
  client.datagram(to.addresses[0] ?? "", small);
  if (i % 100 === 99) await new Promise((resolve) => setImmediate(resolve));
}
const datagramsSeconds = (performance.now() - datagramsBegan) / 1_000;

console.log(`first call, connecting included   ${connectMs.toFixed(1)} ms`);
console.log(
  `call of 104 bytes and back        ${callUs.toFixed(0)} µs   (raw TCP ${rawUs.toFixed(0)} µs, ratio ${(callUs / rawUs).toFixed(1)})`,
);
console.log(`probe, a new connection each      ${(probeUs / 1_000).toFixed(1)} ms`);
console.log(`stream, both ends one process     ${(heard.bytes / bulkSeconds / 1e6).toFixed(0)} MB/s`);
console.log(`posts of 104 bytes                ${(postCount / postsSeconds / 1_000).toFixed(0)} k/s`);
console.log(
  `datagrams of 104 bytes            ${(datagramCount / datagramsSeconds / 1_000).toFixed(0)} k/s sent, ${((100 * heard.datagrams) / datagramCount).toFixed(1)} % heard`,
);
console.log(`resident memory                   ${(process.memoryUsage.rss() / 1e6).toFixed(0)} MB`);
await client.close();
await server.close();
