/** The machine's own ways out, from the tables in /proc/net (proc_net(5)): what our addresses and packet sizes must fit. */
import { readFileSync } from "node:fs";
import { parseIpv4Range, type Ipv4Range } from "./addresses.ts";
import type { NetlinkSocket } from "./netlink.ts";

/** IPv6 asks for this much of every link (RFC 8200, 5). */
const mtuMinBytes = 1_280;
const mtuMaxBytes = 65_535;
/** Of Ethernet: for a machine that has no way out. */
const mtuOfNoUplinkBytes = 1_500;

export interface Ipv4Route extends Ipv4Range {
  readonly link: string;
}

/** Of /proc/net/route: the main table, a default route with the size of all addresses. */
export function parseIpv4Routes(table: string): readonly Ipv4Route[] {
  const routes: Ipv4Route[] = [];
  for (const line of table.split("\n").slice(1)) {
    const fields = line.split("\t");
    const [link = "", destination = "", mask = ""] = [fields[0], fields[1], fields[7]];
    if (!/^[0-9A-F]{8}$/.test(destination) || !/^[0-9A-F]{8}$/.test(mask)) continue;
    routes.push({ link, base: littleEndian(destination), size: 2 ** 32 - littleEndian(mask) });
  }
  return routes;
}

/** The links of default routes in /proc/net/ipv6_route. */
export function parseIpv6DefaultLinks(table: string): readonly string[] {
  return table
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([destination, bits]) => bits === "00" && /^0{32}$/.test(destination ?? ""))
    .map((fields) => fields.at(-1) ?? "")
    .filter((link) => link !== "lo");
}

/** The smallest packet size of the links by which packets leave this machine. */
export function uplinkMtuBytes(node: NetlinkSocket): number {
  const links = new Set([
    ...readIpv4Routes()
      .filter((route) => route.size === 2 ** 32)
      .map((route) => route.link),
    ...parseIpv6DefaultLinks(tableText("ipv6_route")),
  ]);
  const sizes = [...links].map((link) => node.link(link)?.mtuBytes ?? mtuOfNoUplinkBytes);
  if (sizes.length === 0) return mtuOfNoUplinkBytes;
  return Math.min(Math.max(Math.min(...sizes), mtuMinBytes), mtuMaxBytes);
}

export function readIpv4Routes(): readonly Ipv4Route[] {
  return parseIpv4Routes(tableText("route"));
}

/**
 * The first of `ranges` that the machine's networks leave alone; the first of all when none is. Routes to one
 * address are no network: those are ours, or another agent's, and are avoided one by one.
 */
export function freeRange(ranges: readonly string[], routes: readonly Ipv4Route[]): string | undefined {
  const networks = routes.filter((route) => route.size > 1 && route.size < 2 ** 32);
  const isFree = (text: string): boolean => {
    const range = parseIpv4Range(text);
    if (range === undefined) return false;
    return networks.every(
      (other) => other.base + other.size <= range.base || range.base + range.size <= other.base,
    );
  };
  return ranges.find(isFree) ?? ranges[0];
}

/** The first resolver on IPv4 loopback in a resolv.conf; undefined when there is none, or no such file. */
export function loopbackResolver(path: string): string | undefined {
  try {
    return /^\s*nameserver\s+(127(?:\.\d{1,3}){3})\s*$/m.exec(readFileSync(path, "utf8"))?.[1];
  } catch {
    return undefined;
  }
}

function littleEndian(hex: string): number {
  return Buffer.from(hex, "hex").readUInt32LE(0);
}

/** Of the namespace this thread is in; empty where the kernel has no such table. */
function tableText(name: string): string {
  try {
    return readFileSync(`/proc/thread-self/net/${name}`, "utf8");
  } catch {
    return "";
  }
}
