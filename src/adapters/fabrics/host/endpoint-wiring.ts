/**
 * The wire between a replica and its node: a pair of virtual interfaces, no bridge, both ends routed.
 * Every replica sees the same gateway, which is its own end on the node: fe80::1 and 169.254.1.1.
 */
import { closeSync, openSync, writeFileSync } from "node:fs";
import { defined } from "../../../model/assert.ts";
import { replicaGateway, type Endpoint } from "../../../ports/fabric.ts";
import { ipv4Bytes, ipv6Bytes } from "./addresses.ts";
import type { LibC } from "./libc.ts";
import { NetlinkSocket, attribute, cString, netlinkFlag, netlinkType, uint32 } from "./netlink.ts";
import type { NetworkNamespaces } from "./network-namespace.ts";

const familyUnspecified = 0;
const familyV4 = 2;
const familyV6 = 10;
const flagUp = 1;
const noDuplicateDetection = 2;
const create = netlinkFlag.create | netlinkFlag.exclusive;
/** Several of our links have the same route; the kernel keeps one for each. */
const createBeside = netlinkFlag.create | netlinkFlag.append;
const scopeUniverse = 0;
const scopeLink = 253;

const replicaLink = "eth0";
const loopbackV6 = "::1";
const routeUnicast = 1;
const routeLocal = 2;
const tableMain = 254;
const tableLocal = 255;
/** Behind the kernel's own route to the same address, which has 0. */
const metricLast = 4_096;
const loopbackIndex = 1;

/** Set in a new namespace before anything is in it. */
const replicaSettings: readonly (readonly [string, string])[] = [
  ["ipv6/conf/all/disable_ipv6", "0"],
  ["ipv6/conf/default/disable_ipv6", "0"],
  // Addresses are computed and unique; waiting a second for a duplicate would be for nothing.
  ["ipv6/conf/default/accept_dad", "0"],
  ["ipv6/conf/default/router_solicitations", "0"],
  // A namespace of its own has no ports worth guarding, and `ping` needs no privilege.
  ["ipv4/ip_unprivileged_port_start", "0"],
  ["ipv4/ping_group_range", "0 2147483647"],
];

/** Of the node's end of a pair. */
const nodeLinkSettings: readonly (readonly [string, string])[] = [
  // A machine may have IPv6 switched off for interfaces that nobody spoke of.
  ["ipv6/conf/LINK/disable_ipv6", "0"],
  // The one address of this end is given by us; the kernel would add another for each replica.
  ["ipv6/conf/LINK/addr_gen_mode", "1"],
  ["ipv4/conf/LINK/forwarding", "1"],
  ["ipv6/conf/LINK/forwarding", "1"],
  // Lets the node's own 127.0.0.1 reach published ports; the table drops such packets when they come from a replica.
  ["ipv4/conf/LINK/route_localnet", "1"],
  // A replica tells its node nothing about routes: it could lead all of the machine's traffic to itself.
  ["ipv6/conf/LINK/accept_ra", "0"],
  ["ipv6/conf/LINK/accept_redirects", "0"],
  ["ipv4/conf/LINK/accept_redirects", "0"],
  ["ipv4/conf/LINK/secure_redirects", "0"],
  ["ipv4/conf/LINK/send_redirects", "0"],
];

/** The node's end of a pair. */
export interface NodeLink {
  readonly name: string;
  readonly group: number;
  readonly mtuBytes: number;
}

export interface WiringPorts {
  readonly libc: LibC;
  readonly namespaces: NetworkNamespaces;
  /** A socket in the agent's own network namespace. */
  readonly node: NetlinkSocket;
}

/** Makes namespace, links, addresses and routes. On a throw some of them may be left. */
export function wireEndpoint(endpoint: Endpoint, link: NodeLink, ports: WiringPorts): void {
  const replica = ports.namespaces.create(endpoint.networkNamespace, () => {
    for (const [name, value] of replicaSettings) writeSetting(name, value);
    return new NetlinkSocket(ports.libc);
  });
  try {
    const namespace = openSync(endpoint.networkNamespace, "r");
    try {
      addLinkPair(ports.node, link, namespace);
    } finally {
      closeSync(namespace);
    }
    wireNode(ports.node, endpoint, link.name);
    wireReplica(replica, endpoint);
  } finally {
    replica.close();
  }
}

export function writeSetting(name: string, value: string): void {
  writeFileSync(`/proc/sys/net/${name}`, value);
}

