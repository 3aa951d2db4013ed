/** Who reaches whom, under which address, and who must not: the host fabric between real programs. */
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PortSpec } from "../../src/model/spec.ts";
import type { Endpoint } from "../../src/ports/fabric.ts";
import { agentPort, makeFabricRig, run, type FabricRig } from "./fabric-rig.ts";
import { canRun, networkPrograms } from "./machine-needs.ts";
import { NetworkParties } from "./network-parties.ts";

const runsHere = canRun("reach of the host fabric", networkPrograms);
const addressOf = (last: number): string => `fd12:3456:789a:bcde:f012:3456:0:${last.toString(16)}`;
const protocols = ["tcp", "udp"] as const;
const published = protocols.map((protocol) => ({ container: 80, published: 18080, protocol }));
const nodeV4 = "10.99.0.1";
const nodeV6 = "fd99::1";

const connectionsPath = "/proc/thread-self/net/nf_conntrack";
const repeat = (text: string, times: number): string[] => Array.from({ length: times }, () => text);

/** Every answer comes from a program of its own, and those that never come are waited for. */
setDefaultTimeout(60_000);

describe.if(runsHere)("reach of the host fabric", () => {
  let rig: FabricRig;
  let parties: NetworkParties;

  const attach = (id: string, last: number, ports: readonly PortSpec[] = []): Promise<Endpoint> =>
    rig.fabric.attach({ id, owner: `shop/${id}`, ipv6: addressOf(last), ports });
  const inside = (endpoint: Endpoint, ...command: readonly string[]): Promise<string> =>
    run("nsenter", `--net=${endpoint.networkNamespace}`, ...command);

  beforeEach(async () => {
    rig = await makeFabricRig();
    parties = new NetworkParties();
    // As distributions have it that check strictly whether a sender's address belongs to the link.
    writeFileSync("/proc/sys/net/ipv4/conf/all/rp_filter", "1");
  });
  afterEach(async () => {
    await parties.dispose();
    await rig.dispose();
  });

  for (const protocol of protocols)
    test(`a published ${protocol} port is reached by everybody, who keep their addresses where an answer finds back`, async () => {
      const outside = await parties.addNeighbour();
      const a = await attach("a", 1, published);
      const b = await attach("b", 2);
      await parties.tell(a.networkNamespace, 80, "a");
      const ask = (from: string | undefined, host: string) => parties.ask(from, protocol, host, 18080);
      expect(await ask(outside, nodeV4)).toBe("a 10.99.0.2");
      expect(await ask(outside, nodeV6)).toBe("a fd99::2");
      expect(await ask(b.networkNamespace, nodeV4)).toBe(`a ${b.ipv4}`);
      expect(await ask(b.networkNamespace, nodeV6)).toBe(`a ${b.ipv6}`);
      expect(await ask(undefined, nodeV4)).toBe("a 10.99.0.1");
      expect(await ask(undefined, nodeV6)).toBe("a fd99::1");
      // Hidden: an answer to these would not leave the replica.
      expect(await ask(a.networkNamespace, nodeV4)).toBe("a 169.254.1.1");
      expect(await ask(a.networkNamespace, nodeV6)).toStartWith("a f");
      expect(await ask(undefined, "127.0.0.1")).toBe("a 169.254.1.1");
      expect(await ask(undefined, "::1")).toStartWith("a f");
    });

  test("::1 works without any other IPv6 address, for several replicas, and is still the node's own", async () => {
    for (const last of [1, 2, 3]) {
      const one = await attach(`web-${last}`, last, [
        { container: 80, published: 18080 + last, protocol: "tcp" },
      ]);
      await parties.tell(one.networkNamespace, 80, one.id);
    }
    await parties.tell(undefined, 18090, "node");
    for (const last of [3, 1, 2])
      expect(await parties.ask(undefined, "tcp", "::1", 18080 + last)).toBe(`web-${last} fe80::1`);
    await rig.fabric.detach("web-1");
    expect(await parties.ask(undefined, "tcp", "::1", 18082)).toBe("web-2 fe80::1");
    expect(await parties.ask(undefined, "tcp", "::1", 18090)).toBe("node ::1");
  });

  test("programs of one replica reach each other on loopback, those of another do not", async () => {
    const a = await attach("a", 1);
    const b = await attach("b", 2);
    await parties.tell(a.networkNamespace, 80, "a", "127.0.0.1");
    await parties.tell(a.networkNamespace, 81, "a", "::1");
    expect(await parties.ask(a.networkNamespace, "tcp", "127.0.0.1", 80)).toBe("a 127.0.0.1");
    expect(await parties.ask(a.networkNamespace, "udp", "::1", 81)).toBe("a ::1");
    expect(await parties.ask(b.networkNamespace, "tcp", "127.0.0.1", 80)).toBeUndefined();
    expect(await parties.ask(b.networkNamespace, "tcp", a.ipv4, 80)).toBeUndefined();
  });

  test("what leaves the machine has the machine's address", async () => {
    const outside = await parties.addNeighbour();
    const a = await attach("a", 1);
    await parties.tell(outside, 80, "world");
    for (const protocol of protocols) {
      expect(await parties.ask(a.networkNamespace, protocol, "10.99.0.2", 80)).toBe("world 10.99.0.1");
      expect(await parties.ask(a.networkNamespace, protocol, "fd99::2", 80)).toBe("world fd99::1");
    }
  });

  test("a replica does not reach its node's agent, nor what listens on loopback only", async () => {
    await parties.addNeighbour();
    const a = await attach("a", 1);
    await parties.tell(undefined, agentPort, "agent");
    await parties.tell(undefined, 7500, "node");
    await parties.tell(undefined, 7501, "private", "127.0.0.1");
    await parties.tell(undefined, 7502, "private", "::1");
    const asked = protocols.flatMap((protocol) =>
      [nodeV4, nodeV6, "169.254.1.1"].flatMap((host) =>
        [7500, agentPort, 7501, 7502].map(async (port) => {
          const answer = await parties.ask(a.networkNamespace, protocol, host, port);
          return answer === undefined ? undefined : `${protocol} ${port} ${answer.split(" ")[0]}`;
        }),
      ),
    );
    const heard = (await Promise.all(asked)).filter((answer) => answer !== undefined);
    expect(heard.toSorted()).toEqual([...repeat("tcp 7500 node", 3), ...repeat("udp 7500 node", 3)]);
    expect(await parties.ask(undefined, "tcp", "127.0.0.1", agentPort)).toBe("agent 127.0.0.1");
    // Also not with a route that leads the node's loopback to the node.
    await inside(a, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1");
    await inside(a, "ip", "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local");
    await inside(a, "ip", "route", "del", "local", "127.0.0.1", "dev", "lo", "table", "local");
    await inside(a, "ip", "route", "add", "127.0.0.1/32", "via", "169.254.1.1", "dev", "eth0");
    expect(await parties.ask(a.networkNamespace, "tcp", "127.0.0.1", 7501, a.ipv4)).toBeUndefined();
  });

  test("a resolver on the node's loopback is asked by way of the node, and nothing else there is", async () => {
    const directory = mkdtempSync(join(tmpdir(), "muster-resolver-"));
    const resolverPath = join(directory, "resolv.conf");
    writeFileSync(resolverPath, "nameserver 127.0.0.1\n");
    const fabric = rig.open({ resolverPath });
    const a = await fabric.attach({ id: "a", owner: "shop/a", ipv6: addressOf(1), ports: [] });
    await parties.tell(undefined, 53, "names", "127.0.0.1");
    await parties.tell(undefined, 54, "other", "127.0.0.1");
    for (const protocol of protocols) {
      expect(await parties.ask(a.networkNamespace, protocol, "169.254.1.1", 53)).toBe("names 127.0.0.1");
      expect(await parties.ask(a.networkNamespace, protocol, "169.254.1.1", 54)).toBeUndefined();
    }
    rmSync(directory, { recursive: true });
  });

  test("a replica speaks with its own addresses or is not heard", async () => {
    await parties.addNeighbour();
    const a = await attach("a", 1);
    const b = await attach("b", 2);
    await parties.tell(undefined, 7500, "node");
    await inside(a, "ip", "addr", "add", "10.99.0.77/32", "dev", "eth0");
    await inside(a, "ip", "addr", "add", `${b.ipv6}/128`, "dev", "eth0", "nodad");
    expect(await parties.ask(a.networkNamespace, "udp", nodeV4, 7500, a.ipv4)).toBe(`node ${a.ipv4}`);
    expect(await parties.ask(a.networkNamespace, "udp", nodeV6, 7500, a.ipv6)).toBe(`node ${a.ipv6}`);
    expect(await parties.ask(a.networkNamespace, "udp", nodeV4, 7500, "10.99.0.77")).toBeUndefined();
    expect(await parties.ask(a.networkNamespace, "udp", nodeV6, 7500, b.ipv6)).toBeUndefined();
  });

  test("a sender of datagrams that never pauses reaches whoever has the port by then", async () => {
    const outside = await parties.addNeighbour();
    // Keeps the table: with it the kernel forgets connections by itself.
    const other = await attach("other", 3);
    await parties.tell(outside, 18080, "world");
    const askOut = () => parties.ask(other.networkNamespace, "udp", "10.99.0.2", 18080, other.ipv4, "4000");
    expect(await askOut()).toBe("world 10.99.0.1");
    // The same port each time: to the kernel it is one connection as long as it lasts.
    const ask = () => parties.ask(outside, "udp", nodeV4, 18080, "10.99.0.2", "4000");
    // Tried before anybody published the port, too.
    expect(await ask()).toBeUndefined();
    const a = await attach("a", 1, published);
    await parties.tell(a.networkNamespace, 80, "a");
    expect(await ask()).toBe("a 10.99.0.2");
    await rig.fabric.detach("a");
    const program = await parties.tell(undefined, 18080, "node");
    expect(await ask()).toBe("node 10.99.0.2");
    await program.stop();
    const b = await attach("b", 2, published);
    await parties.tell(b.networkNamespace, 80, "b");
    expect(await ask()).toBe("b 10.99.0.2");
    // What leaves for the same port of another machine is not forgotten: its translation lives only there.
    if (existsSync(connectionsPath))
      expect(readFileSync(connectionsPath, "utf8")).toContain(
        `src=${other.ipv4} dst=10.99.0.2 sport=4000 dport=18080`,
      );
    else console.warn(`not looked at, for this kernel does not show them: ${connectionsPath}`);
  });
});
