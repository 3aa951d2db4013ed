import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { interfacePrefix } from "../../src/adapters/fabrics/host/host-fabric.ts";
import type { Endpoint } from "../../src/ports/fabric.ts";
import { eventually } from "../contract/eventually.ts";
import { makeFabricRig, run, type FabricRig } from "./fabric-rig.ts";
import { canRun, networkPrograms } from "./machine-needs.ts";

const runsHere = canRun("host fabric on this machine", networkPrograms);
/** A process of its own, because a fetch goes out from where its process began, and `wget` of a static busybox resolves no names. */
const fetchScript =
  "process.stdout.write(await (await fetch(process.argv.at(-1), { signal: AbortSignal.timeout(2000) })).text())";
const addressOf = (last: number): string => `fd12:3456:789a:bcde:f012:3456:0:${last.toString(16)}`;
const web = { container: 80, published: 18080, protocol: "tcp" as const };

describe.if(runsHere)("host fabric on this machine", () => {
  let rig: FabricRig;
  let files: string;
  let outside: string;
  const servers: Bun.Subprocess[] = [];

  /** A neighbour machine on a link of its own: fd99::2 and 10.99.0.2, this one has ...1. */
  const addNeighbour = async (): Promise<void> => {
    outside = join(files, "outside");
    writeFileSync(outside, "");
    await run("unshare", `--net=${outside}`, "true");
    const configure = [
      "link add up0 type veth peer name eth0 netns outside",
      "addr add 10.99.0.1/24 dev up0",
      "addr add fd99::1/64 dev up0 nodad",
      "link set up0 up",
    ];
    const anchor = Bun.spawn(["nsenter", `--net=${outside}`, "sleep", "1000"], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    servers.push(anchor);
    await eventually("the anchor is in its namespace", async () =>
      readlinkSync(`/proc/${anchor.pid}/ns/net`) === readlinkSync("/proc/thread-self/ns/net")
        ? undefined
        : true,
    );
    for (const line of configure) await run("ip", ...line.replace("outside", String(anchor.pid)).split(" "));
    for (const line of [
      "link set lo up",
      "addr add 10.99.0.2/24 dev eth0",
      "addr add fd99::2/64 dev eth0 nodad",
      "link set eth0 up",
    ])
      await run("nsenter", `--net=${outside}`, "ip", ...line.split(" "));
  };
  /** Serves the text `name` on all addresses of a namespace. */
  const serve = async (namespace: string, port: number, name: string): Promise<void> => {
    writeFileSync(join(files, `${name}.txt`), `${name}\n`);
    const command = ["busybox", "httpd", "-f", "-p", `[::]:${port}`, "-h", files];
    servers.push(
      Bun.spawn(["nsenter", `--net=${namespace}`, ...command], { stdio: ["ignore", "ignore", "ignore"] }),
    );
    await eventually("the server answers", () =>
      fetchFrom(namespace, `http://127.0.0.1:${port}/${name}.txt`).then(
        () => true,
        () => undefined,
      ),
    );
  };
  const fetchFrom = async (namespace: string | undefined, url: string): Promise<string> => {
    const enter = namespace === undefined ? [] : ["nsenter", `--net=${namespace}`];
    return (await run(...enter, process.execPath, "--eval", fetchScript, url)).trim();
  };
  const attach = (id: string, last: number, ports: readonly (typeof web)[] = []): Promise<Endpoint> =>
    rig.fabric.attach({ id, owner: `shop/${id}`, ipv6: addressOf(last), ports });

  beforeEach(async () => {
    rig = await makeFabricRig();
    files = mkdtempSync(join(tmpdir(), "muster-net-"));
    outside = "";
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) {
      server.kill("SIGKILL");
      await server.exited;
    }
    if (outside !== "") await run("umount", outside);
    rmSync(files, { recursive: true, force: true });
    await rig.dispose();
    expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(rig.options.statePath);
  });

  test("everybody reaches what they should, on both families", async () => {
    await addNeighbour();
    const a = await attach("a", 1, [web]);
    const b = await attach("b", 2);
    await serve(a.networkNamespace, 80, "a");
    await serve(outside, 81, "world");
    const reached = async (from: string | undefined, url: string) =>
      expect(await fetchFrom(from, url)).toBe("a");
    // The replica itself, from its node and from another replica.
    for (const from of [undefined, b.networkNamespace]) {
      await reached(from, `http://[${a.ipv6}]/a.txt`);
      await reached(from, `http://${a.ipv4}/a.txt`);
    }
    // Its published port: from outside, from the machine, from another replica, from itself.
    for (const from of [outside, undefined, b.networkNamespace, a.networkNamespace]) {
      await reached(from, "http://10.99.0.1:18080/a.txt");
      await reached(from, "http://[fd99::1]:18080/a.txt");
    }
    await reached(undefined, "http://127.0.0.1:18080/a.txt");
    await reached(undefined, "http://[::1]:18080/a.txt");
    expect(await fetchFrom(a.networkNamespace, "http://10.99.0.2:81/world.txt")).toBe("world");
    expect(await fetchFrom(a.networkNamespace, "http://[fd99::2]:81/world.txt")).toBe("world");
  });

  test("a port that is not published is out of reach, whatever routes a neighbour has", async () => {
    await addNeighbour();
    const a = await attach("a", 1);
    await serve(a.networkNamespace, 80, "a");
    await run("nsenter", `--net=${outside}`, "ip", "route", "add", `${a.ipv4}/32`, "via", "10.99.0.1");
    await run("nsenter", `--net=${outside}`, "ip", "route", "add", `${a.ipv6}/128`, "via", "fd99::1");
    const urls = [`http://${a.ipv4}/a.txt`, `http://[${a.ipv6}]/a.txt`];
    const outcomes = await Promise.allSettled(urls.map((url) => fetchFrom(outside, url)));
    expect(outcomes.map((outcome) => outcome.status)).toEqual(["rejected", "rejected"]);
  });

  test("detached, nothing is left: link, routes, namespace, port", async () => {
    const a = await attach("a", 1, [web]);
    const server = Bun.spawn(["nsenter", `--net=${a.networkNamespace}`, "sleep", "1000"]);
    servers.push(server);
    // A process that lingers in the namespace keeps it, but not the way to it.
    await rig.fabric.detach("a");
    expect(await run("ip", "-o", "link")).not.toContain(interfacePrefix);
    expect(await run("ip", "-o", "route")).toBe("");
    expect(await run("ip", "-6", "-o", "route", "show", "table", "all")).not.toContain("fd12:");
    expect(await run("nft", "list", "tables")).toBe("");
  });

  test("after a reboot the same endpoint is made again with the same addresses", async () => {
    const before = await attach("a", 1, [web]);
    await run("umount", before.networkNamespace);
    await run("nft", "delete", "table", "inet", `muster-${rig.options.key}`);
    const next = rig.open();
    expect(await next.attach({ id: "a", owner: "shop/a", ipv6: addressOf(1), ports: [web] })).toEqual(before);
    await serve(before.networkNamespace, 80, "a");
    expect(await fetchFrom(undefined, "http://127.0.0.1:18080/a.txt")).toBe("a");
  });

  test("after a reboot nothing is listed that is not there", async () => {
    const before = await attach("a", 1, [web]);
    await run("umount", before.networkNamespace);
    await eventually("the link goes with its namespace", async () =>
      (await run("ip", "-o", "link")).includes(interfacePrefix) ? undefined : true,
    );
    expect(await rig.open().list()).toEqual([]);
  });

  test("a failure leaves nothing", async () => {
    await attach("a", 1);
    // The address's route cannot be made: the kernel takes no multicast address for a link.
    const outcome = await rig.fabric
      .attach({ id: "bad", owner: "shop/bad", ipv6: "ff02::1", ports: [web] })
      .then(
        () => "attached",
        () => "refused",
      );
    expect(outcome).toBe("refused");
    expect((await rig.fabric.list()).map(({ id }) => id)).toEqual(["a"]);
    expect((await run("ip", "-o", "link")).split(interfacePrefix).length).toBe(2);
    expect(await rig.fabric.portHolder(18080, "tcp")).toBeUndefined();
  });

  test("a holder of a port is named by program and pid", async () => {
    const server = Bun.listen({ hostname: "::", port: 18090, socket: { data: () => {} } });
    expect(await rig.fabric.portHolder(18090, "tcp")).toContain(`pid ${process.pid}`);
    server.stop(true);
    expect(await rig.fabric.portHolder(18090, "tcp")).toBeUndefined();
  });
});
