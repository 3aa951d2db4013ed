/** The one composition root: an agent over the real adapters. */
import { availableParallelism, homedir, totalmem } from "node:os";
import { join } from "node:path";
import { HostFabric, hostFabricDefaults } from "../adapters/fabrics/host/host-fabric.ts";
import { OciImageStore, ociImageStoreDefaults } from "../adapters/images/oci/oci-image-store.ts";
import { OciRuntime, ociRuntimeDefaults } from "../adapters/runtimes/oci/oci-runtime.ts";
import { ProcessRuntime, processRuntimeDefaults } from "../adapters/runtimes/process/process-runtime.ts";
import { RuntimeRouter } from "../adapters/runtimes/runtime-router.ts";
import { NetworkProber } from "../adapters/probers/network-prober.ts";
import { LocalVolumes } from "../adapters/volumes/local-volumes.ts";
import { SqliteStore } from "../adapters/stores/sqlite-store.ts";
import { LineLogger } from "../adapters/system/line-logger.ts";
import { readMachineUsage } from "../adapters/system/machine-usage.ts";
import { ProcessMetrics } from "../adapters/system/process-metrics.ts";
import { ProgramMemory } from "../adapters/system/program-memory.ts";
import { SystemClock } from "../adapters/system/system-clock.ts";
import { SystemEntropy } from "../adapters/system/system-entropy.ts";
import { parseAddress } from "../adapters/transports/address.ts";
import { reachableAt, TlsTransport } from "../adapters/transports/tls-transport.ts";
import { fleetPrefix } from "../model/address.ts";
import { defined } from "../model/assert.ts";
import { shortId } from "../model/ids.ts";
import { ProblemError, type ProblemCode } from "../model/problem.ts";
import { StoreError } from "../ports/store.ts";
import type { Logger } from "../ports/logger.ts";
import type { PeerAddress } from "../ports/transport.ts";
import { Agent } from "./agent.ts";
import type { Certifier } from "./identity/certificates.ts";
import { childCertifier } from "./identity/certify.ts";
import { IdentityError } from "./identity/identity-error.ts";
import { foundFleet, loadIdentity, type Identity } from "./identity/identity.ts";
import { WireError } from "../wire/wire-error.ts";
import { createInvite, parseInvite } from "./identity/invite.ts";
import { JoinService } from "./identity/join.ts";
import type { NodeApi } from "./node-api.ts";
import type { NodeOptions } from "./options.ts";
import { logDefaults } from "./group.ts";

export interface RunningNode {
  readonly api: NodeApi;
  /** Resolves when the agent has ended by itself, as after `down`. */
  readonly closed: Promise<void>;
  /** Ends the agent; containers go on. Harmless when it has ended. */
  close(): Promise<void>;
}

/** Share of the machine's memory that is offered; the rest is the system's. */
const memoryShare = 0.9;
const fleetName = "muster";

/** Starts a node: as a member it was, as one that joins, or as the founder of a fleet. Rejects with ProblemError. */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const clock = new SystemClock();
  const logger = new LineLogger(
    { clock, write: (line) => void process.stderr.write(line) },
    { level: options.logLevel, format: options.logFormat, fields: { node: options.name } },
  );
  // The store's lock comes first: two agents must not both make an identity.
  const store = openStore(options.dataDirectory);
  try {
    const { identity, seeds } = await identityFor(options);
    const processMetrics = new ProcessMetrics();
    const agent = compose(options, { clock, logger, store, identity, seeds, processMetrics });
    await agent.start();
    const memory = new ProgramMemory({ clock, logger });
    memory.start();
    const close = async (): Promise<void> => {
      memory.close();
      processMetrics.close();
      await agent.close();
    };
    return { api: agent, closed: agent.closed, close };
  } catch (error) {
    await store.close();
    throw asProblem(error, options);
  }
}

interface Parts {
  readonly clock: SystemClock;
  readonly logger: Logger;
  readonly store: SqliteStore;
  readonly identity: Identity;
  readonly seeds: readonly PeerAddress[];
  readonly processMetrics: ProcessMetrics;
}

