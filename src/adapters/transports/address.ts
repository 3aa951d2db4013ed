/** `host:port` and `[v6]:port`, apart and together. */
import type { Address } from "../../ports/transport.ts";

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Undefined when `address` is neither form or the port is none. */
export function parseAddress(address: Address): HostPort | undefined {
  const match = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port <= 65_535)) return undefined;
  return { host, port };
}

/** IPv4 addresses mapped into IPv6 come out as IPv4. */
export function formatAddress(host: string, port: number): Address {
  const plain = host.startsWith("::ffff:") && host.includes(".") ? host.slice(7) : host;
  return plain.includes(":") ? `[${plain}]:${port}` : `${plain}:${port}`;
}

export function isIpv6(host: string): boolean {
  return host.includes(":");
}

export function isWildcard(host: string): boolean {
  return host === "0.0.0.0" || host === "::";
}
