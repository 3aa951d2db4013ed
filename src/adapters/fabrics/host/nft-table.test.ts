import { expect, test } from "bun:test";
import { addElements, deleteElements, wholeTable } from "./nft-table.ts";

const web = {
  ipv4: "10.210.0.1",
  ipv6: "fd00::1",
  ports: [
    { container: 80, published: 8080, protocol: "tcp" },
    { container: 53, published: 53, protocol: "udp" },
    { container: 9, protocol: "tcp" },
  ],
} as const;

test("a change of the table names only what is published", () => {
  expect(addElements("m", web).split("\n")).toEqual([
    "add element inet m self4 { 10.210.0.1 . 10.210.0.1 }",
    "add element inet m self6 { fd00::1 . fd00::1 }",
    "add element inet m publish4 { tcp . 8080 : 10.210.0.1 . 80 }",
    "add element inet m publish6 { tcp . 8080 : fd00::1 . 80 }",
    "add element inet m publish4 { udp . 53 : 10.210.0.1 . 53 }",
    "add element inet m publish6 { udp . 53 : fd00::1 . 53 }",
  ]);
  expect(deleteElements("m", web).split("\n").slice(-4)).toEqual([
    "delete element inet m publish4 { tcp . 8080, udp . 53 }",
    "delete element inet m publish6 { tcp . 8080, udp . 53 }",
    "delete element inet m self4 { 10.210.0.1 . 10.210.0.1 }",
    "delete element inet m self6 { fd00::1 . fd00::1 }",
  ]);
  expect(addElements("m", { ...web, ports: [] })).toBe("");
  expect(deleteElements("m", { ...web, ports: [] })).toBe("");
});

test("the whole table replaces an older one in one script", () => {
  const lines = wholeTable(
    { table: "m", interfaceGroup: 7, closedPorts: [7440], loopbackResolver: undefined },
    [web],
  ).split("\n");
  expect(lines.slice(0, 3)).toEqual(["add table inet m", "delete table inet m", "table inet m {"]);
  expect(lines).toContain("add element inet m publish6 { udp . 53 : fd00::1 . 53 }");
});
