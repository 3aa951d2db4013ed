/** Settings of the whole machine without which no packet passes between its interfaces. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { writeSetting } from "./endpoint-wiring.ts";

const settings = "/proc/sys/net";

/**
 * Makes the machine forward; what it learned from router advertisements stays. The settings that were
 * changed, such as `ipv4/ip_forward=1`. Throws when the machine has no IPv6 at all.
 */
export function enableForwarding(): readonly string[] {
  if (!existsSync(`${settings}/ipv6/conf/all/forwarding`))
    throw new Error(
      "this machine's kernel has IPv6 switched off; start it without ipv6.disable=1, or load the module ipv6",
    );
  const changed: string[] = [];
  const set = (name: string, value: string): void => {
    writeSetting(name, value);
    changed.push(`${name}=${value}`);
  };
  if (!isSet("ipv4/ip_forward")) set("ipv4/ip_forward", "1");
  if (isSet("ipv6/conf/all/forwarding")) return changed;
  // A machine that forwards drops its advertised default route unless it is told to go on listening (2).
  // Not so `default`: what a new interface believes is for whoever makes it to say.
  for (const link of readdirSync(`${settings}/ipv6/conf`))
    if (!["all", "default", "lo"].includes(link) && isSet(`ipv6/conf/${link}/accept_ra`))
      set(`ipv6/conf/${link}/accept_ra`, "2");
  set("ipv6/conf/all/forwarding", "1");
  return changed;
}

function isSet(name: string): boolean {
  return readFileSync(`${settings}/${name}`, "utf8").trim() === "1";
}