function compose(options: NodeOptions, parts: Parts): Agent {
  const { clock, logger, store, identity, seeds, processMetrics } = parts;
  const { dataDirectory } = options;
  const entropy = new SystemEntropy();
  const cgroupParent = options.cgroupParent ?? `/muster/${shortId(identity.id)}`;
  // The transport answers joins before there is an agent to list members.
  const made: { agent?: Agent } = {};
  const joins = new JoinService(
    {
      wallMs: () => clock.wallMs(),
      certifier: certifierOf(options),
      members: () => [
        { id: identity.id, addresses: transport.addresses() },
        ...(made.agent?.livePeers() ?? []),
      ],
    },
    { identity },
  );
  const transport = new TlsTransport(
    { logger, join: async (request) => joins.admit(request) },
    {
      identity,
      listen: [options.listen],
      advertise: options.advertise === undefined ? [] : [options.advertise],
    },
  );
  const agent = new Agent(
    {
      transport,
      store,
      clock,
      entropy,
      logger,
      runtime: runtimesOf(options, { clock, logger, cgroupParent }),
      images: new OciImageStore(
        { clock, entropy, log: logger },
        {
          ...ociImageStoreDefaults,
          root: join(dataDirectory, "images"),
          platform: { os: "linux", architecture: architecture() },
          plainHttpRegistries: options.plainHttpRegistries,
          mirrors: options.registryMirrors,
          ...diskMarks(options),
          credentialsPath: join(process.env["DOCKER_CONFIG"] ?? join(homedir(), ".docker"), "config.json"),
          unpackCommand: [...options.selfCommand, "internal-unpack"],
        },
      ),
      fabric: new HostFabric(
        { clock, log: logger },
        {
          ...hostFabricDefaults,
          statePath: join(dataDirectory, "network"),
          key: shortId(identity.id),
          closedPorts: closedPorts(options),
        },
      ),
      volumes: new LocalVolumes({ root: join(dataDirectory, "volumes") }),
      prober: new NetworkProber(),
      invites: {
        create: async (ttlMs) =>
          createInvite(identity, { ttlMs, addresses: transport.addresses(), nowMs: clock.wallMs() }),
      },
      residentBytes: () => process.memoryUsage.rss(),
      machineUsage: readMachineUsage,
      processMetrics: () => processMetrics.families(),
    },
    {
      id: identity.id,
      name: options.name,
      version: options.version,
      commit: options.commit,
      architecture: architecture(),
      ...(options.zone === undefined ? {} : { zone: options.zone }),
      labels: options.labels,
      addresses: options.advertise === undefined ? reachableAt(options.listen) : [options.advertise],
      capacity: {
        cpuMillis: options.cpuMillis ?? availableParallelism() * 1_000,
        memoryBytes: options.memoryBytes ?? Math.floor(totalmem() * memoryShare),
      },
      fleetPrefix: fleetPrefix(identity.fingerprint),
      seeds,
      log: logDefaults,
      pid: process.pid,
    },
  );
  made.agent = agent;
  return agent;
}

function runtimesOf(
  { dataDirectory, selfCommand }: NodeOptions,
  { clock, logger, cgroupParent }: Pick<Parts, "clock" | "logger"> & { readonly cgroupParent: string },
): RuntimeRouter {
  return new RuntimeRouter({
    oci: new OciRuntime(
      { clock, log: logger },
      {
        ...ociRuntimeDefaults,
        root: join(dataDirectory, "containers"),
        cgroupParent,
        copyCommand: [...selfCommand, "internal-copy"],
      },
    ),
    process: new ProcessRuntime(
      { clock },
      {
        ...processRuntimeDefaults,
        root: join(dataDirectory, "processes"),
        launchCommand: [...selfCommand, "internal-launch"],
        cgroupParent,
      },
    ),
  });
}

/** What a replica must not reach on its own node. */
function closedPorts({ listen }: NodeOptions): readonly number[] {
  const port = parseAddress(listen)?.port ?? 0;
  return port === 0 ? [] : [port];
}

/** Room is made below the upper mark at least, wherever that is. */
function diskMarks(options: NodeOptions): { diskHighPercent: number; diskLowPercent: number } {
  const { diskHighPercent: high, diskLowPercent: low } = ociImageStoreDefaults;
  const diskHighPercent = options.imageDiskHighPercent ?? high;
  return { diskHighPercent, diskLowPercent: Math.min(options.imageDiskLowPercent ?? low, diskHighPercent) };
}

