/** The resolvers a container asks: the machine's, as far as they can be reached from another network namespace (resolv.conf(5)). */
import { replicaGateway } from "../../../ports/fabric.ts";

const machineFile = "/etc/resolv.conf";
/** Where programs that put themselves before the machine's resolvers keep whom they ask: systemd-resolved, NetworkManager, dnsmasq. */
const upstreamFiles = [
  "/run/systemd/resolve/resolv.conf",
  "/run/NetworkManager/no-stub-resolv.conf",
  "/run/dnsmasq/resolv.conf",
] as const;

/** The text of a container's /etc/resolv.conf; `read` gives a file of the machine, undefined when there is none. */
export function resolverFile(read: (path: string) => string | undefined): string {
  const machine = read(machineFile) ?? "";
  if (reachableServers(machine).length > 0) return withServers(machine, reachableServers(machine));
  // With nothing but a resolver on loopback, whoever feeds that one is asked instead.
  for (const path of upstreamFiles) {
    const servers = reachableServers(read(path) ?? "");
    if (servers.length > 0) return withServers(machine, servers);
  }
  // Without a trace of them the node passes questions on to its own loopback; without any resolver there is nobody to ask.
  return withServers(machine, servers(machine).length > 0 ? [replicaGateway.ipv4] : []);
}

function servers(text: string): readonly string[] {
  return text.split("\n").flatMap((line) => {
    const [keyword, address] = line.trim().split(/\s+/);
    return keyword === "nameserver" && address !== undefined ? [address] : [];
  });
}

/** Neither the node's loopback nor addresses that mean something on one link only are there inside. */
function reachableServers(text: string): readonly string[] {
  return servers(text).filter(
    (address) => !/^(127\.|0\.0\.0\.0$|::1?$|::ffff:127\.|fe80:|.*%)/i.test(address),
  );
}

/** Domains and options stay the machine's. */
function withServers(text: string, addresses: readonly string[]): string {
  const others = text.split("\n").filter((line) => /^\s*(search|domain|options|sortlist)\s/.test(line));
  return [...others, ...addresses.map((address) => `nameserver ${address}`), ""].join("\n");
}
