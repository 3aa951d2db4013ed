import { createServer, type Server } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryNetwork, perfectLink } from "../../src/adapters/transports/memory-network.ts";
import { TlsTransport } from "../../src/adapters/transports/tls-transport.ts";
import { createRng } from "../../src/core/rng.ts";
import { foundFleet, saveIdentity, type Identity } from "../../src/node/identity/identity.ts";
import { issueNodeCertificate, libraryCertifier } from "../../src/node/identity/certificates.ts";
import { createKeyPem, nodeIdOfKey, publicKeyOf } from "../../src/node/identity/keys.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { Logger } from "../../src/ports/logger.ts";
import type { TransportHandlers } from "../../src/ports/transport.ts";
import { transportSuite, type SuiteNode, type TransportHarness } from "./transport-suite.ts";

const silentLogger: Logger = {
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  debug: () => undefined,
  child: () => silentLogger,
};

const realClock: Clock = {
  now: () => performance.now(),
  wallMs: () => Date.now(),
  at: (when, callback) => {
    const timer = setTimeout(callback, Math.max(0, when - performance.now()));
    return () => clearTimeout(timer);
  },
};

async function memoryHarness(): Promise<TransportHarness> {
  const network = new MemoryNetwork({ clock: realClock, rng: createRng(1) }, { link: perfectLink });
  const started: SuiteNode[] = [];
  const node = async (handlers: TransportHandlers, id: string): Promise<SuiteNode> => {
    const addresses = [`${id.slice(0, 6)}:7`];
    const transport = network.transport({ id, addresses });
    await transport.start(handlers);
    const made: SuiteNode = { transport, peer: { id, addresses }, restart: (next) => node(next, id) };
    started.push(made);
    return made;
  };
  let count = 0;
  return {
    node: (handlers) => node(handlers, (++count).toString(16).padStart(6, "0").padEnd(32, "a")),
    refusingAddress: async () => {
      const gone = await node(
        {
          datagram: () => undefined,
          post: () => undefined,
          call: async (_, __, p) => p,
          open: () => undefined,
        },
        "e".repeat(32),
      );
      network.crashAgent(gone.peer.id);
      return gone.peer.addresses[0] ?? "";
    },
    silentAddress: async () => "nowhere:7",
    close: async () => {
      for (const { transport } of started) await transport.close();
    },
  };
}

transportSuite("memory transport", memoryHarness);

const fleets = new Map<string, Promise<Identity>>();
/** Founding takes a moment, so both fleets are made once. */
function fleet(name: string): Promise<Identity> {
  const known = fleets.get(name);
  if (known !== undefined) return known;
  const founding = (async () => {
    const directory = await mkdtemp(join(tmpdir(), "muster-transport-"));
    try {
      return await foundFleet(directory, { name, nowMs: Date.now(), certifier: libraryCertifier });
    } finally {
      await rm(directory, { recursive: true });
    }
  })();
  fleets.set(name, founding);
  return founding;
}

async function memberOf(name: string): Promise<Identity> {
  const founder = await fleet(name);
  const keyPem = createKeyPem();
  const certificatePem = await issueNodeCertificate({
    id: nodeIdOfKey(keyPem),
    publicKey: publicKeyOf(keyPem),
    rootPem: founder.rootPem,
    issuingKeyPem: founder.issuingKeyPem,
    nowMs: Date.now(),
  });
  const directory = await mkdtemp(join(tmpdir(), "muster-transport-"));
  try {
    return await saveIdentity(directory, { ...founder, keyPem, certificatePem });
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** Accepts TCP and says nothing: what a machine without power looks like above TCP. */
async function silentServer(host: string): Promise<{ server: Server; address: string }> {
  const server = createServer((socket) => socket.on("error", () => undefined));
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : 0;
  return { server, address: host.includes(":") ? `[${host}]:${port}` : `${host}:${port}` };
}

async function tlsHarness(host: string): Promise<TransportHarness> {
  const started: TlsTransport[] = [];
  const servers: Server[] = [];
  const node = async (
    handlers: TransportHandlers,
    identity: Identity,
    listen: string,
  ): Promise<SuiteNode> => {
    const transport = new TlsTransport(
      { logger: silentLogger, join: undefined },
      { identity, listen: [listen], advertise: [] },
    );
    await transport.start(handlers);
    started.push(transport);
    const addresses = transport.addresses();
    return {
      transport,
      peer: { id: identity.id, addresses },
      restart: (next) => node(next, identity, addresses[0] ?? ""),
    };
  };
  return {
    node: async (handlers, kind) => node(handlers, await memberOf(kind ?? "own"), `${host}:0`),
    refusingAddress: async () => {
      const { server, address } = await silentServer(host.replace(/[[\]]/g, ""));
      await new Promise((resolve) => server.close(resolve));
      return address;
    },
    silentAddress: async () => {
      const { server, address } = await silentServer(host.replace(/[[\]]/g, ""));
      servers.push(server);
      return address;
    },
    close: async () => {
      for (const transport of started) await transport.close();
      for (const server of servers) server.close();
    },
  };
}

transportSuite("TLS transport over IPv4", () => tlsHarness("127.0.0.1"));
transportSuite("TLS transport over IPv6", () => tlsHarness("[::1]"));
