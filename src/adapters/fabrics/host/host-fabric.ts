/**
 * The network of replicas on one node, by the kernel alone: a network namespace and a routed pair of
 * interfaces for each, published ports by nftables. Replicas on other nodes are not reached by it.
 *
 * Everything happens in the network namespace that the agent runs in. The record of an endpoint is
 * written first and removed last, so that what a crash leaves is listed and can be detached. Several
 * agents of one machine keep apart by their keys: each has a table, an interface group and names of its own.
 */
import { join } from "node:path";
import { assert, defined } from "../../../model/assert.ts";
import type { Clock } from "../../../ports/clock.ts";
import { FabricError, type Endpoint, type EndpointSpec, type Fabric } from "../../../ports/fabric.ts";
import type { Logger } from "../../../ports/logger.ts";
import { formatIpv4, isIpv6, parseIpv4Range, pickIpv4, sameIpv6, type Ipv4Range } from "./addresses.ts";
import { EndpointRecords, type EndpointRecord } from "./endpoint-records.ts";
import { wireEndpoint, type NodeLink } from "./endpoint-wiring.ts";
import { openLibC, type LibC } from "./libc.ts";
import { enableForwarding } from "./machine-network.ts";
import { NetlinkSocket } from "./netlink.ts";
import { NetworkNamespaces } from "./network-namespace.ts";
import { tablePrefix } from "./nft-table.ts";
import { NodeTable } from "./node-table.ts";
import { PacketFilter } from "./packet-filter.ts";
import { PortClaims } from "./port-claims.ts";
import { freeRange, readIpv4Routes, uplinkMtuBytes } from "./uplink.ts";

export interface HostFabricPorts {
  readonly clock: Clock;
  readonly log: Logger;
}

export interface HostFabricOptions {
  /** A directory of this fabric alone. */
  readonly statePath: string;
  /** Eight hexadecimal digits, for the life of the node; no other agent of the machine has them. */
  readonly key: string;
  /** Ports of the node that replicas must not reach: the agent's own. */
  readonly closedPorts: readonly number[];
  /** Node-local addresses are from the first of these, such as `10.210.0.0/16`, that no network of the machine has. */
  readonly ipv4Ranges: readonly string[];
  /** Says which resolvers the machine asks (resolv.conf(5)). */
  readonly resolverPath: string;
}

export const hostFabricDefaults = {
  ipv4Ranges: ["10.210.0.0/16", "172.30.0.0/16", "192.168.208.0/20", "100.126.0.0/16"],
  resolverPath: "/etc/resolv.conf",
} as const;

/** What the names of all our interfaces begin with. */
export const interfacePrefix = "mstr-";

const idPattern = /^[a-z0-9][a-z0-9.-]{0,126}$/;
const keyPattern = /^[0-9a-f]{8}$/;
/** Interface names have at most 15 characters, the prefix included. */
const linkHashDigits = 10;
/** How long the kernel may take to end a namespace by itself; after that its link is removed by force. */
const linkGoneTimeoutMs = 100;
const deleteTimeoutMs = 30_000;
const pollMinMs = 2;
const pollMaxMs = 32;

interface Opened {
  readonly libc: LibC;
  readonly node: NetlinkSocket;
  readonly packetFilter: PacketFilter;
  readonly namespaces: NetworkNamespaces;
  readonly claims: PortClaims;
}

export class HostFabric implements Fabric {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #options: HostFabricOptions;
  readonly #records: EndpointRecords;
  readonly #table: NodeTable;
  #opened: Opened | undefined;
  #range: Ipv4Range | undefined;
  #lastIpv4: string | undefined;

