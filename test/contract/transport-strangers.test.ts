import { afterEach, expect, test } from "bun:test";
import { createKeyPem, nodeIdOfKey, publicKeyOf } from "../../src/node/identity/keys.ts";
import { createRootCertificate, issueNodeCertificate } from "../../src/node/identity/certificates.ts";
import type { Logger } from "../../src/ports/logger.ts";
import { TransportError, type TransportHandlers } from "../../src/ports/transport.ts";
import { DatagramSealer } from "../../src/adapters/transports/datagram-seal.ts";
import { FrameDecoder, encodeFrame, encodeNamed, frameTypes } from "../../src/adapters/transports/frames.ts";
import { tlsOptions, type TlsIdentity } from "../../src/adapters/transports/peer-check.ts";
import { TlsTransport } from "../../src/adapters/transports/tls-transport.ts";

const logger: Logger = { error() {}, warn() {}, info() {}, debug() {}, child: () => logger };

const open: TlsTransport[] = [];
afterEach(async () => {
  for (const transport of open.splice(0)) await transport.close();
});

async function createFleet(fleetName: string) {
  const issuingKeyPem = createKeyPem();
  const nowMs = Date.now();
  const rootPem = await createRootCertificate({
    fleetName,
    issuingKeyPem,
    publicKey: publicKeyOf(issuingKeyPem),
    nowMs,
  });
  const datagramKey = crypto.getRandomValues(new Uint8Array(32));
  return async (issuedAtMs = nowMs): Promise<TlsIdentity> => {
    const keyPem = createKeyPem();
    const id = nodeIdOfKey(keyPem);
    const certificatePem = await issueNodeCertificate({
      id,
      publicKey: publicKeyOf(keyPem),
      rootPem,
      issuingKeyPem,
      nowMs: issuedAtMs,
    });
    return { id, keyPem, certificatePem, rootPem, datagramKey };
  };
}

/** Everything that reaches a handler. */
function counting() {
  const seen: string[] = [];
  const handlers: TransportHandlers = {
    datagram: () => void seen.push("datagram"),
    post: () => void seen.push("post"),
    call: async (_, __, payload) => {
      seen.push("call");
      return payload;
    },
    open: (_, __, ___, stream) => {
      seen.push("open");
      stream.abort();
    },
  };
  return { seen, handlers };
}

async function start(
  identity: TlsIdentity,
  handlers: TransportHandlers,
  listen: readonly string[] = ["127.0.0.1:0"],
) {
  const transport = new TlsTransport({ logger, join: undefined }, { identity, listen, advertise: [] });
  await transport.start(handlers);
  open.push(transport);
  return { transport, peer: { id: identity.id, addresses: transport.addresses() } };
}

const portOf = (address: string | undefined): number => Number(address?.split(":").at(-1));

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "ok",
    (error: unknown) => (error instanceof TransportError ? error.info.code : String(error)),
  );

/** Sends bytes over TLS with the given options and resolves, with what came back, when the other end closes. */
function attack(port: number, tls: Bun.TLSOptions, bytes: Uint8Array): Promise<Buffer> {
  return new Promise((resolve) => {
    const got: Buffer[] = [];
    const done = (): void => resolve(Buffer.concat(got));
    Bun.connect({
      hostname: "127.0.0.1",
      port,
      tls,
      socket: {
        handshake: (socket) => void socket.write(bytes),
        data: (_, data) => void got.push(data),
        close: done,
        error: done,
      },
    }).catch(done);
  });
}

test("who has no certificate, or one of another fleet, a stale one or only the root's, can do nothing", async () => {
  const ours = await createFleet("ours");
  const theirs = await createFleet("ours");
  const { seen, handlers } = counting();
  const { peer } = await start(await ours(), handlers);
  const port = portOf(peer.addresses[0]);
  const foreign = await theirs();
  const stale = await ours(Date.now() - 11 * 365 * 86_400_000);
  const bytes = Buffer.concat([
    encodeFrame(frameTypes.bind, 0, new Uint8Array()),
    encodeFrame(frameTypes.post, 1, encodeNamed("raft")),
    encodeFrame(frameTypes.call, 2, encodeNamed("m")),
    encodeFrame(frameTypes.open, 3, encodeNamed("m")),
  ]);
  const mine = await ours();
  const refusals = await Promise.all([
    attack(port, { rejectUnauthorized: false }, bytes),
    attack(port, tlsOptions(foreign), bytes),
    attack(port, { ...tlsOptions(foreign), ca: mine.rootPem }, bytes),
    attack(port, tlsOptions(stale), bytes),
  ]);
  const answered = refusals.flatMap((answer) => new FrameDecoder().push(answer).map(({ type }) => type));
  expect(answered.toSorted((x, y) => x - y)).toEqual([
    frameTypes.refuse,
    frameTypes.refuse,
    frameTypes.refuse,
    frameTypes.root,
  ]);
  for (const identity of [foreign, { ...foreign, rootPem: mine.rootPem }, stale]) {
    const stranger = await start(identity, counting().handlers);
    expect(await codeOf(stranger.transport.call(peer, "m", new Uint8Array(), { timeoutMs: 3_000 }))).toBe(
      "identity",
    );
    expect(await codeOf(stranger.transport.open(peer, "m", new Uint8Array(), { timeoutMs: 3_000 }))).toBe(
      "identity",
    );
    expect(await stranger.transport.probe(peer, { timeoutMs: 300 })).toBe("timeout");
    stranger.transport.post(peer, "raft", new Uint8Array(1));
  }
  expect(seen).toEqual([]);
  const friend = await start(mine, counting().handlers);
  expect(await codeOf(friend.transport.call(peer, "m", new Uint8Array(), { timeoutMs: 3_000 }))).toBe("ok");
  expect(seen).toEqual(["call"]);
});

