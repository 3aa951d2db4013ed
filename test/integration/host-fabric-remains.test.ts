/** What the host fabric leaves on the machine, and what it does not touch: after crashes, beside others, under load. */
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HostFabric, interfacePrefix } from "../../src/adapters/fabrics/host/host-fabric.ts";
import { SystemClock } from "../../src/adapters/system/system-clock.ts";
import type { PortSpec } from "../../src/model/spec.ts";
import type { Clock } from "../../src/ports/clock.ts";
import { FabricError, type Endpoint, type Fabric } from "../../src/ports/fabric.ts";
import { eventually } from "../contract/eventually.ts";
import { makeFabricRig, quiet, run, type FabricRig } from "./fabric-rig.ts";
import { canRun, networkPrograms } from "./machine-needs.ts";
import { NetworkParties } from "./network-parties.ts";

const runsHere = canRun("remains of the host fabric", networkPrograms);
const addressOf = (last: number): string => `fd12:3456:789a:bcde:f012:3456:0:${last.toString(16)}`;
const web: PortSpec = { container: 80, published: 18080, protocol: "tcp" };

/** All that can be left in this thread's network namespace, and mounts below `path`. */
async function remains(path: string): Promise<readonly string[]> {
  const [links, v4, v6, local, tables] = await Promise.all([
    run("ip", "-br", "link"),
    run("ip", "route"),
    run("ip", "-6", "route"),
    run("ip", "-6", "route", "show", "table", "local"),
    run("nft", "list", "ruleset"),
  ]);
  const lines = [links, v4, v6, local, tables, readFileSync("/proc/self/mounts", "utf8")].map((text) =>
    text.split("\n"),
  );
  const [link = [], ...rest] = lines;
  const mounts = rest.pop() ?? [];
  return [
    ...link.filter((line) => !line.startsWith("lo ")),
    ...rest.flat().filter((line) => !line.includes("dev lo ")),
    ...mounts.filter((line) => line.includes(path)),
  ].filter((line) => line !== "");
}

/** A key for each number, far apart as those of nodes are: from the key comes where an agent begins to look for addresses. */
function spread(number: number): string {
  return (Math.imul(number, 0x9e37_79b1) >>> 0).toString(16).padStart(8, "0");
}

/** Programs of this network namespace by that name: the nft of an agent that was killed goes on for a moment. */
function running(name: string): readonly string[] {
  const here = readlinkSync("/proc/thread-self/ns/net");
  return readdirSync("/proc").filter((pid) => {
    try {
      return (
        readFileSync(`/proc/${pid}/comm`, "utf8").trim() === name &&
        readlinkSync(`/proc/${pid}/ns/net`) === here
      );
    } catch {
      return false;
    }
  });
}

setDefaultTimeout(120_000);

