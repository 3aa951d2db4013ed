/**
 * REAL: what happens when a machine goes silent and comes back, with the kernel's own TCP. The tests run again inside a network
 * namespace of their own, which ends with the process that has it; a packet filter there plays the dead machine.
 */
import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { createRootCertificate, issueNodeCertificate } from "../../src/node/identity/certificates.ts";
import { createKeyPem, nodeIdOfKey, publicKeyOf } from "../../src/node/identity/keys.ts";
import type { Logger } from "../../src/ports/logger.ts";
import { TransportError, type TransportHandlers } from "../../src/ports/transport.ts";
import type { TlsIdentity } from "../../src/adapters/transports/peer-check.ts";
import { TlsTransport } from "../../src/adapters/transports/tls-transport.ts";

const isInside = process.env["MUSTER_TEST_NAMESPACE"] === "1";
const canEnter =
  process.getuid?.() === 0 &&
  Bun.which("unshare") !== null &&
  Bun.which("nft") !== null &&
  Bun.which("ip") !== null;
if (!isInside && !canEnter) console.log("skipped: power loss needs root, unshare, ip and nft");

test.skipIf(isInside || !canEnter)(
  "a silent machine, in a namespace",
  async () => {
    const child = Bun.spawn(["unshare", "--net", process.execPath, "test", import.meta.path], {
      env: { ...process.env, MUSTER_TEST_NAMESPACE: "1" },
      stdout: "pipe",
      stderr: "pipe",
    });
    const output = await new Response(child.stderr).text();
    expect(await child.exited, output).toBe(0);
  },
  60_000,
);

const logger: Logger = { error() {}, warn() {}, info() {}, debug() {}, child: () => logger };
const dead = "127.0.0.2";

async function run(...command: string[]): Promise<void> {
  const child = Bun.spawn(command, { stdout: "ignore", stderr: "pipe" });
  const errors = await new Response(child.stderr).text();
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")}: ${errors}`);
}

async function powerOff(): Promise<void> {
  await run(
    "nft",
    `add table inet cut; add chain inet cut in { type filter hook input priority 0; };
    add rule inet cut in ip daddr ${dead} drop; add rule inet cut in ip saddr ${dead} drop`,
  );
}

const powerOn = (): Promise<void> => run("nft", "delete table inet cut");

