/**
 * The lab's network: a bridge in a network namespace of its own, so that the machine's own stack is
 * never touched. Cuts drop frames between two ports with the carrier left up, as a broken switch does.
 */
import { command } from "./command.ts";

export interface SwitchOptions {
  /** Network namespace of the bridge. */
  readonly namespace: string;
}

/** The host part of the switch's own addresses; servers shared by all machines (a registry) listen there. */
export const switchAddress4 = "10.99.255.254";
export const switchAddress6 = "fd99::fe";

export function machineAddress4(index: number): string {
  return `10.99.${Math.floor(index / 250)}.${(index % 250) + (index >= 250 ? 1 : 0)}`;
}

export function machineAddress6(index: number): string {
  return `fd99::1:${index.toString(16)}`;
}

export function portName(index: number): string {
  return `p${index}`;
}

export function inNamespace(namespace: string, args: readonly string[]): string[] {
  // Not `ip netns exec`: it remounts /sys and hides the cgroup file systems.
  return ["nsenter", `--net=/run/netns/${namespace}`, "--", ...args];
}

export async function createSwitch(options: SwitchOptions): Promise<void> {
  const { namespace } = options;
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

export async function removeSwitch(options: SwitchOptions): Promise<void> {
  await command(["ip", "netns", "del", options.namespace], { mayFail: true });
}

/** Plugs a machine's namespace into the switch; its end is `eth0`. */
export async function plug(options: SwitchOptions, index: number, machineNamespace: string): Promise<void> {
  const port = portName(index);
  await command(["ip", "-n", options.namespace, "link", "del", port], { mayFail: true });
  await command([
    "ip",
    "link",
    "add",
    "eth0",
    "netns",
    machineNamespace,
    "type",
    "veth",
    "peer",
    "name",
    port,
    "netns",
    options.namespace,
  ]);
  await command(["ip", "-n", options.namespace, "link", "set", port, "master", "br0", "up"]);
  await command(["ip", "-n", machineNamespace, "-batch", "-"], {
    input: [
      "link set lo up",
      `addr add ${machineAddress4(index)}/16 dev eth0`,
      `addr add ${machineAddress6(index)}/64 dev eth0 nodad`,
      "link set eth0 up",
      `route add default via ${switchAddress4}`,
      `-6 route add default via ${switchAddress6}`,
      "",
    ].join("\n"),
  });
}

/** Pulls the plug, before anything else of a machine ends: nobody hears a closing packet. */
export async function unplug(options: SwitchOptions, index: number): Promise<void> {
  await command(["ip", "-n", options.namespace, "link", "set", portName(index), "down"], { mayFail: true });
}

/** Drops or restores all frames between the two machines, both ways. */
export async function setCut(options: SwitchOptions, a: number, b: number, isCut: boolean): Promise<void> {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    const verb = isCut ? "add" : "delete";
    const element = `{ "${portName(from)}" . "${portName(to)}" }`;
    await command(inNamespace(options.namespace, ["nft", verb, "element", "bridge", "lab", "cut", element]), {
      mayFail: true,
    });
  }
}

export async function healAll(options: SwitchOptions): Promise<void> {
  await command(inNamespace(options.namespace, ["nft", "flush", "set", "bridge", "lab", "cut"]));
}