describe.if(runsHere)("remains of the host fabric", () => {
  let rig: FabricRig;
  let parties: NetworkParties;

  const attach = (
    id: string,
    last: number,
    ports: readonly PortSpec[] = [],
    fabric: Fabric = rig.fabric,
  ): Promise<Endpoint> => fabric.attach({ id, owner: `shop/${id}`, ipv6: addressOf(last), ports });

  beforeEach(async () => {
    rig = await makeFabricRig();
    parties = new NetworkParties();
  });
  afterEach(async () => {
    await parties.dispose();
    await rig.dispose();
  });

  test("killed before any step, an agent leaves what the next one removes", async () => {
    const atOnce = 8;
    const victim = join(import.meta.dir, "fabric-victim.ts");
    let survivors = 0;
    let deadly = 0;
    while (survivors === 0) {
      const outcomes = await Promise.all(
        Array.from({ length: atOnce }, async (_, index) => {
          const key = spread(deadly + index + 1);
          const statePath = join(rig.options.statePath, key);
          mkdirSync(statePath);
          const options = { ...rig.options, key, statePath };
          const child = Bun.spawn(
            [process.execPath, victim, JSON.stringify(options), String(deadly + index + 1)],
            { stdio: ["ignore", "pipe", "inherit"] },
          );
          const said = await new Response(child.stdout).text();
          await child.exited;
          return { options, said, signal: child.signalCode };
        }),
      );
      await eventually("no nft runs", async () => (running("nft").length === 0 ? true : undefined));
      for (const { options, said, signal } of outcomes) {
        expect(said === "survived" || signal === "SIGKILL").toBeTrue();
        if (said === "survived") survivors += 1;
        const next = new HostFabric({ clock: new SystemClock(), log: quiet }, options);
        for (const { id } of await next.list()) await next.detach(id);
        await next.close();
        expect(readdirSync(join(options.statePath, "endpoints"))).toEqual([]);
      }
      expect(await remains(rig.options.statePath)).toEqual([]);
      deadly += atOnce;
    }
    // As many steps as three endpoints take; fewer would mean that steps are not seen.
    expect(deadly).toBeGreaterThan(60);
  });

  test("200 attaches and detaches leave nothing, in the kernel, on disk or among open files", async () => {
    await attach("first", 1, [web]);
    await rig.fabric.detach("first");
    const filesBefore = readdirSync("/proc/self/fd").length;
    const lanes = Array.from({ length: 10 }, async (_, lane) => {
      for (let round = 0; round < 20; round += 1) {
        const id = `web-${lane}-${round}`;
        const published = 20_000 + lane * 20 + round;
        await attach(id, 2 + lane * 20 + round, [{ container: 80, published, protocol: "tcp" }]);
        await rig.fabric.detach(id);
      }
    });
    await Promise.all(lanes);
    expect(await rig.fabric.list()).toEqual([]);
    expect(await remains(rig.options.statePath)).toEqual([]);
    expect(readdirSync(rig.options.statePath).toSorted()).toEqual(["endpoints", "netns"]);
    expect(readdirSync(join(rig.options.statePath, "netns"))).toEqual([]);
    // A file for each endpoint would be 200; those of programs that just ended are closed when they are collected.
    expect(readdirSync("/proc/self/fd").length).toBeLessThan(filesBefore + 50);
  });

  test("a fabric without endpoints changes nothing, and one with them says what it switches on", async () => {
    const forwarding = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"].map((name) => `/proc/sys/net/${name}`);
    for (const path of forwarding) writeFileSync(path, "0");
    await rig.fabric.list();
    await rig.fabric.portHolder(18080, "tcp");
    expect(forwarding.map((path) => readFileSync(path, "utf8"))).toEqual(["0\n", "0\n"]);
    expect(await remains(rig.options.statePath)).toEqual([]);
    const said: unknown[] = [];
    const log = { ...quiet, info: (...line: readonly unknown[]) => void said.push(line) };
    const fabric = new HostFabric({ clock: new SystemClock(), log }, rig.options);
    await attach("a", 1, [], fabric);
    expect(forwarding.map((path) => readFileSync(path, "utf8"))).toEqual(["1\n", "1\n"]);
    expect(JSON.stringify(said)).toContain("ipv4/ip_forward=1 ipv6/conf/all/forwarding=1");
    await fabric.detach("a");
    await fabric.close();
  });

  test("without nft an attach fails with what to install, and leaves nothing", async () => {
    const path = process.env["PATH"];
    process.env["PATH"] = "/nonexistent";
    const refused = await attach("a", 1, [web])
      .catch((error: unknown) => error)
      .finally(() => (process.env["PATH"] = path));
    expect(refused).toBeInstanceOf(FabricError);
    expect(String(refused)).toContain("install the package nftables");
    expect(await rig.fabric.list()).toEqual([]);
    await eventually("nothing remains", async () =>
      (await remains(rig.options.statePath)).length === 0 ? true : undefined,
    );
    expect(readdirSync(rig.options.statePath).toSorted()).toEqual(["endpoints", "netns"]);
  });

  test("a firewall that drops what is forwarded is told of", async () => {
    const chain = (name: string, hook: string, policy: string) =>
      run("nft", `add chain ip filter ${name} { type filter hook ${hook} priority 0; policy ${policy}; }`);
    await run("nft", "add table ip filter");
    await Promise.all([
      chain("FORWARD", "forward", "drop"),
      chain("INPUT", "input", "drop"),
      chain("MORE", "forward", "accept"),
    ]);
    const said: unknown[] = [];
    const log = { ...quiet, warn: (...line: readonly unknown[]) => void said.push(line) };
    const fabric = new HostFabric({ clock: new SystemClock(), log }, rig.options);
    await attach("a", 1, [], fabric);
    await attach("b", 2, [], fabric);
    expect(said).toEqual([
      [expect.stringContaining("firewall"), { chains: "filter FORWARD", allow: "interfaces mstr-*" }],
    ]);
    await fabric.detach("a");
    await fabric.detach("b");
    await fabric.close();
    await run("nft", "delete table ip filter");
  });

  test("two fleets of one machine keep out of each other's way", async () => {
    const outside = await parties.addNeighbour();
    const statePath = join(rig.options.statePath, "other");
    const other = new HostFabric(
      { clock: new SystemClock(), log: quiet },
      { ...rig.options, statePath, key: "0123abcd" },
    );
    const a = await attach("a", 1, [web]);
    const refused = await attach("a", 2, [web], other).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(FabricError);
    expect(String(refused)).toContain(`18080/tcp is taken by another fleet's agent`);
    expect(String(refused)).toContain(`muster-${rig.options.key}`);
    expect(await other.portHolder(18080, "udp")).toBeUndefined();
    const b = await attach("a", 2, [{ ...web, published: 18081 }], other);
    expect(b.ipv4).not.toBe(a.ipv4);
    await parties.tell(a.networkNamespace, 80, "a");
    await parties.tell(b.networkNamespace, 80, "b");
    for (const host of ["10.99.0.1", "fd99::1"]) {
      expect(await parties.ask(outside, "tcp", host, 18080)).toStartWith("a ");
      expect(await parties.ask(outside, "tcp", host, 18081)).toStartWith("b ");
      // By published ports they reach each other as neighbours do; straight they do not.
      expect(await parties.ask(b.networkNamespace, "tcp", host, 18080)).toStartWith("a ");
    }
    expect(await parties.ask(b.networkNamespace, "tcp", a.ipv4, 80)).toBeUndefined();
    await other.detach("a");
    await other.close();
    expect(await parties.ask(outside, "tcp", "10.99.0.1", 18080)).toBe("a 10.99.0.2");
    expect(await parties.ask(undefined, "tcp", "::1", 18080)).toStartWith("a ");
    expect(await run("nft", "list", "tables")).toBe(`table inet muster-${rig.options.key}\n`);
  });

  test("other people's tables and interfaces stay as they are", async () => {
    await run("nft", "add table inet mine; add chain inet mine c { type filter hook forward priority 0; }");
    await run("nft", "add rule inet mine c tcp dport 1 drop; add table inet muster");
    await run("ip", "link", "add", `${interfacePrefix}mine`, "type", "veth");
    const before = await remains(rig.options.statePath);
    await Promise.all([1, 2, 3].map((last) => attach(`web-${last}`, last)));
    const next = rig.open();
    for (const { id } of await next.list()) await next.detach(id);
    expect(await remains(rig.options.statePath)).toEqual(before);
  });

  test("tables that somebody flushed are back by themselves, and at once for the next endpoint", async () => {
    const system = new SystemClock();
    const clock: Clock = {
      now: () => system.now() * 50,
      wallMs: () => system.wallMs(),
      at: (when, callback) => system.at(when / 50, callback),
    };
    const fabric = new HostFabric({ clock, log: quiet }, rig.options);
    const a = await attach("a", 1, [web], fabric);
    await parties.tell(a.networkNamespace, 80, "a");
    await run("nft", "flush", "ruleset");
    await eventually("the published port answers again", () =>
      parties.ask(undefined, "tcp", "127.0.0.1", 18080),
    );
    await run("nft", "flush", "ruleset");
    await attach("b", 2, [{ ...web, published: 18081 }], fabric);
    expect(await parties.ask(undefined, "tcp", "127.0.0.1", 18080)).toStartWith("a ");
    await run("nft", "flush", "ruleset");
    await fabric.detach("b");
    await fabric.detach("a");
    await fabric.close();
    expect(await remains(rig.options.statePath)).toEqual([]);
  });

  test("a network of the machine that has our range is left alone, and packets fit the way out", async () => {
    await parties.addNeighbour(1_400);
    await run("ip", "addr", "add", "10.210.3.1/24", "dev", "up0");
    await run("ip", "route", "add", "default", "via", "10.99.0.2");
    const a = await attach("a", 1);
    expect(a.ipv4).toStartWith("172.30.");
    expect(await run("nsenter", `--net=${a.networkNamespace}`, "ip", "link", "show", "eth0")).toContain(
      "mtu 1400",
    );
    expect(
      (await run("ip", "-o", "link")).split("\n").filter((line) => line.includes(interfacePrefix)),
    ).toEqual([expect.stringContaining("mtu 1400")]);
  });

  test("IPv6 that is switched off for new interfaces is switched on for ours, and replicas teach no routes", async () => {
    writeFileSync("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    writeFileSync("/proc/sys/net/ipv6/conf/default/accept_ra", "2");
    const a = await attach("a", 1, [web]);
    await parties.tell(a.networkNamespace, 80, "a");
    expect(await parties.ask(undefined, "tcp", a.ipv6, 80)).toStartWith("a ");
    const link =
      readdirSync("/proc/sys/net/ipv6/conf").find((name) => name.startsWith(interfacePrefix)) ?? "";
    expect(readFileSync(`/proc/sys/net/ipv6/conf/${link}/accept_ra`, "utf8")).toBe("0\n");
  });
});
