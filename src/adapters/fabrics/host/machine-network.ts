/** Settings of the whole machine without which no packet passes between its interfaces. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { writeSetting } from "./endpoint-wiring.ts";

const settings = "/proc/sys/net";

/** Makes the machine forward; what it learned from router advertisements stays. Throws when it has no IPv6 at all. */
export function enableForwarding(): void {
  if (!existsSync(`${settings}/ipv6/conf/all/forwarding`))
    throw new Error("this machine's kernel has IPv6 switched off");
  if (!isSet("ipv4/ip_forward")) writeSetting("ipv4/ip_forward", "1");
  if (isSet("ipv6/conf/all/forwarding")) return;
  // A machine that forwards drops its advertised default route unless it is told to go on listening (2).
  for (const link of readdirSync(`${settings}/ipv6/conf`))
    if (isSet(`ipv6/conf/${link}/accept_ra`)) writeSetting(`ipv6/conf/${link}/accept_ra`, "2");
  writeSetting("ipv6/conf/all/forwarding", "1");
}

function isSet(name: string): boolean {
  return readFileSync(`${settings}/${name}`, "utf8").trim() === "1";
}
