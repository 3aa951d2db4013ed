import { afterEach, beforeEach, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { askToJoin, JoinDialError } from "../../src/adapters/transports/tls-join.ts";
import { TlsTransport } from "../../src/adapters/transports/tls-transport.ts";
import type { Logger } from "../../src/ports/logger.ts";
import type { TransportHandlers } from "../../src/ports/transport.ts";
import { libraryCertifier } from "../../src/node/identity/certificates.ts";
import { foundFleet, loadIdentity, type Identity } from "../../src/node/identity/identity.ts";
import { IdentityError } from "../../src/node/identity/identity-error.ts";
import { createInvite, inviteTtlMsMax, parseInvite } from "../../src/node/identity/invite.ts";
import { joinFleet, JoinService, type JoinDial } from "../../src/node/identity/join.ts";

const logger: Logger = { error() {}, warn() {}, info() {}, debug() {}, child: () => logger };
const handlers: TransportHandlers = {
  datagram() {},
  post() {},
  call: async (_, __, payload) => payload,
  open: (_, __, ___, stream) => stream.abort(),
};

let directory = "";
const open: TlsTransport[] = [];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "muster-identity-"));
});
afterEach(async () => {
  for (const transport of open.splice(0)) await transport.close();
  await rm(directory, { recursive: true });
});

const nowMs = Date.now();
const found = (name: string, at = name): Promise<Identity> =>
  foundFleet(join(directory, at), { name, nowMs, certifier: libraryCertifier });

async function startMember(identity: Identity): Promise<TlsTransport> {
  const service: JoinService = new JoinService(
    {
      wallMs: Date.now,
      certifier: libraryCertifier,
      members: () => [{ id: identity.id, addresses: transport.addresses() }],
    },
    { identity },
  );
  const transport: TlsTransport = new TlsTransport(
    { logger, join: (request) => service.admit(request) },
    { identity, listen: ["127.0.0.1:0"], advertise: [] },
  );
  await transport.start(handlers);
  open.push(transport);
  return transport;
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "ok";
  } catch (error) {
    return error instanceof IdentityError ? error.code : String(error);
  }
}

/** A port with nobody behind it. */
async function deadAddress(): Promise<string> {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return `127.0.0.1:${listener.port}`;
}

test("founding makes an identity that loads again, private and whole", async () => {
  const identity = await found("home");
  expect(await loadIdentity(join(directory, "home"))).toEqual(identity);
  expect(identity.fleetName).toBe("home");
  expect(identity.fingerprint).toBe(
    new X509Certificate(identity.rootPem).fingerprint256.replaceAll(":", "").toLowerCase(),
  );
  const path = join(directory, "home", "identity");
  expect((await stat(path)).mode & 0o777).toBe(0o700);
  for (const file of await readdir(path)) expect((await stat(join(path, file))).mode & 0o777).toBe(0o600);
  expect(await readdir(join(directory, "home"))).toEqual(["identity"]);
  expect(await codeOf(found("home"))).toBe("exists");
  expect(await codeOf(found("No Name"))).not.toBe("ok");
});

test("an identity whose parts do not fit, or that others may read, does not load", async () => {
  const home = await found("home");
  const other = await found("other");
  expect(await loadIdentity(join(directory, "nothing"))).toBeUndefined();
  const path = join(directory, "home", "identity");
  const swaps: [string, string, string][] = [
    ["node-key.pem", other.keyPem, home.keyPem],
    ["fleet-root.pem", other.rootPem, home.rootPem],
    ["fleet-key.pem", other.issuingKeyPem, home.issuingKeyPem],
    ["node-certificate.pem", "", home.certificatePem],
    ["datagram-key", "00", Buffer.from(home.datagramKey).toString("hex")],
  ];
  for (const [file, wrong, right] of swaps) {
    await writeFile(join(path, file), wrong);
    expect(await codeOf(loadIdentity(join(directory, "home")))).toBe("corrupt");
    await writeFile(join(path, file), right);
  }
  expect(await loadIdentity(join(directory, "home"))).toEqual(home);
  await chmod(path, 0o755);
  expect(await codeOf(loadIdentity(join(directory, "home")))).toBe("corrupt");
});

test("any member admits; the new member is equal and admits the next", async () => {
  const first = await found("home");
  const firstTransport = await startMember(first);
  const invite = createInvite(first, { ttlMs: 60_000, addresses: firstTransport.addresses(), nowMs });
  const second = await joinFleet(
    { dial: askToJoin },
    {
      dataDirectory: join(directory, "second"),
      addresses: [await deadAddress()],
      token: invite.token,
      nowMs,
    },
  );
  expect(second.members).toEqual([{ id: first.id, addresses: [...firstTransport.addresses()] }]);
  expect(second.identity.fingerprint).toBe(first.fingerprint);
  expect(await loadIdentity(join(directory, "second"))).toEqual(second.identity);
  const secondTransport = await startMember(second.identity);
  const call = firstTransport.call(
    { id: second.identity.id, addresses: secondTransport.addresses() },
    "m",
    new Uint8Array([1]),
    { timeoutMs: 3_000 },
  );
  expect([...(await call)]).toEqual([1]);
  await firstTransport.close();
  const next = createInvite(second.identity, { ttlMs: 60_000, addresses: [], nowMs });
  const third = await joinFleet(
    { dial: askToJoin },
    {
      dataDirectory: join(directory, "third"),
      addresses: secondTransport.addresses(),
      token: next.token,
      nowMs,
    },
  );
  expect(third.identity.fingerprint).toBe(first.fingerprint);
  expect(new Set([first.id, second.identity.id, third.identity.id]).size).toBe(3);
});

