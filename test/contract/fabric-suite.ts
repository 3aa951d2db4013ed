/** What every fabric keeps to. An adapter's test file gives `runFabricSuite` a setup and nothing else. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { FabricError, type EndpointSpec, type Fabric } from "../../src/ports/fabric.ts";

export interface FabricHarness {
  readonly fabric: Fabric;
  /** What an agent that starts after a crash opens: another fabric over the same endpoints. The old one is not used again. */
  reopen(): Promise<Fabric>;
  /** Somebody else listens on a port of the machine, until the returned function is called. */
  occupy(port: number, protocol: "tcp" | "udp"): Promise<() => Promise<void>>;
  /** Removes all that was made. */
  dispose(): Promise<void>;
}

export function runFabricSuite(name: string, setup: () => Promise<FabricHarness>): void {
  describe(`fabric contract: ${name}`, () => {
    let harness: FabricHarness;
    let fabric: Fabric;

    beforeEach(async () => {
      harness = await setup();
      fabric = harness.fabric;
    });
    afterEach(async () => {
      await harness.dispose();
    });

    const spec = (id: string, address: number, published?: number) => {
      const port = { container: 80, protocol: "tcp" as const };
      return {
        id,
        owner: `shop/${id}`,
        ipv6: `fd12:3456:789a:bcde:f012:3456:0:${address.toString(16)}`,
        ports: [published === undefined ? port : { ...port, published }],
      } satisfies EndpointSpec;
    };
    const ids = async (): Promise<string[]> =>
      (await fabric.list()).map((endpoint) => endpoint.id).toSorted();

    test("nothing is listed at first", async () => {
      expect(await fabric.list()).toEqual([]);
    });

    test("attached, listed, detached", async () => {
      const endpoint = await fabric.attach(spec("web-0", 1));
      expect(endpoint.id).toBe("web-0");
      expect(endpoint.ipv6).toBe(spec("web-0", 1).ipv6);
      expect(endpoint.ipv4).toMatch(/^\d+\.\d+\.\d+\.\d+$/);
      expect(endpoint.networkNamespace).not.toBe("");
      expect(await fabric.list()).toEqual([endpoint]);
      await fabric.detach("web-0");
      expect(await fabric.list()).toEqual([]);
    });

    test("every call may be repeated", async () => {
      const first = await fabric.attach(spec("web-0", 1, 18080));
      expect(await fabric.attach(spec("web-0", 1, 18080))).toEqual(first);
      expect(await ids()).toEqual(["web-0"]);
      await fabric.detach("web-0");
      await fabric.detach("web-0");
      await fabric.detach("never-was");
      expect(await fabric.list()).toEqual([]);
    });

    test("endpoints are apart from each other", async () => {
      const specs = Array.from({ length: 5 }, (_, i) => spec(`web-${i}`, i + 1));
      const endpoints = await Promise.all(specs.map((s) => fabric.attach(s)));
      expect(new Set(endpoints.map((e) => e.ipv4)).size).toBe(5);
      expect(new Set(endpoints.map((e) => e.networkNamespace)).size).toBe(5);
      await Promise.all(specs.map((s) => fabric.detach(s.id)));
      expect(await fabric.list()).toEqual([]);
    });

    test("a published port has one holder, named in the refusal", async () => {
      await fabric.attach(spec("web-0", 1, 18080));
      const error = await rejection(fabric.attach(spec("web-1", 2, 18080)));
      expect(error.info).toMatchObject({
        code: "port-taken",
        port: 18080,
        protocol: "tcp",
      });
      expect(error.message).toContain("18080");
      expect(error.message).toContain("shop/web-0");
      expect(await ids()).toEqual(["web-0"]);
      expect(await fabric.portHolder(18080, "tcp")).toBe("shop/web-0");
      await fabric.detach("web-0");
      expect(await fabric.portHolder(18080, "tcp")).toBeUndefined();
      await fabric.attach(spec("web-1", 2, 18080));
      expect(await ids()).toEqual(["web-1"]);
    });

    test("tcp and udp ports of one number are two ports", async () => {
      await fabric.attach(spec("web-0", 1, 18080));
      expect(await fabric.portHolder(18080, "udp")).toBeUndefined();
      await fabric.attach({
        ...spec("dns-0", 2),
        ports: [{ container: 53, published: 18080, protocol: "udp" }],
      });
      expect(await ids()).toEqual(["dns-0", "web-0"]);
    });

    test("ports that are not published do not clash", async () => {
      await fabric.attach(spec("web-0", 1));
      await fabric.attach(spec("web-1", 2));
      expect(await ids()).toEqual(["web-0", "web-1"]);
    });

    test("a port that another program has is refused", async () => {
      const leave = await harness.occupy(18081, "tcp");
      const error = await rejection(fabric.attach(spec("web-0", 1, 18081)));
      expect(error.info).toMatchObject({ code: "port-taken", port: 18081 });
      expect(await fabric.list()).toEqual([]);
      expect(await fabric.portHolder(18081, "tcp")).toBeString();
      await leave();
      expect(await fabric.portHolder(18081, "tcp")).toBeUndefined();
      await fabric.attach(spec("web-0", 1, 18081));
    });

    test("an address has one holder", async () => {
      await fabric.attach(spec("web-0", 1));
      const error = await rejection(fabric.attach(spec("web-1", 1)));
      expect(error.info).toMatchObject({ code: "address-taken" });
      expect(error.message).toContain("web-0");
      expect(await ids()).toEqual(["web-0"]);
    });

    test("of several published ports none is left when one is taken", async () => {
      await fabric.attach(spec("web-0", 1, 18080));
      const both: EndpointSpec = {
        ...spec("web-1", 2),
        ports: [
          { container: 81, published: 18082, protocol: "tcp" },
          { container: 80, published: 18080, protocol: "tcp" },
        ],
      };
      await rejection(fabric.attach(both));
      expect(await fabric.portHolder(18082, "tcp")).toBeUndefined();
      expect(await ids()).toEqual(["web-0"]);
    });

    test("endpoints survive the agent", async () => {
      const before = await fabric.attach(spec("web-0", 1, 18080));
      fabric = await harness.reopen();
      expect(await fabric.list()).toEqual([before]);
      expect(await fabric.attach(spec("web-0", 1, 18080))).toEqual(before);
      expect(await fabric.portHolder(18080, "tcp")).toContain("web-0");
      const error = await rejection(fabric.attach(spec("web-1", 2, 18080)));
      expect(error.info.code).toBe("port-taken");
      await fabric.detach("web-0");
      expect(await fabric.list()).toEqual([]);
    });
  });
}

async function rejection(attempt: Promise<unknown>): Promise<FabricError> {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof FabricError) return error;
    throw error;
  }
  throw new Error("expected a FabricError, and it succeeded");
}
