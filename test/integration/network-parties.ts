/** Who talks in tests of the fabric: a neighbour machine, programs that tell who reached them, and those who ask. */
import { mkdtempSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../contract/eventually.ts";
import { run } from "./fabric-rig.ts";

const tellerPath = join(import.meta.dir, "network-teller.ts");
const askerPath = join(import.meta.dir, "network-asker.ts");

export class NetworkParties {
  readonly #directory = mkdtempSync(join(tmpdir(), "muster-net-"));
  readonly #children: Bun.Subprocess[] = [];
  readonly #mounts: string[] = [];

  /** A neighbour machine on a link of its own: fd99::2 and 10.99.0.2, this one has ...1. Its namespace's path. */
  async addNeighbour(mtuBytes = 1_500): Promise<string> {
    const outside = join(this.#directory, "outside");
    writeFileSync(outside, "");
    await run("unshare", `--net=${outside}`, "true");
    this.#mounts.push(outside);
    // `ip link` names a namespace by a process in it.
    const anchor = this.#spawn("nsenter", `--net=${outside}`, "sleep", "1000");
    await eventually("the anchor is in its namespace", async () =>
      readlinkSync(`/proc/${anchor.pid}/ns/net`) === readlinkSync("/proc/thread-self/ns/net")
        ? undefined
        : true,
    );
    for (const line of [
      `link add up0 mtu ${mtuBytes} type veth peer name eth0 netns ${anchor.pid}`,
      "addr add 10.99.0.1/24 dev up0",
      "addr add fd99::1/64 dev up0 nodad",
      "link set up0 up",
    ])
      await run("ip", ...line.split(" "));
    for (const line of [
      "link set lo up",
      "addr add 10.99.0.2/24 dev eth0",
      "addr add fd99::2/64 dev eth0 nodad",
      "link set eth0 up",
    ])
      await run("nsenter", `--net=${outside}`, "ip", ...line.split(" "));
    return outside;
  }

  /** Answers on a port of a namespace (undefined: this one) until `stop` is called. */
  async tell(
    namespace: string | undefined,
    port: number,
    name: string,
    host?: string,
  ): Promise<{ stop(): Promise<void> }> {
    const command = [process.execPath, tellerPath, String(port), name, ...(host === undefined ? [] : [host])];
    const child = Bun.spawn([...entering(namespace), ...command], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#children.push(child);
    const reader = child.stdout.getReader();
    const { value } = await reader.read();
    if (value === undefined) throw new Error(`no teller on port ${port}`);
    return {
      stop: async () => {
        child.kill("SIGKILL");
        await child.exited;
      },
    };
  }

  /** What a teller says to one who asks from a namespace, and from a local address and port when they are given; undefined when nothing comes back. */
  async ask(
    from: string | undefined,
    protocol: "tcp" | "udp",
    host: string,
    port: number,
    ...local: readonly string[]
  ): Promise<string | undefined> {
    const command = [process.execPath, askerPath, protocol, host, String(port), ...local];
    const child = Bun.spawn([...entering(from), ...command], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const said = await new Response(child.stdout).text();
    return (await child.exited) === 0 ? said : undefined;
  }

  async dispose(): Promise<void> {
    for (const child of this.#children.splice(0)) {
      child.kill("SIGKILL");
      await child.exited;
    }
    for (const mount of this.#mounts.splice(0)) await run("umount", mount);
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #spawn(...command: readonly string[]): Bun.Subprocess {
    const child = Bun.spawn([...command], { stdio: ["ignore", "ignore", "ignore"] });
    this.#children.push(child);
    return child;
  }
}

function entering(namespace: string | undefined): readonly string[] {
  return namespace === undefined ? [] : ["nsenter", `--net=${namespace}`];
}
