/**
 * The wire between a replica and its node: a pair of virtual interfaces, no bridge, both ends routed.
 * Every replica sees the same gateway, which is its own end on the node: fe80::1 and 169.254.1.1.
 */
import { closeSync, openSync, writeFileSync } from "node:fs";
import { defined } from "../../../model/assert.ts";
import type { Endpoint } from "../../../ports/fabric.ts";
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
const createOrReplace = netlinkFlag.create | netlinkFlag.replace;
const scopeUniverse = 0;
const scopeLink = 253;

const gatewayV4 = "169.254.1.1";
const gatewayV6 = "fe80::1";
const replicaLink = "eth0";
const loopbackIndex = 1;

/** Set in a new namespace before anything is in it. */
const replicaSettings: readonly (readonly [string, string])[] = [
  // Addresses are computed and unique; waiting a second for a duplicate would be for nothing.
  ["ipv6/conf/default/accept_dad", "0"],
  ["ipv6/conf/default/router_solicitations", "0"],
  // A namespace of its own has no ports worth guarding, and `ping` needs no privilege.
  ["ipv4/ip_unprivileged_port_start", "0"],
  ["ipv4/ping_group_range", "0 2147483647"],
];

export interface WiringPorts {
  readonly libc: LibC;
  readonly namespaces: NetworkNamespaces;
  /** A socket in the agent's own network namespace. */
  readonly node: NetlinkSocket;
}

/** Makes namespace, links, addresses and routes. On a throw some of them may be left. */
export function wireEndpoint(endpoint: Endpoint, link: string, mtu: number, ports: WiringPorts): void {
  const replica = ports.namespaces.create(endpoint.networkNamespace, () => {
    for (const [name, value] of replicaSettings) writeSetting(name, value);
    return new NetlinkSocket(ports.libc);
  });
  try {
    const namespace = openSync(endpoint.networkNamespace, "r");
    try {
      addLinkPair(ports.node, link, mtu, namespace);
    } finally {
      closeSync(namespace);
    }
    wireNode(ports.node, endpoint, link);
    wireReplica(replica, endpoint);
  } finally {
    replica.close();
  }
}

export function writeSetting(name: string, value: string): void {
  writeFileSync(`/proc/sys/net/${name}`, value);
}

function addLinkPair(node: NetlinkSocket, link: string, mtu: number, namespace: number): void {
  const peer = [
    linkHeader(0, 0),
    attribute(3, cString(replicaLink)),
    attribute(4, uint32(mtu)),
    attribute(28, uint32(namespace)),
  ];
  const data = attribute(2, attribute(1, ...peer));
  node.change(
    `add link ${link}`,
    netlinkType.newLink,
    create,
    linkHeader(0, 0),
    attribute(3, cString(link)),
    attribute(4, uint32(mtu)),
    attribute(18, attribute(1, Buffer.from("veth")), data),
  );
}

function wireNode(node: NetlinkSocket, endpoint: Endpoint, link: string): void {
  // The one address of this end is given below; the kernel would add another for each replica.
  writeSetting(`ipv6/conf/${link}/addr_gen_mode`, "1");
  // Lets the node's own 127.0.0.1 reach published ports; the table drops such packets when they come from a replica.
  writeSetting(`ipv4/conf/${link}/route_localnet`, "1");
  const index = defined(node.linkIndex(link), "the link just made");
  setUp(node, index);
  addAddress(node, index, ipv6Bytes(gatewayV6), 64);
  addRoute(node, index, { to: ipv6Bytes(endpoint.ipv6) });
  addAddress(node, index, ipv4Bytes(gatewayV4), 32);
  addRoute(node, index, { to: ipv4Bytes(endpoint.ipv4) });
}

function wireReplica(replica: NetlinkSocket, endpoint: Endpoint): void {
  const index = defined(replica.linkIndex(replicaLink), "the link just made");
  setUp(replica, loopbackIndex);
  setUp(replica, index);
  addAddress(replica, index, ipv6Bytes(endpoint.ipv6), 128);
  addRoute(replica, index, { gateway: ipv6Bytes(gatewayV6) });
  addAddress(replica, index, ipv4Bytes(endpoint.ipv4), 32);
  addRoute(replica, index, { to: ipv4Bytes(gatewayV4) });
  addRoute(replica, index, { gateway: ipv4Bytes(gatewayV4) });
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
  socket.change("add an address", netlinkType.newAddress, createOrReplace, header, ...attributes);
}

type Route = { readonly to: Buffer } | { readonly gateway: Buffer };

function addRoute(socket: NetlinkSocket, index: number, route: Route): void {
  const address = "to" in route ? route.to : route.gateway;
  const isV6 = address.length === 16;
  const header = Buffer.alloc(12);
  header.writeUInt8(isV6 ? familyV6 : familyV4, 0);
  header.writeUInt8("to" in route ? address.length * 8 : 0, 1);
  header.writeUInt8(254, 4); // main table
  header.writeUInt8(4, 5); // protocol: static
  header.writeUInt8("to" in route && !isV6 ? scopeLink : scopeUniverse, 6);
  header.writeUInt8(1, 7); // unicast
  socket.change(
    "add a route",
    netlinkType.newRoute,
    createOrReplace,
    header,
    attribute("to" in route ? 1 : 5, address),
    attribute(4, uint32(index)),
  );
}
