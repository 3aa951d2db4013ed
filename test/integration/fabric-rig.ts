/** The host fabric in a network namespace of its own, so that the machine's network stays as it is. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  HostFabric,
  hostFabricDefaults,
  type HostFabricOptions,
} from "../../src/adapters/fabrics/host/host-fabric.ts";
import { openLibC } from "../../src/adapters/fabrics/host/libc.ts";
import type { Logger } from "../../src/ports/logger.ts";
import { SystemClock } from "../../src/adapters/system/system-clock.ts";

/** Tests read what happens from the kernel. */
export const quiet: Logger = { error() {}, warn() {}, info() {}, debug() {}, child: () => quiet };

const newNetworkNamespace = 0x4000_0000;

/** Moves this thread, and what it spawns from then on, into a new network namespace with only loopback. */
export async function enterFreshNetwork(): Promise<() => void> {
  const libc = openLibC();
  const home = openSync("/proc/thread-self/ns/net", "r");
  if (libc.symbols.unshare(newNetworkNamespace) !== 0) throw new Error("cannot make a network namespace");
  await run("ip", "link", "set", "lo", "up");
  return () => {
    if (libc.symbols.setns(home, newNetworkNamespace) !== 0)
      throw new Error("cannot return to the own network");
    closeSync(home);
    libc.close();
  };
}

export interface FabricRig {
  readonly options: HostFabricOptions;
  readonly fabric: HostFabric;
  open(change?: Partial<HostFabricOptions>): HostFabric;
  dispose(): Promise<void>;
}

/** What the rig's fabrics keep replicas from, as an agent keeps them from its own port. */
export const agentPort = 7440;

export async function makeFabricRig(): Promise<FabricRig> {
  const leave = await enterFreshNetwork();
  const statePath = mkdtempSync(join(tmpdir(), "muster-fabric-"));
  const options: HostFabricOptions = {
    ...hostFabricDefaults,
    statePath,
    key: Buffer.from(crypto.getRandomValues(new Uint8Array(4))).toString("hex"),
    closedPorts: [agentPort],
  };
  const opened: HostFabric[] = [];
  const open = (change: Partial<HostFabricOptions> = {}): HostFabric => {
    const fabric = new HostFabric({ clock: new SystemClock(), log: quiet }, { ...options, ...change });
    opened.push(fabric);
    return fabric;
  };
  return {
    options,
    fabric: open(),
    open,
    dispose: async () => {
      try {
        const last = open();
        for (const { id } of await last.list()) await last.detach(id);
        for (const fabric of opened) await fabric.close();
      } finally {
        // What a fabric that fails its test did not take away.
        for (const [, path = ""] of readFileSync("/proc/self/mounts", "utf8").matchAll(/^\S+ (\S+)/gm))
          if (path.startsWith(`${statePath}/`)) await run("umount", path);
        rmSync(statePath, { recursive: true, force: true });
        leave();
      }
    },
  };
}

/** A program's standard output; throws with what it said when it fails. */
export async function run(...command: readonly string[]): Promise<string> {
  const child = Bun.spawn([...command], { stdio: ["ignore", "pipe", "pipe"] });
  const [out, said] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")}: ${said.trim()}`);
  return out;
}
