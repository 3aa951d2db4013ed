import { describe, expect, test } from "bun:test";
import { defined } from "../../../model/assert.ts";
import { ipv6Bytes, isIpv6, parseIpv4Range, pickIpv4, sameIpv6 } from "./addresses.ts";

describe("IPv4 range", () => {
  test("its base is the network's address", () => {
    expect(parseIpv4Range("10.210.7.9/16")).toEqual({ base: 0x0ad2_0000, size: 65_536 });
  });

  for (const text of [
    "10.210.0.0",
    "10.210.0.0/31",
    "10.210.0/16",
    "10.256.0.0/16",
    "a.b.c.d/16",
    "10.0.0.0/4",
  ])
    test(`${text} is none`, () => {
      expect(parseIpv4Range(text)).toBeUndefined();
    });

  test("addresses rest before they are used again", () => {
    const range = defined(parseIpv4Range("10.0.0.0/29"), "a range");
    expect(pickIpv4(range, new Set(), undefined)).toBe("10.0.0.1");
    expect(pickIpv4(range, new Set(), "10.0.0.1")).toBe("10.0.0.2");
    expect(pickIpv4(range, new Set(["10.0.0.6"]), "10.0.0.5")).toBe("10.0.0.1");
    const all = new Set(Array.from({ length: 6 }, (_, index) => `10.0.0.${index + 1}`));
    expect(pickIpv4(range, all, "10.0.0.3")).toBeUndefined();
  });
});

describe("IPv6", () => {
  test("every way to write an address", () => {
    expect(ipv6Bytes("fe80::1").toString("hex")).toBe("fe800000000000000000000000000001");
    expect(sameIpv6("fd12:0:0:0:0:0:0:1", "FD12::0001")).toBe(true);
    expect(sameIpv6("::", "0:0:0:0:0:0:0:0")).toBe(true);
    expect(sameIpv6("fd12::1", "fd12::2")).toBe(false);
  });

  for (const text of [
    "",
    "1",
    "1:2:3:4:5:6:7",
    "1::2::3",
    "1:2:3:4:5:6:7:8:9",
    "g::",
    "1:2:3:4:5:6:7::8",
    "12345::",
  ])
    test(`"${text}" is none`, () => {
      expect(isIpv6(text)).toBe(false);
    });
});