async function until(holds: () => boolean, limitMs: number): Promise<number> {
  const began = performance.now();
  while (!holds()) {
    if (performance.now() - began > limitMs)
      throw new Error(`not so within ${limitMs} ms: ${holds.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return performance.now() - began;
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "ok",
    (error: unknown) => (error instanceof TransportError ? error.info.code : String(error)),
  );

describe.skipIf(!isInside)("inside", () => {
  const open: TlsTransport[] = [];
  let identities: readonly TlsIdentity[] = [];

  beforeAll(async () => {
    await run("ip", "link", "set", "lo", "up");
    const issuingKeyPem = createKeyPem();
    const nowMs = Date.now();
    const rootPem = await createRootCertificate({
      fleetName: "home",
      issuingKeyPem,
      publicKey: publicKeyOf(issuingKeyPem),
      nowMs,
    });
    const member = async (): Promise<TlsIdentity> => {
      const keyPem = createKeyPem();
      const id = nodeIdOfKey(keyPem);
      const certificatePem = await issueNodeCertificate({
        id,
        publicKey: publicKeyOf(keyPem),
        rootPem,
        issuingKeyPem,
        nowMs,
      });
      return { id, keyPem, certificatePem, rootPem, datagramKey: new Uint8Array(32).fill(1) };
    };
    identities = [await member(), await member()];
  });

  afterEach(async () => {
    for (const transport of open.splice(0)) await transport.close();
    await powerOn().catch(() => undefined);
  });

  async function start(at: number, listen: string, posts: number[] = []) {
    const identity = identities[at];
    if (identity === undefined) throw new Error("no such identity");
    const handlers: TransportHandlers = {
      datagram() {},
      post: (_, __, payload) => void posts.push(payload[0] ?? 0),
      call: async (_, method, payload) =>
        method === "hang" ? new Promise<Uint8Array>(() => undefined) : payload,
      open: () => undefined,
    };
    const transport = new TlsTransport(
      { logger, join: undefined },
      { identity, listen: [listen], advertise: [] },
    );
    await transport.start(handlers);
    open.push(transport);
    return { transport, peer: { id: identity.id, addresses: transport.addresses() } };
  }

  async function pair() {
    const a = await start(0, "127.0.0.1:0");
    const posts: number[] = [];
    const b = await start(1, `${dead}:0`, posts);
    expect(await codeOf(a.transport.call(b.peer, "echo", new Uint8Array(), { timeoutMs: 3_000 }))).toBe("ok");
    return { a, b, posts };
  }

  test("calls to it end at their time, streams break, a probe is silent", async () => {
    const { a, b } = await pair();
    const stream = await a.transport.open(b.peer, "logs", new Uint8Array(), { timeoutMs: 3_000 });
    await powerOff();
    const began = performance.now();
    const code = await codeOf(a.transport.call(b.peer, "echo", new Uint8Array(), { timeoutMs: 400 }));
    expect(code).toBe("timeout");
    expect(performance.now() - began).toBeLessThan(700);
    expect(await a.transport.probe(b.peer, { timeoutMs: 200 })).toBe("timeout");
    expect(await codeOf(stream.incoming[Symbol.asyncIterator]().next())).toBe("unreachable");
    expect(performance.now() - began).toBeLessThan(8_000);
  }, 20_000);

  test("back at the same address after a restart, posts and calls get through within a second", async () => {
    for (const offMs of [300, 1_500, 5_000]) {
      const { a, b } = await pair();
      await powerOff();
      const flow = setInterval(() => a.transport.post(b.peer, "raft", new Uint8Array([1])), 50);
      const gone = performance.now();
      await b.transport.close();
      await until(() => performance.now() - gone > offMs, offMs + 1_000);
      const posts: number[] = [];
      await start(1, b.peer.addresses[0] ?? "", posts);
      await powerOn();
      const backMs = await until(() => posts.length > 0, 10_000);
      clearInterval(flow);
      console.log(`off for ${offMs} ms: posts flow again after ${backMs.toFixed(0)} ms`);
      expect(backMs).toBeLessThan(1_000);
      expect(await codeOf(a.transport.call(b.peer, "echo", new Uint8Array(), { timeoutMs: 1_000 }))).toBe(
        "ok",
      );
      for (const transport of open.splice(0)) await transport.close();
    }
  }, 40_000);

  test("a cut that heals: what waited is answered, posts stay in order", async () => {
    const { a, b, posts } = await pair();
    let next = 0;
    const flow = setInterval(() => a.transport.post(b.peer, "raft", new Uint8Array([next++])), 20);
    await until(() => posts.length > 10, 3_000);
    await powerOff();
    const waiting = codeOf(a.transport.call(b.peer, "echo", new Uint8Array(), { timeoutMs: 10_000 }));
    const gone = performance.now();
    await until(() => performance.now() - gone > 2_500, 4_000);
    await powerOn();
    const before = posts.length;
    const backMs = await until(() => posts.length > before + 10, 10_000);
    clearInterval(flow);
    console.log(
      `healed after 2500 ms: ten more posts after ${backMs.toFixed(0)} ms, the call: ${await waiting}`,
    );
    expect(backMs).toBeLessThan(1_500);
    expect(posts).toEqual(posts.toSorted((x, y) => x - y));
    expect(new Set(posts).size).toBe(posts.length);
  }, 20_000);

  test("no route and no neighbour are unreachable, not refusals", async () => {
    const { a } = await pair();
    await run("ip", "route", "add", "unreachable", "10.9.9.9/32");
    await run("ip", "link", "add", "va", "type", "veth", "peer", "name", "vb");
    for (const link of ["va", "vb"]) await run("ip", "link", "set", link, "up");
    await run("ip", "address", "add", "10.5.0.1/24", "dev", "va");
    await run("ip", "-6", "route", "add", "unreachable", "fd99::/64");
    const outcomes = ["10.9.9.9:7", "10.8.8.8:7", "10.5.0.9:7", "[fd99::1]:7", "127.0.0.1:7", "[::1]:7"].map(
      async (address, i) => {
        const to = { id: String(i).repeat(32), addresses: [address] };
        return [
          await codeOf(a.transport.call(to, "echo", new Uint8Array(), { timeoutMs: 6_000 })),
          await a.transport.probe(to, { timeoutMs: 4_000 }),
        ].join(" ");
      },
    );
    expect(await Promise.all(outcomes)).toEqual([
      "unreachable timeout",
      "unreachable timeout",
      "unreachable timeout",
      "unreachable timeout",
      "refused refused",
      "refused refused",
    ]);
  }, 20_000);
});