test("refusals say what is wrong and leave nothing behind", async () => {
  const home = await found("home");
  const other = await found("other");
  const addresses = (await startMember(home)).addresses();
  const dataDirectory = join(directory, "new");
  const attempt = (token: string, at: readonly string[] = addresses, clock = nowMs): Promise<string> =>
    codeOf(joinFleet({ dial: askToJoin }, { dataDirectory, addresses: at, token, nowMs: clock }));
  const good = createInvite(home, { ttlMs: 60_000, addresses: [], nowMs }).token;
  expect(await attempt("hello")).toBe("bad-token");
  expect(await attempt(good.slice(0, 40))).toBe("bad-token");
  expect(await attempt(good, addresses, nowMs + 120_000)).toBe("expired");
  // The joiner's clock is behind: the member decides.
  expect(
    await attempt(
      createInvite(home, { ttlMs: 1_000, addresses: [], nowMs: nowMs - 60_000 }).token,
      addresses,
      nowMs - 60_000,
    ),
  ).toBe("refused");
  expect(
    await attempt(
      createInvite({ ...home, issuingKeyPem: other.issuingKeyPem }, { ttlMs: 60_000, addresses: [], nowMs })
        .token,
    ),
  ).toBe("refused");
  expect(await attempt(createInvite(other, { ttlMs: 60_000, addresses: [], nowMs }).token)).toBe(
    "wrong-fleet",
  );
  expect(await attempt(good, [])).toBe("unreachable");
  const dead = await deadAddress();
  expect(await attempt(good, [dead])).toBe("unreachable");
  await joinFleet({ dial: askToJoin }, { dataDirectory, addresses: [dead], token: good, nowMs }).catch(
    (error: unknown) => expect(String(error)).toContain(dead),
  );
  expect(await loadIdentity(dataDirectory)).toBeUndefined();
  expect(await attempt(good)).toBe("ok");
  expect(await attempt(good)).toBe("exists");
});

test("a stranger at the join address never sees the token", async () => {
  const home = await found("home");
  const other = await found("other");
  const seen: string[] = [];
  const impostor = new TlsTransport(
    {
      logger,
      join: async (request) => {
        seen.push(new TextDecoder().decode(request));
        return new Uint8Array();
      },
    },
    // It knows the real root certificate, which is no secret, but has no certificate by it.
    { identity: { ...other, rootPem: home.rootPem }, listen: ["127.0.0.1:0"], advertise: [] },
  );
  await impostor.start(handlers);
  open.push(impostor);
  const { token } = createInvite(home, { ttlMs: 60_000, addresses: impostor.addresses(), nowMs });
  expect(
    await codeOf(
      joinFleet({ dial: askToJoin }, { dataDirectory: join(directory, "new"), addresses: [], token, nowMs }),
    ),
  ).toBe("wrong-fleet");
  expect(seen).toEqual([]);
});

test("requests to join are bounded in size and number, and each must own its key", async () => {
  const home = await found("home");
  const transport = await startMember(home);
  const address = transport.addresses()[0] ?? "";
  const ask = (request: Uint8Array): Promise<string> =>
    askToJoin(address, { fingerprint: home.fingerprint, request, timeoutMs: 3_000 }).then(
      () => "ok",
      (error: unknown) =>
        error instanceof JoinDialError ? `${error.code}: ${error.message}` : String(error),
    );
  expect(await ask(new Uint8Array(9_000))).toStartWith("unreachable");
  expect(await ask(new Uint8Array([0xff]))).toStartWith("refused");
  const { token } = createInvite(home, { ttlMs: 60_000, addresses: [], nowMs });
  let request = new Uint8Array();
  const steal: JoinDial = async (_, options) => {
    request = new Uint8Array(options.request);
    throw new JoinDialError("unreachable", "kept");
  };
  await codeOf(
    joinFleet({ dial: steal }, { dataDirectory: join(directory, "new"), addresses: [address], token, nowMs }),
  );
  const parsed: unknown = JSON.parse(new TextDecoder().decode(request));
  const forged = JSON.stringify({
    ...(typeof parsed === "object" ? parsed : {}),
    publicKey: Buffer.alloc(32, 9).toString("base64url"),
  });
  expect(await ask(new TextEncoder().encode(forged))).toStartWith("refused");
  const answers = await Promise.all(Array.from({ length: 30 }, () => ask(new Uint8Array([0xff]))));
  expect(answers.some((answer) => answer.includes("too many"))).toBe(true);
});

test("an invite carries its addresses and lives 30 days at most", async () => {
  const home = await found("home");
  const { token, expiresAtMs } = createInvite(home, {
    ttlMs: Infinity,
    addresses: ["[fd00::1]:7400"],
    nowMs,
  });
  expect(expiresAtMs).toBe(nowMs + inviteTtlMsMax);
  expect(parseInvite(` ${token}\n`)).toMatchObject({
    addresses: ["[fd00::1]:7400"],
    fingerprint: home.fingerprint,
    expiresAtMs,
  });
});
