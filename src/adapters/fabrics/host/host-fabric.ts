/**
 * The network of replicas on one node, by the kernel alone: a network namespace and a routed pair of
 * interfaces for each, published ports by nftables. Replicas on other nodes are not reached by it.
 *
 * Everything happens in the network namespace that the agent runs in. The record of an endpoint is
 * written first and removed last, so that what a crash leaves is listed and can be detached.
 */
import { join } from "node:path";
import { defined } from "../../../model/assert.ts";
import type { Clock } from "../../../ports/clock.ts";
import { FabricError, type Endpoint, type EndpointSpec, type Fabric } from "../../../ports/fabric.ts";
import { isIpv6, parseIpv4Range, pickIpv4, sameIpv6 } from "./addresses.ts";
import { EndpointRecords, type EndpointRecord } from "./endpoint-records.ts";
import { wireEndpoint } from "./endpoint-wiring.ts";
import { openLibC, type LibC } from "./libc.ts";
import { listenerName } from "./listening-sockets.ts";
import { enableForwarding } from "./machine-network.ts";
import { NetlinkSocket } from "./netlink.ts";
import { NetworkNamespaces } from "./network-namespace.ts";
import { NftQueue } from "./nft-queue.ts";
import { addElements, deleteElements, wholeTable } from "./nft-table.ts";

export interface HostFabricPorts {
  readonly clock: Clock;
}

export interface HostFabricOptions {
  /** A directory of this fabric alone. */
  readonly statePath: string;
  /** At most five characters; the node's interfaces whose names begin so are ours. */
  readonly interfacePrefix: string;
  /** The nftables table that is ours. */
  readonly table: string;
  /** Node-local addresses are taken from here, such as `10.210.0.0/16`. */
  readonly ipv4Range: string;
  readonly mtuBytes: number;
}

export const hostFabricDefaults = {
  interfacePrefix: "mstr-",
  table: "muster",
  ipv4Range: "10.210.0.0/16",
  mtuBytes: 1_500,
} as const;

const idPattern = /^[a-z0-9][a-z0-9.-]{0,126}$/;
/** Interface names have at most 15 characters, the prefix included. */
const linkHashDigits = 10;
/** How long the kernel may take to end a namespace by itself; after that its link is removed by force. */
const linkGoneTimeoutMs = 100;
const pollMinMs = 2;
const pollMaxMs = 32;

interface Opened {
  readonly libc: LibC;
  readonly node: NetlinkSocket;
  readonly namespaces: NetworkNamespaces;
}

export class HostFabric implements Fabric {
  readonly #clock: Clock;
  readonly #options: HostFabricOptions;
  readonly #records: EndpointRecords;
  readonly #nft = new NftQueue();
  #prepared: Opened | undefined;
  #tabled: Promise<Opened> | undefined;
  #lastIpv4: string | undefined;

  constructor(ports: HostFabricPorts, options: HostFabricOptions) {
    this.#clock = ports.clock;
    this.#options = options;
    this.#records = new EndpointRecords(join(options.statePath, "endpoints"));
  }