test("TLS below 1.3 and malformed frames end the connection, and nothing else", async () => {
  const ours = await createFleet("ours");
  const { seen, handlers } = counting();
  const { peer } = await start(await ours(), handlers);
  const port = portOf(peer.addresses[0]);
  const member = await ours();
  const old: Bun.TLSOptions & { minVersion: number; maxVersion: number } = {
    ...tlsOptions(member),
    minVersion: 0x0303,
    maxVersion: 0x0303,
  };
  expect((await attack(port, old, new Uint8Array([1]))).byteLength).toBe(0);
  const bad = [
    new Uint8Array([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0]),
    encodeFrame(frameTypes.post, 1, new Uint8Array([200, 1])),
    encodeFrame(frameTypes.answer, 1, new Uint8Array()),
    encodeFrame(frameTypes.join, 1, new Uint8Array()),
    crypto.getRandomValues(new Uint8Array(4_096)),
  ];
  await Promise.all(bad.map((bytes) => attack(port, tlsOptions(member), bytes)));
  expect(seen).toEqual([]);
  const friend = await start(await ours(), counting().handlers);
  expect(await codeOf(friend.transport.call(peer, "m", new Uint8Array(), { timeoutMs: 3_000 }))).toBe("ok");
});

test("datagrams of another fleet, forged or replayed, are not heard", async () => {
  const ours = await createFleet("ours");
  const theirs = await createFleet("theirs");
  const { seen, handlers } = counting();
  const { peer } = await start(await ours(), handlers);
  const sender = await ours();
  const foreign = await theirs();
  const socket = await Bun.udpSocket({ hostname: "127.0.0.1" });
  const send = (bytes: Uint8Array): boolean => socket.send(bytes, portOf(peer.addresses[0]), "127.0.0.1");
  const sealerOf = (identity: TlsIdentity) =>
    new DatagramSealer({ sender: identity.id, fleetKey: identity.datagramKey, bootMs: Date.now() });
  const ownSealer = sealerOf(sender);
  const good = ownSealer.seal("payload", new Uint8Array([1]));
  send(sealerOf(foreign).seal("payload", new Uint8Array([1])));
  send(new Uint8Array(100));
  send(good.map((byte, i) => (i === good.length - 1 ? byte ^ 1 : byte)));
  send(good.map((byte, i) => (i === 5 ? byte ^ 1 : byte)));
  send(good);
  send(good);
  send(ownSealer.seal("payload", new Uint8Array([2])));
  while (seen.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  socket.close();
  // A call goes the longer way, so that a third datagram would have been heard by its end.
  const friend = await start(await ours(), counting().handlers);
  await friend.transport.call(peer, "m", new Uint8Array(), { timeoutMs: 3_000 });
  expect(seen).toEqual(["datagram", "datagram", "call"]);
});

test("several addresses at once, v4 and v6; a taken one fails the start and frees the rest", async () => {
  const ours = await createFleet("ours");
  const both = await start(await ours(), counting().handlers, ["127.0.0.1:0", "[::1]:0"]);
  expect(both.peer.addresses).toHaveLength(2);
  const friend = await start(await ours(), counting().handlers, ["127.0.0.1:0", "[::1]:0"]);
  for (const address of both.peer.addresses)
    expect(
      await friend.transport.probe({ id: both.peer.id, addresses: [address] }, { timeoutMs: 3_000 }),
    ).toBe("answered");
  const taken = both.peer.addresses[0] ?? "";
  const late = new TlsTransport(
    { logger, join: undefined },
    { identity: await ours(), listen: ["127.0.0.2:0", taken], advertise: [] },
  );
  let code = "";
  await late.start(counting().handlers).catch((error: unknown) => {
    code = error instanceof Error && "code" in error ? String(error.code) : String(error);
  });
  expect(code).toBe("EADDRINUSE");
});

test("the address of the machine stands in for a wildcard", async () => {
  const ours = await createFleet("ours");
  const { peer } = await start(await ours(), counting().handlers, ["0.0.0.0:0"]);
  expect(peer.addresses.length).toBeGreaterThan(0);
  expect(peer.addresses.every((address) => !address.startsWith("0.0.0.0"))).toBe(true);
});