function addLinkPair(node: NetlinkSocket, link: NodeLink, namespace: number): void {
  const { name, group, mtuBytes } = link;
  const peer = [
    linkHeader(0, 0),
    attribute(3, cString(replicaLink)),
    attribute(1, hardwareAddress(`${name} replica`)),
    attribute(4, uint32(mtuBytes)),
    attribute(28, uint32(namespace)),
  ];
  const data = attribute(2, attribute(1, ...peer));
  node.change(
    `add link ${name}`,
    netlinkType.newLink,
    create,
    linkHeader(0, 0),
    attribute(3, cString(name)),
    attribute(1, hardwareAddress(`${name} node`)),
    attribute(4, uint32(mtuBytes)),
    attribute(27, uint32(group)),
    attribute(18, attribute(1, Buffer.from("veth")), data),
  );
}

/**
 * Local and for one card (IEEE 802: the two lowest bits of the first byte). One that the kernel chose is
 * changed by systemd's udev a moment later, when neighbours already know it.
 */
function hardwareAddress(name: string): Buffer {
  const bytes = Buffer.from(new Bun.CryptoHasher("sha256").update(name).digest().subarray(0, 6));
  bytes.writeUInt8((bytes.readUInt8(0) & 0xfc) | 0x02, 0);
  return bytes;
}

function wireNode(node: NetlinkSocket, endpoint: Endpoint, link: string): void {
  for (const [name, value] of nodeLinkSettings) writeSetting(name.replace("LINK", link), value);
  const { index } = defined(node.link(link), "the link just made");
  setUp(node, index);
  addAddress(node, index, ipv6Bytes(replicaGateway.ipv6), 64);
  addRoute(node, index, { to: ipv6Bytes(endpoint.ipv6) });
  // An answer to the node's own ::1 arrives by this link, and the kernel wants that address to be local there.
  addRoute(node, index, { local: ipv6Bytes(loopbackV6) });
  addAddress(node, index, ipv4Bytes(replicaGateway.ipv4), 32);
  addRoute(node, index, { to: ipv4Bytes(endpoint.ipv4) });
}

function wireReplica(replica: NetlinkSocket, endpoint: Endpoint): void {
  const { index } = defined(replica.link(replicaLink), "the link just made");
  setUp(replica, loopbackIndex);
  setUp(replica, index);
  addAddress(replica, index, ipv6Bytes(endpoint.ipv6), 128);
  addRoute(replica, index, { gateway: ipv6Bytes(replicaGateway.ipv6) });
  addAddress(replica, index, ipv4Bytes(endpoint.ipv4), 32);
  addRoute(replica, index, { to: ipv4Bytes(replicaGateway.ipv4) });
  addRoute(replica, index, { gateway: ipv4Bytes(replicaGateway.ipv4) });
}

function linkHeader(index: number, flags: number): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt8(familyUnspecified, 0);
  header.writeInt32LE(index, 4);
  header.writeUInt32LE(flags, 8);
  header.writeUInt32LE(flags, 12);
  return header;
}

function setUp(socket: NetlinkSocket, index: number): void {
  socket.change(`bring up link ${index}`, netlinkType.newLink, 0, linkHeader(index, flagUp));
}

function addAddress(socket: NetlinkSocket, index: number, address: Buffer, prefixLength: number): void {
  const isV6 = address.length === 16;
  const header = Buffer.alloc(8);
  header.writeUInt8(isV6 ? familyV6 : familyV4, 0);
  header.writeUInt8(prefixLength, 1);
  header.writeUInt8(isV6 ? noDuplicateDetection : 0, 2);
  header.writeUInt8(scopeUniverse, 3);
  header.writeUInt32LE(index, 4);
  const attributes = [attribute(2, address), attribute(1, address)];
  socket.change("add an address", netlinkType.newAddress, create, header, ...attributes);
}

type Route = { readonly to: Buffer } | { readonly gateway: Buffer } | { readonly local: Buffer };

/** Refused when the machine has such a route already: another's replica or network is not taken over. */
function addRoute(socket: NetlinkSocket, index: number, route: Route): void {
  const isLocal = "local" in route;
  const address = isLocal ? route.local : "to" in route ? route.to : route.gateway;
  const isGateway = "gateway" in route;
  const isV6 = address.length === 16;
  const header = Buffer.alloc(12);
  header.writeUInt8(isV6 ? familyV6 : familyV4, 0);
  header.writeUInt8(isGateway ? 0 : address.length * 8, 1);
  header.writeUInt8(isLocal ? tableLocal : tableMain, 4);
  header.writeUInt8(4, 5); // protocol: static
  header.writeUInt8(isGateway || isV6 ? scopeUniverse : scopeLink, 6);
  header.writeUInt8(isLocal ? routeLocal : routeUnicast, 7);
  socket.change(
    isGateway ? "add the default route" : "add a route",
    netlinkType.newRoute,
    isLocal ? createBeside : create,
    header,
    attribute(isGateway ? 5 : 1, address),
    attribute(4, uint32(index)),
    ...(isLocal ? [attribute(6, uint32(metricLast))] : []),
  );
}