  async attach(spec: EndpointSpec): Promise<Endpoint> {
    if (!idPattern.test(spec.id) || !isIpv6(spec.ipv6))
      throw failed(`attach ${spec.id}`, new Error("not an endpoint id and an IPv6 address"));
    const opened = await this.#open();
    const before = this.#records.get(spec.id);
    if (before !== undefined) {
      if (isSame(before, spec) && this.#isWhole(before, opened)) return endpointOf(before);
      await this.#clear(before, opened);
    }
    // From the checks to the record there is no await: two endpoints cannot both find a port free.
    try {
      this.#refuseClashes(spec, opened.libc);
      const record = this.#recordOf(spec, before);
      this.#records.put(record);
      this.#lastIpv4 = record.ipv4;
    } catch (error) {
      this.#records.delete(spec.id);
      throw failed(`attach ${spec.id}`, error);
    }
    const record = defined(this.#records.get(spec.id), "the record just written");
    try {
      wireEndpoint(record, this.#link(record.id), this.#options.mtuBytes, opened);
      await this.#nft.apply(addElements(this.#options.table, record));
      return endpointOf(record);
    } catch (error) {
      await this.#clear(record, opened);
      this.#records.delete(record.id);
      throw failed(`attach ${spec.id}`, error);
    }
  }

  async detach(id: string): Promise<void> {
    const opened = await this.#open();
    const record = this.#records.get(id);
    if (record === undefined) return;
    try {
      await this.#clear(record, opened);
      this.#records.delete(id);
    } catch (error) {
      throw failed(`detach ${id}`, error);
    }
  }

  async list(): Promise<readonly Endpoint[]> {
    // What is there does not depend on the table: a starting agent does not wait for a process of nft.
    void this.#open().catch(() => {});
    this.#prepare();
    return this.#records.all().map(endpointOf);
  }

  async portHolder(port: number, protocol: "tcp" | "udp"): Promise<string | undefined> {
    const { libc } = this.#prepare();
    return this.#holder(libc, port, protocol);
  }

  async close(): Promise<void> {
    const isTabled = (await this.#tabled?.catch(() => undefined)) !== undefined;
    this.#tabled = undefined;
    const opened = this.#prepared;
    this.#prepared = undefined;
    if (opened === undefined) return;
    const { table } = this.#options;
    if (isTabled && this.#records.all().length === 0)
      await this.#nft.apply(`add table inet ${table}\ndelete table inet ${table}`);
    opened.node.close();
    opened.namespaces.close();
    opened.libc.close();
  }

  /** With the table: once, at the first call; again when that failed. */
  #open(): Promise<Opened> {
    this.#tabled ??= this.#writeTable().catch((error: unknown) => {
      this.#tabled = undefined;
      throw error instanceof FabricError ? error : unavailable(error);
    });
    return this.#tabled;
  }

  /** The table is written anew from the records: whatever a crash left half done in it is right afterwards. */
  async #writeTable(): Promise<Opened> {
    const opened = this.#prepare();
    await this.#nft.apply(wholeTable(this.#options, this.#records.all()));
    return opened;
  }

  #prepare(): Opened {
    if (this.#prepared !== undefined) return this.#prepared;
    try {
      this.#records.load();
      enableForwarding();
      const libc = openLibC();
      const opened = { libc, node: new NetlinkSocket(libc), namespaces: new NetworkNamespaces(libc) };
      this.#forgetLost(opened);
      this.#prepared = opened;
      return opened;
    } catch (error) {
      throw unavailable(error);
    }
  }

  /** Namespaces and links end with the machine's power and records do not: what nothing is left of is not there. */
  #forgetLost({ node, namespaces }: Opened): void {
    for (const record of this.#records.all()) {
      if (namespaces.exists(record.networkNamespace)) continue;
      if (node.linkIndex(this.#link(record.id)) !== undefined) continue;
      namespaces.remove(record.networkNamespace);
      this.#records.delete(record.id);
    }
  }

  #refuseClashes(spec: EndpointSpec, libc: LibC): void {
    for (const other of this.#records.all())
      if (other.id !== spec.id && sameIpv6(other.ipv6, spec.ipv6))
        throw new FabricError(`attach ${spec.id}: address ${spec.ipv6} is taken by ${other.id}`, {
          code: "address-taken",
          address: spec.ipv6,
          holder: other.id,
        });
    const seen = new Set<string>();
    for (const { published, protocol } of spec.ports) {
      if (published === undefined) continue;
      const key = `${protocol} ${published}`;
      const holder = seen.has(key) ? `${spec.id} itself` : this.#holder(libc, published, protocol, spec.id);
      seen.add(key);
      if (holder !== undefined)
        throw new FabricError(`attach ${spec.id}: port ${published}/${protocol} is taken by ${holder}`, {
          code: "port-taken",
          port: published,
          protocol,
          holder,
        });
    }
  }

  #holder(libc: LibC, port: number, protocol: "tcp" | "udp", except?: string): string | undefined {
    const own = this.#records
      .all()
      .find(
        (record) =>
          record.id !== except && record.ports.some((p) => p.published === port && p.protocol === protocol),
      );
    return own === undefined ? listenerName(libc, port, protocol) : `endpoint ${own.id}`;
  }

  #recordOf(spec: EndpointSpec, before: EndpointRecord | undefined): EndpointRecord {
    const range = defined(parseIpv4Range(this.#options.ipv4Range), "an IPv4 range in the options");
    const others = this.#records.all().filter(({ id }) => id !== spec.id);
    const ipv4 = before?.ipv4 ?? pickIpv4(range, new Set(others.map((other) => other.ipv4)), this.#lastIpv4);
    if (ipv4 === undefined) throw new Error(`no address of ${this.#options.ipv4Range} is free`);
    const networkNamespace = join(this.#options.statePath, "netns", spec.id);
    return { id: spec.id, ipv6: spec.ipv6, ipv4, networkNamespace, ports: spec.ports };
  }

  #isWhole(record: EndpointRecord, { node, namespaces }: Opened): boolean {
    return namespaces.exists(record.networkNamespace) && node.linkIndex(this.#link(record.id)) !== undefined;
  }

  /** Takes everything but the record away. */
  async #clear(record: EndpointRecord, { node, namespaces }: Opened): Promise<void> {
    await this.#nft.apply(deleteElements(this.#options.table, record));
    namespaces.remove(record.networkNamespace);
    // With its namespace the other end of the link goes, and with the link its addresses and routes.
    const link = this.#link(record.id);
    const deadline = this.#clock.now() + linkGoneTimeoutMs;
    for (let pauseMs = pollMinMs; node.linkIndex(link) !== undefined; pauseMs *= 2) {
      if (this.#clock.now() >= deadline) return deleteLink(link, () => node.linkIndex(link) === undefined);
      await new Promise<void>((resolve) => {
        this.#clock.at(this.#clock.now() + Math.min(pauseMs, pollMaxMs), resolve);
      });
    }
  }

  #link(id: string): string {
    const hash = new Bun.CryptoHasher("sha256").update(id).digest("hex");
    return this.#options.interfacePrefix + hash.slice(0, linkHashDigits);
  }
}

/** By a program of its own: the kernel makes the caller wait some 40 ms, which must not be the agent. */
async function deleteLink(link: string, isGone: () => boolean): Promise<void> {
  const child = Bun.spawn(["ip", "link", "delete", link], { stdio: ["ignore", "ignore", "pipe"] });
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

function unavailable(error: unknown): FabricError {
  const detail = error instanceof Error ? error.message : String(error);
  return new FabricError(
    `prepare the network of this node: ${detail}`,
    { code: "unavailable", detail },
    { cause: error },
  );
}

function failed(attempt: string, error: unknown): FabricError {
  if (error instanceof FabricError) return error;
  const detail = error instanceof Error ? error.message : String(error);
  return new FabricError(`${attempt}: ${detail}`, { code: "failed", detail }, { cause: error });
}