/** The node's own, or a fresh one: by joining when it is invited, by founding a fleet when it is not. */
async function identityFor(
  options: NodeOptions,
): Promise<{ identity: Identity; seeds: readonly PeerAddress[] }> {
  const { dataDirectory } = options;
  const known = await loadIdentity(dataDirectory);
  if (known !== undefined) {
    refuseOtherFleet(known, options);
    return { identity: known, seeds: [] };
  }
  if (options.invite === undefined) {
    if (options.join.length > 0) {
      throw new ProblemError({
        code: "invalid-request",
        message: "joining a fleet takes an invite",
        next: "run `muster invite` on any of its nodes and pass the token with --invite",
      });
    }
    return {
      identity: await foundFleet(dataDirectory, {
        name: fleetName,
        nowMs: Date.now(),
        certifier: certifierOf(options),
      }),
      seeds: [],
    };
  }
  const [{ joinFleet }, { askToJoin }] = await Promise.all([
    import("./identity/join.ts"),
    import("../adapters/transports/tls-join.ts"),
  ]);
  const { identity, members } = await joinFleet(
    { dial: askToJoin },
    { dataDirectory, addresses: options.join, token: options.invite, nowMs: Date.now() },
  );
  return { identity, seeds: members };
}

function certifierOf({ selfCommand }: NodeOptions): Certifier {
  return childCertifier([...selfCommand, "internal-certify"]);
}

/** A node is of one fleet for as long as its identity lives. An invite that it needs no more does no harm. */
function refuseOtherFleet({ fingerprint }: Identity, { invite, dataDirectory }: NodeOptions): void {
  const invited = invite === undefined ? undefined : inviteFingerprint(invite);
  if (invited === undefined || invited === fingerprint) return;
  throw new ProblemError({
    code: "conflict",
    message: `the invite is for another fleet than the one that ${dataDirectory} belongs to`,
    next: "start without the invite, or join the other fleet with a --data-dir of its own",
  });
}

function inviteFingerprint(token: string): string | undefined {
  try {
    return parseInvite(token).fingerprint;
  } catch {
    return undefined;
  }
}

function openStore(dataDirectory: string): SqliteStore {
  try {
    return SqliteStore.open(dataDirectory);
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    const isLocked = error.info.code === "locked";
    throw new ProblemError(
      {
        code: isLocked ? "conflict" : "internal",
        message: error.message,
        next: isLocked
          ? "end that agent first (muster down --keep), or give this one a --data-dir of its own"
          : `look at ${dataDirectory}`,
      },
      { cause: error },
    );
  }
}

const problemOfIdentity: Readonly<Record<IdentityError["code"], ProblemCode>> = {
  exists: "conflict",
  corrupt: "internal",
  "bad-token": "invalid-request",
  expired: "invalid-request",
  "wrong-fleet": "invalid-request",
  unreachable: "unreachable",
  refused: "invalid-request",
};

function asProblem(error: unknown, options: NodeOptions): unknown {
  if (error instanceof IdentityError) {
    const next =
      error.code === "unreachable"
        ? "check the address given with --join and that the agent there runs"
        : "make a new invite with `muster invite` on a node of the fleet";
    return new ProblemError(
      { code: problemOfIdentity[error.code], message: error.message, next },
      { cause: error },
    );
  }
  if (error instanceof Error && "code" in error && error.code === "EADDRINUSE") {
    return new ProblemError(
      {
        code: "conflict",
        message: `${options.listen} is in use by another program`,
        next: "choose another address with --listen",
      },
      { cause: error },
    );
  }
  if (error instanceof WireError) {
    return new ProblemError(
      {
        code: "internal",
        message: `${options.dataDirectory} holds a record that this version cannot read: ${error.message}`,
        next: "start the version that wrote it, or give this one a --data-dir of its own",
      },
      { cause: error },
    );
  }
  return error;
}

/** As image indexes and Go name them. */
function architecture(): string {
  return defined(process.arch === "x64" ? "amd64" : process.arch, "an architecture");
}
