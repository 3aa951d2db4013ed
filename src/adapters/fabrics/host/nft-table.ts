/** The node's one nftables table: published ports, and masquerading of what leaves the machine. */
import { replicaGateway, type Endpoint } from "../../../ports/fabric.ts";
import type { PortSpec } from "../../../model/spec.ts";

/** What tables of all agents of a machine begin with. */
export const tablePrefix = "muster-";

export interface NftTableOptions {
  readonly table: string;
  /** The group that our interfaces are in, whatever their names. */
  readonly interfaceGroup: number;
  /** Ports of the node that replicas do not reach, by none of its addresses. */
  readonly closedPorts: readonly number[];
  /** Where a resolver listens that only the node itself reaches, such as `127.0.0.1`. */
  readonly loopbackResolver: string | undefined;
}

export type Publication = Pick<Endpoint, "ipv4" | "ipv6"> & {
  readonly ports: readonly PortSpec[];
};

/** It takes milliseconds; a machine may be busy. */
const nftTimeoutMs = 30_000;

/** Changes the kernel's tables: all of `script` or nothing. */
export async function runNft(script: string): Promise<void> {
  const nft = Bun.which("nft", { PATH: process.env["PATH"] ?? "" });
  if (nft === null) throw new Error("the program nft is not installed; install the package nftables");
  const child = Bun.spawn([nft, "-f", "-"], {
    stdin: Buffer.from(script),
    stdout: "ignore",
    stderr: "pipe",
    timeout: nftTimeoutMs,
    killSignal: "SIGKILL",
  });
  const said = await new Response(child.stderr).text();
  if ((await child.exited) === 0) return;
  if (child.signalCode === "SIGKILL") throw new Error(`nft did not end within ${nftTimeoutMs / 1000} s`);
  throw new Error(`nft: ${said.trim()}`);
}

/**
 * The whole table, in place of one that may exist; connections that are open stay open.
 *
 * A packet to a published port of any of the node's own addresses goes to the replica. Its sender is
 * hidden only where the answer would not find back: from the node's loopback, and from a replica to itself.
 */
export function wholeTable(options: NftTableOptions, publications: readonly Publication[]): string {
  const { table } = options;
  const from = `iifgroup ${options.interfaceGroup}`;
  const to = `oifgroup ${options.interfaceGroup}`;
  const notTo = `oifgroup != ${options.interfaceGroup}`;
  const translate = [
    "fib daddr type local meta nfproto ipv4 dnat ip to meta l4proto . th dport map @publish4",
    "fib daddr type local meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @publish6",
  ];
  return [
    dropTable(table),
    `table inet ${table} {`,
    "map publish4 { type inet_proto . inet_service : ipv4_addr . inet_service; }",
    "map publish6 { type inet_proto . inet_service : ipv6_addr . inet_service; }",
    "set self4 { type ipv4_addr . ipv4_addr; }",
    "set self6 { type ipv6_addr . ipv6_addr; }",
    ...chain("guard", "filter hook prerouting priority raw", [
      // route_localnet on our interfaces is for answers, which have another address on the wire.
      `${from} ip daddr 127.0.0.0/8 drop`,
      `${from} ip6 daddr ::1 drop`,
      // Our links have a route to it, which must not vouch for it as a sender.
      `${from} ip6 saddr ::1 drop`,
      // Nobody speaks with an address that is not his: there has to be a way back to it over the same link.
      `${from} meta nfproto ipv4 fib saddr . iif oif missing drop`,
      `${from} ip6 saddr != { ::, fe80::/10 } fib saddr . iif oif missing drop`,
    ]),
    ...chain("inbound", "nat hook prerouting priority dstnat", [
      ...translate,
      ...toResolver(from, options.loopbackResolver),
    ]),
    // Such a resolver answers nobody but its own machine.
    ...chain("resolver", "nat hook input priority 100", [
      `${from} ct status dnat ip daddr 127.0.0.0/8 snat ip to 127.0.0.1`,
    ]),
    ...chain("own", "nat hook output priority -100", translate),
    ...chain("local", "filter hook input priority filter", closed(from, options.closedPorts)),
    ...chain("forward", "filter hook forward priority filter", [
      `${notTo} accept`,
      `${from} accept`,
      "ct status dnat accept",
      "ct state established,related accept",
      "drop",
    ]),
    ...chain("outbound", "nat hook postrouting priority srcnat", [
      `${to} ip saddr 127.0.0.0/8 masquerade`,
      `${to} ip6 saddr ::1 masquerade`,
      "ct status dnat ip saddr . ip daddr @self4 masquerade",
      "ct status dnat ip6 saddr . ip6 daddr @self6 masquerade",
      // Own addresses mean nothing outside. What arrived from there and leaves again is not ours to change.
      `${from} ${notTo} masquerade`,
    ]),
    "}",
    ...publications.map((publication) => addElements(table, publication)),
    "",
  ].join("\n");
}

/** Succeeds also when there is none. */
export function dropTable(table: string): string {
  return `add table inet ${table}\ndelete table inet ${table}`;
}

function closed(from: string, ports: readonly number[]): string[] {
  if (ports.length === 0) return [];
  const list = `{ ${ports.join(", ")} }`;
  return [`${from} tcp dport ${list} reject with tcp reset`, `${from} udp dport ${list} drop`];
}

function toResolver(from: string, resolver: string | undefined): string[] {
  if (resolver === undefined) return [];
  const asked = `${from} ip daddr ${replicaGateway.ipv4} meta l4proto { tcp, udp } th dport 53`;
  return [`${asked} dnat ip to ${resolver}:53`];
}

function chain(name: string, hook: string, rules: readonly string[]): string[] {
  return [`chain ${name} {`, `type ${hook}; policy accept;`, ...rules, "}"];
}

/** Empty when nothing is published. */
export function addElements(table: string, publication: Publication): string {
  const { ipv4, ipv6 } = publication;
  const ports = publishedPorts(publication);
  if (ports.length === 0) return "";
  return [
    `add element inet ${table} self4 { ${ipv4} . ${ipv4} }`,
    `add element inet ${table} self6 { ${ipv6} . ${ipv6} }`,
    ...ports.flatMap(({ key, container }) => [
      `add element inet ${table} publish4 { ${key} : ${ipv4} . ${container} }`,
      `add element inet ${table} publish6 { ${key} : ${ipv6} . ${container} }`,
    ]),
  ].join("\n");
}

/** Adds first, so that removing what is not there succeeds. */
export function deleteElements(table: string, publication: Publication): string {
  const { ipv4, ipv6 } = publication;
  const keys = publishedPorts(publication).map(({ key }) => key);
  if (keys.length === 0) return "";
  return [
    addElements(table, publication),
    ...["publish4", "publish6"].map((map) => `delete element inet ${table} ${map} { ${keys.join(", ")} }`),
    `delete element inet ${table} self4 { ${ipv4} . ${ipv4} }`,
    `delete element inet ${table} self6 { ${ipv6} . ${ipv6} }`,
  ].join("\n");
}

function publishedPorts({ ports }: Publication): { readonly key: string; readonly container: number }[] {
  return ports
    .filter((port) => port.published !== undefined)
    .map((port) => ({ key: `${port.protocol} . ${port.published}`, container: port.container }));
}
