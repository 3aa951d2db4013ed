/** The node's one nftables table: published ports, and masquerading of what leaves the machine. */
import type { Endpoint } from "../../../ports/fabric.ts";
import type { PortSpec } from "../../../model/spec.ts";

export interface NftTableOptions {
  readonly table: string;
  /** What the names of our interfaces begin with. */
  readonly interfacePrefix: string;
}

export type Publication = Pick<Endpoint, "ipv4" | "ipv6"> & {
  readonly ports: readonly PortSpec[];
};

/** Changes the kernel's tables: all of `script` or nothing. */
export async function runNft(script: string): Promise<void> {
  const child = Bun.spawn(["nft", "-f", "-"], {
    stdin: Buffer.from(script),
    stdout: "ignore",
    stderr: "pipe",
  });
  const said = await new Response(child.stderr).text();
  if ((await child.exited) !== 0) throw new Error(`nft: ${said.trim()}`);
}

/**
 * The whole table, in place of one that may exist; connections that are open stay open.
 *
 * A packet to a published port of any of the node's own addresses goes to the replica. Its sender is
 * hidden only where the answer would not find back: from the node's loopback, and from one replica to
 * another over the node's address, itself included.
 */
export function wholeTable(options: NftTableOptions, publications: readonly Publication[]): string {
  const { table } = options;
  const ours = `"${options.interfacePrefix}*"`;
  const translate = [
    "fib daddr type local meta nfproto ipv4 dnat ip to meta l4proto . th dport map @publish4",
    // Nothing that comes from another interface is let through to ::1, so an answer would never arrive.
    "fib daddr type local ip6 daddr != ::1 dnat ip6 to meta l4proto . th dport map @publish6",
  ];
  return [
    `add table inet ${table}`,
    `delete table inet ${table}`,
    `table inet ${table} {`,
    "map publish4 { type inet_proto . inet_service : ipv4_addr . inet_service; }",
    "map publish6 { type inet_proto . inet_service : ipv6_addr . inet_service; }",
    ...chain("guard", "filter hook prerouting priority raw", [
      // route_localnet on our interfaces is for answers, which have another address on the wire.
      `iifname ${ours} ip daddr 127.0.0.0/8 drop`,
    ]),
    ...chain("inbound", "nat hook prerouting priority dstnat", translate),
    ...chain("own", "nat hook output priority -100", translate),
    ...chain("forward", "filter hook forward priority filter", [
      `oifname != ${ours} accept`,
      `iifname ${ours} accept`,
      "ct status dnat accept",
      "ct state established,related accept",
      "drop",
    ]),
    ...chain("outbound", "nat hook postrouting priority srcnat", [
      `oifname ${ours} ip saddr 127.0.0.0/8 masquerade`,
      `iifname ${ours} oifname ${ours} ct status dnat masquerade`,
      `iifname ${ours} oifname != ${ours} masquerade`,
    ]),
    "}",
    ...publications.map((publication) => addElements(table, publication)),
    "",
  ].join("\n");
}

function chain(name: string, hook: string, rules: readonly string[]): string[] {
  return [`chain ${name} {`, `type ${hook}; policy accept;`, ...rules, "}"];
}

/** Empty when nothing is published. */
export function addElements(table: string, publication: Publication): string {
  return publishedPorts(publication)
    .flatMap(({ key, container }) => [
      `add element inet ${table} publish4 { ${key} : ${publication.ipv4} . ${container} }`,
      `add element inet ${table} publish6 { ${key} : ${publication.ipv6} . ${container} }`,
    ])
    .join("\n");
}

/** Adds first, so that removing what is not there succeeds. */
export function deleteElements(table: string, publication: Publication): string {
  const keys = publishedPorts(publication).map(({ key }) => key);
  if (keys.length === 0) return "";
  return [
    addElements(table, publication),
    ...["publish4", "publish6"].map((map) => `delete element inet ${table} ${map} { ${keys.join(", ")} }`),
  ].join("\n");
}

function publishedPorts({ ports }: Publication): { readonly key: string; readonly container: number }[] {
  return ports
    .filter((port) => port.published !== undefined)
    .map((port) => ({ key: `${port.protocol} . ${port.published}`, container: port.container }));
}
