import { expect, test } from "bun:test";
import { resolverFile } from "./resolver-file.ts";

const over = (files: Readonly<Record<string, string>>): string => resolverFile((path) => files[path]);
const stub = "# by systemd-resolved\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch shop.example\n";

test("resolvers that can be reached are the machine's, with its domains and options", () => {
  expect(over({ "/etc/resolv.conf": "search a.example\nnameserver 10.0.0.53\nnameserver fd00::53\n" })).toBe(
    "search a.example\nnameserver 10.0.0.53\nnameserver fd00::53\n",
  );
});

test("of several the ones on loopback and on one link are left out", () => {
  const lines = ["127.0.0.1", "::1", "0.0.0.0", "fe80::1%eth0", "FE80::2", "::ffff:127.0.0.1", "192.0.2.1"];
  const text = lines.map((address) => `nameserver ${address}\n`).join("");
  expect(over({ "/etc/resolv.conf": text })).toBe("nameserver 192.0.2.1\n");
});

test("behind a stub on loopback are its upstreams", () => {
  const upstream = "nameserver 192.0.2.7\nsearch other.example\n";
  for (const path of ["/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"])
    expect(over({ "/etc/resolv.conf": stub, [path]: upstream })).toBe(
      "options edns0 trust-ad\nsearch shop.example\nnameserver 192.0.2.7\n",
    );
});

test("a resolver on loopback that keeps its upstreams to itself is asked by way of the node", () => {
  expect(over({ "/etc/resolv.conf": "nameserver 127.0.0.1\n" })).toBe("nameserver 169.254.1.1\n");
});

test("a machine without resolvers has none to give", () => {
  expect(over({})).toBe("");
  expect(over({ "/etc/resolv.conf": "search a.example\n" })).toBe("search a.example\n");
});