  constructor(ports: HostFabricPorts, options: HostFabricOptions) {
    assert(keyPattern.test(options.key), "a fabric's key has eight hexadecimal digits");
    this.#clock = ports.clock;
    this.#log = ports.log;
    this.#options = options;
    this.#records = new EndpointRecords(join(options.statePath, "endpoints"));
    this.#table = new NodeTable(
      {
        ...ports,
        records: () => this.#records.all(),
        packetFilter: () => this.#open().packetFilter,
        ownAddresses: () => this.#open().node.addresses(),
      },
      {
        table: tableName(options.key),
        interfaceGroup: interfaceGroup(options.key),
        closedPorts: options.closedPorts,
        statePath: options.statePath,
        resolverPath: options.resolverPath,
      },
    );
  }

  async attach(spec: EndpointSpec): Promise<Endpoint> {
    if (!idPattern.test(spec.id) || !isIpv6(spec.ipv6))
      throw failed(`attach ${spec.id}`, new Error("not an endpoint id and an IPv6 address"));
    const opened = this.#open();
    this.#range ??= this.#prepareMachine(opened);
    const before = this.#records.get(spec.id);
    if (before !== undefined) {
      if (isSame(before, spec) && this.#isWhole(before, opened)) {
        await this.#table.settle();
        return endpointOf(before);
      }
      await this.#clear(before, opened);
    }
    // From the checks to the record there is no await: two endpoints cannot both find a port free.
    let record: EndpointRecord;
    try {
      opened.claims.refuseClashes(spec, this.#records.all());
      record = this.#recordOf(spec, before, this.#range);
      this.#records.put(record);
      this.#lastIpv4 = record.ipv4;
    } catch (error) {
      this.#records.delete(spec.id);
      await this.#table.settle().catch(() => {});
      throw failed(`attach ${spec.id}`, error);
    }
    // The table is the work of another process: it begins before this one is busy with the links.
    const published = this.#table.publish(record).then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
    try {
      wireEndpoint(record, this.#link(record.id, opened.node), opened);
      const failure = await published;
      if (failure !== undefined) throw failure.error;
      return endpointOf(record);
    } catch (error) {
      await published;
      await this.#undo(record, opened);
      throw failed(`attach ${spec.id}`, error);
    }
  }

  async detach(id: string): Promise<void> {
    const opened = this.#open();
    const record = this.#records.get(id);
    if (record === undefined) return;
    try {
      await this.#clear(record, opened);
      this.#records.delete(id);
      await this.#table.settle();
    } catch (error) {
      throw failed(`detach ${id}`, error);
    }
  }

  async list(): Promise<readonly Endpoint[]> {
    this.#open();
    // What is there does not depend on the table: a starting agent does not wait for a process of nft.
    void this.#table.settle().catch((error: unknown) => {
      this.#log.warn("the table of published ports is not written yet", { detail: messageOf(error) });
    });
    return this.#records.all().map(endpointOf);
  }

  async portHolder(port: number, protocol: "tcp" | "udp"): Promise<string | undefined> {
    return this.#open().claims.holder(port, protocol, this.#records.all());
  }

  async close(): Promise<void> {
    const opened = this.#opened;
    if (opened === undefined) return;
    await this.#table.close();
    this.#opened = undefined;
    opened.node.close();
    opened.packetFilter.close();
    opened.namespaces.close();
    opened.libc.close();
  }

  #open(): Opened {
    if (this.#opened !== undefined) return this.#opened;
    try {
      this.#records.load();
      const libc = openLibC();
      const packetFilter = new PacketFilter(libc);
      const opened = {
        libc,
        node: new NetlinkSocket(libc),
        packetFilter,
        namespaces: new NetworkNamespaces(libc),
        claims: new PortClaims({ libc, packetFilter }, { table: tableName(this.#options.key) }),
      };
      this.#forgetLost(opened);
      this.#opened = opened;
      return opened;
    } catch (error) {
      throw unavailable(error);
    }
  }

  /** What only a machine with replicas needs; the range of their addresses. */
  #prepareMachine({ packetFilter }: Opened): Ipv4Range {
    try {
      const changed = enableForwarding();
      if (changed.length > 0)
        this.#log.info("the machine forwards packets from now on, for its replicas", {
          settings: changed.join(" "),
        });
      // No table of ours can let through what another one drops.
      const dropping = packetFilter.droppingChains();
      if (dropping.length > 0)
        this.#log.warn(
          "a firewall drops what this machine forwards; replicas are cut off unless it allows them",
          {
            chains: dropping.join(", "),
            allow: `interfaces ${interfacePrefix}*`,
          },
        );
      const range = freeRange(this.#options.ipv4Ranges, readIpv4Routes());
      return defined(range === undefined ? undefined : parseIpv4Range(range), "an IPv4 range in the options");
    } catch (error) {
      throw unavailable(error);
    }
  }

  /** Namespaces and links end with the machine's power and records do not: what nothing is left of is not there. */
  #forgetLost({ node, namespaces }: Opened): void {
    for (const record of this.#records.all()) {
      if (namespaces.exists(record.networkNamespace)) continue;
      if (node.link(this.#linkName(record.id)) !== undefined) continue;
      namespaces.remove(record.networkNamespace);
      this.#records.delete(record.id);
    }
  }

  #recordOf(spec: EndpointSpec, before: EndpointRecord | undefined, range: Ipv4Range): EndpointRecord {
    const { id, ipv6, ports, owner } = spec;
    const others = this.#records.all().filter((record) => record.id !== id);
    // Routes to single addresses inside the range are those of another agent on this machine.
    const routed = readIpv4Routes()
      .filter(({ size }) => size === 1)
      .map(({ base }) => formatIpv4(base));
    const taken = new Set([...routed, ...others.map((other) => other.ipv4)]);
    // Agents of one machine begin in different places: two at the same moment do not choose the same address.
    const start = formatIpv4(range.base + (Number.parseInt(this.#options.key, 16) % range.size));
    const ipv4 = before?.ipv4 ?? pickIpv4(range, taken, this.#lastIpv4 ?? start);
    if (ipv4 === undefined) throw new Error("no IPv4 address is free for another replica of this node");
    const networkNamespace = join(this.#options.statePath, "netns", id);
    return { id, ipv6, ipv4, networkNamespace, ports, owner };
  }

  #isWhole(record: EndpointRecord, { node, namespaces }: Opened): boolean {
    return namespaces.exists(record.networkNamespace) && node.link(this.#linkName(record.id)) !== undefined;
  }

  async #undo(record: EndpointRecord, opened: Opened): Promise<void> {
    await this.#clear(record, opened);
    this.#records.delete(record.id);
    await this.#table.settle();
  }

  /** Takes everything but the record away, the namespace also when the table cannot be changed. */
  async #clear(record: EndpointRecord, { node, namespaces }: Opened): Promise<void> {
    try {
      await this.#table.withdraw(record);
    } finally {
      namespaces.remove(record.networkNamespace);
    }
    // With its namespace the other end of the link goes, and with the link its addresses and routes.
    const link = this.#linkName(record.id);
    const deadline = this.#clock.now() + linkGoneTimeoutMs;
    for (let pauseMs = pollMinMs; node.link(link) !== undefined; pauseMs *= 2) {
      if (this.#clock.now() >= deadline) return deleteLink(link, () => node.link(link) === undefined);
      await new Promise<void>((resolve) => {
        this.#clock.at(this.#clock.now() + Math.min(pauseMs, pollMaxMs), resolve);
      });
    }
  }

  #link(id: string, node: NetlinkSocket): NodeLink {
    return {
      name: this.#linkName(id),
      group: interfaceGroup(this.#options.key),
      mtuBytes: uplinkMtuBytes(node),
    };
  }

  #linkName(id: string): string {
    const hash = new Bun.CryptoHasher("sha256").update(`${this.#options.key} ${id}`).digest("hex");
    return interfacePrefix + hash.slice(0, linkHashDigits);
  }
}

function tableName(key: string): string {
  return tablePrefix + key;
}

/** Programs read it as a signed number; 0 is everybody's. */
function interfaceGroup(key: string): number {
  return (Number.parseInt(key, 16) & 0x7fff_ffff) | 1;
}

/** By a program of its own: the kernel makes the caller wait some 40 ms, which must not be the agent. */
async function deleteLink(link: string, isGone: () => boolean): Promise<void> {
  const child = Bun.spawn(["ip", "link", "delete", link], {
    stdio: ["ignore", "ignore", "pipe"],
    timeout: deleteTimeoutMs,
    killSignal: "SIGKILL",
  });
  const said = await new Response(child.stderr).text();
  if ((await child.exited) !== 0 && !isGone()) throw new Error(`delete link ${link}: ${said.trim()}`);
}

function endpointOf({ id, networkNamespace, ipv6, ipv4 }: EndpointRecord): Endpoint {
  return { id, networkNamespace, ipv6, ipv4 };
}

function isSame(record: EndpointRecord, spec: EndpointSpec): boolean {
  const key = (ports: EndpointSpec["ports"]) =>
    ports.map((port) => `${port.protocol} ${port.published ?? "-"} ${port.container}`).toSorted();
  return sameIpv6(record.ipv6, spec.ipv6) && Bun.deepEquals(key(record.ports), key(spec.ports));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function unavailable(error: unknown): FabricError {
  if (error instanceof FabricError) return error;
  const detail = messageOf(error);
  return new FabricError(
    `prepare the network of this node: ${detail}`,
    { code: "unavailable", detail },
    { cause: error },
  );
}

function failed(attempt: string, error: unknown): FabricError {
  if (error instanceof FabricError) return error;
  const detail = messageOf(error);
  return new FabricError(`${attempt}: ${detail}`, { code: "failed", detail }, { cause: error });
}
