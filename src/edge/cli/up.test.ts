import { describe, expect, test } from "bun:test";
import { hostname } from "node:os";
import { parseAddress, parseAddresses, parseLabel, parseRegistry } from "./flags.ts";
import { parseUpConfig } from "./up-config.ts";
import { nodeOptions } from "./up.ts";

const noFlags = { dataDir: "/d", join: [], label: [], plainHttpRegistry: [] };

function configOf(text: string) {
  const config = parseUpConfig(text, "up.yaml");
  if (!config.ok) throw new Error(JSON.stringify(config.error));
  return config.value;
}

describe("settings of a node", () => {
  test("defaults need nothing", () => {
    expect(nodeOptions(noFlags, {}, {})).toMatchObject({
      dataDirectory: "/d",
      listen: "[::]:7440",
      join: [],
      name: hostname(),
      labels: {},
      plainHttpRegistries: [],
    });
  });

  test("a file of three lines changes those three, and flags come before it", () => {
    const config = configOf("zone: a\ncpu: 1500m\nlabels: [disk=ssd, rack=1]\n");
    expect(nodeOptions(noFlags, config, {})).toMatchObject({
      listen: "[::]:7440",
      zone: "a",
      cpuMillis: 1500,
      labels: { disk: "ssd", rack: "1" },
    });
    const flags = {
      ...noFlags,
      zone: "b",
      cpu: 1000,
      label: [["rack", "2"] as const],
      join: [["h:1"], ["i:2"]],
    };
    expect(nodeOptions(flags, config, {})).toMatchObject({
      zone: "b",
      cpuMillis: 1000,
      labels: { disk: "ssd", rack: "2" },
      join: ["h:1", "i:2"],
    });
  });

  test("the invite may come from the environment, which hides it from ps", () => {
    const config = configOf("invite: file\n");
    expect(nodeOptions(noFlags, config, {}).invite).toBe("file");
    expect(nodeOptions(noFlags, config, { MUSTER_INVITE: "env" }).invite).toBe("env");
    expect(nodeOptions({ ...noFlags, invite: "flag" }, config, { MUSTER_INVITE: "env" }).invite).toBe("flag");
  });

  test("an unknown setting is named with its line", () => {
    const config = parseUpConfig("zone: a\nlisten: 1:2:x\nlable: [a=b]\n", "up.yaml");
    expect(config).toMatchObject({
      ok: false,
      error: {
        places: [
          { file: "up.yaml", line: 2, column: 9, path: "listen" },
          { file: "up.yaml", line: 3, column: 1, message: 'unknown field "lable"; did you mean labels?' },
        ],
      },
    });
  });

  test("an empty file is no settings, two documents are a mistake", () => {
    expect(configOf("# nothing\n")).toEqual({});
    expect(parseUpConfig("zone: a\n---\nzone: b\n", "up.yaml").ok).toBe(false);
  });
});

describe("flags", () => {
  test("addresses", () => {
    const values = [
      "10.0.0.1",
      "10.0.0.1:1",
      "host.example",
      "[fd00::1]:7",
      "[fd00::1]",
      "fd00::1",
      "::1",
      "[::]:0",
    ];
    expect(values.map(parseAddress)).toEqual(
      [
        "10.0.0.1:7440",
        "10.0.0.1:1",
        "host.example:7440",
        "[fd00::1]:7",
        "[fd00::1]:7440",
        "[fd00::1]:7440",
        "[::1]:7440",
        "[::]:0",
      ].map((value) => ({ ok: true as const, value })),
    );
    for (const text of ["", ":1", "h:70000", "h:x", "http://h", "a b", "[::1", "h:1:2"])
      expect([text, parseAddress(text).ok]).toEqual([text, false]);
    expect(parseAddresses("a:1, b")).toEqual({ ok: true, value: ["a:1", "b:7440"] });
    expect(parseAddresses("a,,b").ok).toBe(false);
  });

  test("labels and registries", () => {
    expect(parseLabel("disk=ssd")).toEqual({ ok: true, value: ["disk", "ssd"] });
    expect(parseLabel("gone=")).toEqual({ ok: true, value: ["gone", ""] });
    for (const text of ["x", "=x", "a b=c", "a=b=c"]) expect(parseLabel(text).ok).toBe(false);
    expect(parseRegistry("127.0.0.1:5000").ok).toBe(true);
    expect(parseRegistry("http://127.0.0.1:5000").ok).toBe(false);
  });
});
