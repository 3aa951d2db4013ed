/**
 * The lab's network: a bridge in a network namespace of its own, so that the machine's own stack is
 * never touched. Cuts drop frames between two ports with the carrier left up, as a broken switch does.
 */
import { command } from "./command.ts";

export interface SwitchOptions {
  /** Network namespace of the bridge. */
  readonly namespace: string;
}

/** Two machines that do not hear each other, lower index first. */
export type Cut = readonly [number, number];

/** The switch's own addresses; servers shared by all machines (a registry) listen there. */
export const switchAddress4 = "10.99.255.254";
export const switchAddress6 = "fd99::fe";

export function machineAddress4(index: number): string {
  return `10.99.0.${index}`;
}

export function machineAddress6(index: number): string {
  return `fd99::1:${index.toString(16)}`;
}

export function inNamespace(namespace: string, args: readonly string[]): string[] {
  // Not `ip netns exec`: it remounts /sys and hides the cgroup file systems.
  return ["nsenter", `--net=/run/netns/${namespace}`, "--", ...args];
}

export async function createSwitch({ namespace }: SwitchOptions): Promise<void> {
  await command(["ip", "netns", "add", namespace]);
  await command(["ip", "-n", namespace, "-batch", "-"], {
    input: [
      "link set lo up",
      "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
      `addr add ${switchAddress4}/16 dev br0`,
      `addr add ${switchAddress6}/64 dev br0 nodad`,
      "link set br0 up",
      "",
    ].join("\n"),
  });
  await command(inNamespace(namespace, ["nft", "-f", "-"]), {
    input: [
      "table bridge lab {",
      "  set cut { type ifname . ifname; }",
      "  chain cuts { type filter hook forward priority 0; policy accept;",
      "    iifname . oifname @cut drop",
      "  }",
      "}",
      "",
    ].join("\n"),
  });
}

/** Plugs a machine's namespace into the switch; its end is `eth0`. */
export async function plug(options: SwitchOptions, index: number, machineNamespace: string): Promise<void> {
  const port = portName(index);
  await command([
    ...["ip", "link", "add", "eth0", "netns", machineNamespace, "type", "veth"],
    ...["peer", "name", port, "netns", options.namespace],
  ]);
  await command(["ip", "-n", options.namespace, "link", "set", port, "master", "br0", "up"]);
  await command(["ip", "-n", machineNamespace, "-batch", "-"], {
    input: [
      "link set lo up",
      `addr add ${machineAddress4(index)}/16 dev eth0`,
      `addr add ${machineAddress6(index)}/64 dev eth0 nodad`,
      "link set eth0 up",
      `route add default via ${switchAddress4}`,
      `route add default via ${switchAddress6}`,
      "",
    ].join("\n"),
  });
}

/** Pulls the plug, before anything else of a machine ends: nobody hears a closing packet. */
export async function unplug(options: SwitchOptions, index: number): Promise<void> {
  await command(["ip", "-n", options.namespace, "link", "set", portName(index), "down"], { mayFail: true });
}

/** Takes the machine's cable away, both ends of it. */
export async function removeCable(options: SwitchOptions, index: number): Promise<void> {
  await command(["ip", "-n", options.namespace, "link", "del", portName(index)], { mayFail: true });
}

/** Drops or restores all frames between the two machines of each pair, both ways and in one stroke. */
export async function setCuts(options: SwitchOptions, pairs: readonly Cut[], isCut: boolean): Promise<void> {
  const changes = pairs.flatMap(([a, b]) => [element(a, b), element(b, a)]);
  if (changes.length === 0) return;
  const elements = `bridge lab cut { ${changes.join(", ")} }`;
  // Deleting what is not there fails: it is added first, in the same transaction.
  const lines = [`add element ${elements}`, ...(isCut ? [] : [`delete element ${elements}`]), ""];
  await command(inNamespace(options.namespace, ["nft", "-f", "-"]), { input: lines.join("\n") });
}

export async function healAll(options: SwitchOptions): Promise<void> {
  await command(inNamespace(options.namespace, ["nft", "flush", "set", "bridge", "lab", "cut"]));
}

export async function listCuts(options: SwitchOptions): Promise<readonly Cut[]> {
  const text = await command(inNamespace(options.namespace, ["nft", "list", "set", "bridge", "lab", "cut"]));
  const pairs: Cut[] = [];
  for (const [, a, b] of text.matchAll(/"p(\d+)" \. "p(\d+)"/g))
    if (Number(a) < Number(b)) pairs.push([Number(a), Number(b)]);
  return pairs.toSorted(([a, b], [c, d]) => a - c || b - d);
}

function portName(index: number): string {
  return `p${index}`;
}

function element(from: number, to: number): string {
  return `"${portName(from)}" . "${portName(to)}"`;
}
