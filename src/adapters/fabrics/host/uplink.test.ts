import { expect, test } from "bun:test";
import { freeRange, parseIpv4Routes, parseIpv6DefaultLinks } from "./uplink.ts";

const routes = parseIpv4Routes(
  [
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT",
    "eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0",
    "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0",
    "mstr-1\t0500D20A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0",
    "",
  ].join("\n"),
);

test("routes have their first address and their size", () => {
  expect(routes).toEqual([
    { link: "eth0", base: 0, size: 2 ** 32 },
    { link: "eth0", base: 0x0a00_0200, size: 256 },
    { link: "mstr-1", base: 0x0ad2_0005, size: 1 },
  ]);
  expect(parseIpv4Routes("")).toEqual([]);
});

test("a range is free when no network overlaps it; the default route and single addresses are none", () => {
  expect(freeRange(["10.210.0.0/16", "172.30.0.0/16"], routes)).toBe("10.210.0.0/16");
  expect(freeRange(["10.0.0.0/16", "172.30.0.0/16"], routes)).toBe("172.30.0.0/16");
  expect(freeRange(["10.0.2.128/25", "10.0.3.0/24"], routes)).toBe("10.0.3.0/24");
  expect(freeRange(["10.0.2.0/24"], routes)).toBe("10.0.2.0/24");
});

test("the links of IPv6 default routes, without the one that refuses", () => {
  const line = (destination: string, bits: string, link: string) =>
    `${destination} ${bits} ${"0".repeat(32)} 00 ${"0".repeat(32)} 00000400 00000001 00000000 00000003     ${link}`;
  const table = [
    line("0".repeat(32), "00", "eth0"),
    line("0".repeat(32), "00", "lo"),
    line(`fd${"0".repeat(30)}`, "40", "eth1"),
  ].join("\n");
  expect(parseIpv6DefaultLinks(table)).toEqual(["eth0"]);
  expect(parseIpv6DefaultLinks("")).toEqual([]);
});
