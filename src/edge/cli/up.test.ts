import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { parseAddress, parseAddresses, parseLabel, parseRegistry } from "./flags.ts";
import { environmentConfig, settingNames, type UpConfig } from "./up-config.ts";
import { parseUpConfig } from "./up-file.ts";
import { defaultLayer, mergeLayers, nodeOptions, shownSettings } from "./up-settings.ts";

function configOf(text: string) {
  const config = parseUpConfig(text, "up.yaml");
  if (!config.ok) throw new Error(JSON.stringify(config.error));
  return config.value;
}

function environmentOf(env: Record<string, string>) {
  const config = environmentConfig(env);
  if (!config.ok) throw new Error(JSON.stringify(config.error));
  return config.value;
}

/** The options of a node out of a file, the environment and flags. */
function optionsOf(file: UpConfig, environment: UpConfig = {}, flags: UpConfig = {}) {
  return nodeOptions(settingsOf(file, environment, flags).config, "/d");
}

function settingsOf(file: UpConfig, environment: UpConfig = {}, flags: UpConfig = {}) {
  return mergeLayers([
    defaultLayer(),
    { name: "up.yaml", config: file },
    { name: "environment", config: environment },
    { name: "flag", config: flags },
  ]);
}

describe("settings of a node", () => {
  test("defaults need nothing", () => {
    expect(optionsOf({})).toMatchObject({
      dataDirectory: "/d",
      listen: "[::]:7440",
      join: [],
      name: hostname(),
      labels: {},
      plainHttpRegistries: [],
      registryMirrors: {},
      logLevel: "info",
      logFormat: "json",
    });
  });

  test("a file of three lines changes those three; the environment comes before it, flags before both", () => {
    const file = configOf("zone: a\ncpu: 1500m\nlabels: [disk=ssd, rack=1]\n");
    expect(optionsOf(file)).toMatchObject({
      listen: "[::]:7440",
      zone: "a",
      cpuMillis: 1500,
      labels: { disk: "ssd", rack: "1" },
    });
    const environment = environmentOf({
      MUSTER_ZONE: "b",
      MUSTER_CPU: "500m",
      MUSTER_LABELS: "rack=2, row=9",
    });
    const flags = { cpu: 1000, labels: ["rack=3"], join: ["h:1", "i:2"] };
    expect(optionsOf(file, environment, flags)).toMatchObject({
      zone: "b",
      cpuMillis: 1000,
      labels: { disk: "ssd", rack: "3", row: "9" },
      join: ["h:1", "i:2"],
    });
  });

  test("each setting says where it is from, and an invite is not shown", () => {
    const shown = shownSettings(
      settingsOf(
        configOf("zone: a\ninvite: hunter2\nlabels: [disk=ssd]\n"),
        environmentOf({ MUSTER_ZONE: "b" }),
        {
          memory: 2 ** 30,
          labels: ["rack=1"],
        },
      ),
    );
    const from = (name: string) => shown.find(({ setting }) => setting === name);
    expect(from("zone")).toEqual({ setting: "zone", value: "b", from: "environment" });
    expect(from("memory")).toEqual({ setting: "memory", value: "1Gi", from: "flag" });
    expect(from("labels")).toEqual({ setting: "labels", value: "disk=ssd,rack=1", from: "up.yaml, flag" });
    expect(from("listen")).toEqual({ setting: "listen", value: "[::]:7440", from: "default" });
    expect(from("invite")).toEqual({ setting: "invite", value: "(hidden)", from: "up.yaml" });
    expect(shown.map(({ setting }) => setting)).toEqual([...settingNames]);
  });

  test("the environment can set everything that a file can", () => {
    const environment = environmentOf({
      MUSTER_NAME: "n1",
      MUSTER_LISTEN: "10.0.0.1",
      MUSTER_JOIN: "h,i:2",
      MUSTER_PLAIN_HTTP_REGISTRIES: "r:5000",
      MUSTER_REGISTRY_MIRRORS: "docker.io=m:5000,docker.io=n",
      MUSTER_IMAGE_DISK_HIGH: "90%",
      MUSTER_API_PORT: "8080",
      MUSTER_LOG_LEVEL: "debug",
      MUSTER_LOG_FORMAT: "text",
      MUSTER_ADVERTISE: "",
      MUSTER_DATA_DIR: "/elsewhere",
    });
    expect(environment).toEqual({
      name: "n1",
      listen: "10.0.0.1:7440",
      join: ["h:7440", "i:2"],
      plainHttpRegistries: ["r:5000"],
      registryMirrors: ["docker.io=m:5000", "docker.io=n"],
      imageDiskHigh: 90,
      apiPort: 8080,
      logLevel: "debug",
      logFormat: "text",
    });
  });

  test("mirrors are by registry, in their order; what is none is refused", () => {
    const file = "registryMirrors: [docker.io=m:5000, ghcr.io=m:5000, docker.io=n]\nimageDiskLow: 70\n";
    expect(optionsOf(configOf(file))).toMatchObject({
      registryMirrors: { "docker.io": ["m:5000", "n"], "ghcr.io": ["m:5000"] },
      imageDiskLowPercent: 70,
    });
    for (const text of ["registryMirrors: [docker.io]", "registryMirrors: [a=https://b]", "imageDiskHigh: 0"])
      expect(parseUpConfig(`${text}\n`, "f").ok).toBe(false);
  });

  test("what the environment sets wrongly, or sets and nobody reads, is named all at once", () => {
    const config = environmentConfig({ MUSTER_LISTN: "x", MUSTER_CPU: "much", MUSTER_QQ: "1", PATH: "/bin" });
    expect(config.ok).toBe(false);
    if (config.ok) return;
    expect(config.error.places?.map(({ path, message }) => [path, message])).toEqual([
      ["MUSTER_LISTN", "is no setting; did you mean MUSTER_LISTEN?"],
      ["MUSTER_QQ", "is no setting"],
      ["MUSTER_CPU", '"much" is not an amount of CPU such as 500m, 0.5 or 2'],
    ]);
  });

  test("of an invite and its file the later layer's counts; both in one layer are a mistake", () => {
    const file = configOf("inviteFile: /gone\n");
    expect(optionsOf(file, environmentOf({ MUSTER_INVITE: "env" })).invite).toBe("env");
    expect(optionsOf(file, environmentOf({ MUSTER_INVITE: "env" }), { invite: "flag" }).invite).toBe("flag");
    expect(parseUpConfig("invite: a\ninviteFile: b\n", "up.yaml").ok).toBe(false);
    expect(environmentConfig({ MUSTER_INVITE: "a", MUSTER_INVITE_FILE: "b" }).ok).toBe(false);
  });

  test("an invite's file may have comments; one that is not there is named", () => {
    const directory = mkdtempSync(join(tmpdir(), "muster-up-"));
    try {
      const path = join(directory, "invite");
      writeFileSync(path, "# for rack 2\n\nmuster1.a.b\n");
      expect(optionsOf({}, {}, { inviteFile: path }).invite).toBe("muster1.a.b");
      writeFileSync(path, "# for rack 2\n");
      expect(() => optionsOf({}, {}, { inviteFile: path })).toThrow("holds no invite");
      expect(() => optionsOf({}, {}, { inviteFile: `${path}.gone` })).toThrow(`${path}.gone`);
    } finally {
      rmSync(directory, { recursive: true });
    }
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
