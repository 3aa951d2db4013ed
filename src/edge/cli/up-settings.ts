/** The settings of an agent, out of their layers: each value from the last layer that gives one, and known by where it is from. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { ProblemError } from "../../model/problem.ts";
import type { NodeOptions } from "../../node/options.ts";
import { formatBytes, formatCpu } from "../manifest/quantity.ts";
import { defaultPort } from "./flags.ts";
import { selfCommand } from "./self-command.ts";
import { formatTable } from "./table.ts";
import { settingNames, type SettingName, type UpConfig } from "./up-config.ts";
import { commit, version } from "./version.ts";

export interface Layer {
  /** For people: `flag`, `environment`, the file's path, `default`. */
  readonly name: string;
  readonly config: UpConfig;
}

export interface Settings {
  readonly config: UpConfig;
  readonly origins: ReadonlyMap<SettingName, string>;
}

export const defaultLayer = (): Layer => ({
  name: "default",
  config: {
    name: hostname(),
    listen: `[::]:${defaultPort}`,
    join: [],
    labels: [],
    plainHttpRegistries: [],
    registryMirrors: [],
    logLevel: "info",
    logFormat: "json",
  },
});

/** Later layers win. Labels add up, key by key; of an invite and its file, the later layer's counts and not both. */
export function mergeLayers(layers: readonly Layer[]): Settings {
  let config: UpConfig = {};
  const origins = new Map<SettingName, string>();
  for (const layer of layers) {
    const given = settingNames.filter((name) => layer.config[name] !== undefined);
    if (given.includes("invite") || given.includes("inviteFile")) {
      const { invite: _invite, inviteFile: _file, ...rest } = config;
      config = rest;
      origins.delete("invite");
      origins.delete("inviteFile");
    }
    const labels = [...(config.labels ?? []), ...(layer.config.labels ?? [])];
    config = { ...config, ...layer.config, labels };
    for (const name of given) {
      const before = origins.get(name);
      const adds = name === "labels" && before !== undefined && before !== "default";
      origins.set(name, adds && layer.config.labels?.length !== 0 ? `${before}, ${layer.name}` : layer.name);
    }
  }
  return { config, origins };
}

/** What a node is started with. Throws ProblemError when the file of an invite cannot be read. */
export function nodeOptions(config: UpConfig, dataDirectory: string): NodeOptions {
  const { advertise, zone, cpu, memory, cgroupParent } = config;
  const invite =
    config.invite ?? (config.inviteFile === undefined ? undefined : readInvite(config.inviteFile));
  return {
    dataDirectory,
    listen: config.listen ?? `[::]:${defaultPort}`,
    ...(advertise === undefined ? {} : { advertise }),
    join: config.join ?? [],
    ...(invite === undefined ? {} : { invite }),
    name: config.name ?? hostname(),
    ...(zone === undefined ? {} : { zone }),
    labels: labelsOf(config),
    ...(cpu === undefined ? {} : { cpuMillis: cpu }),
    ...(memory === undefined ? {} : { memoryBytes: memory }),
    ...(cgroupParent === undefined ? {} : { cgroupParent }),
    selfCommand: selfCommand(),
    plainHttpRegistries: config.plainHttpRegistries ?? [],
    registryMirrors: mirrorsOf(config),
    ...(config.imageDiskHigh === undefined ? {} : { imageDiskHighPercent: config.imageDiskHigh }),
    ...(config.imageDiskLow === undefined ? {} : { imageDiskLowPercent: config.imageDiskLow }),
    version,
    commit,
    logLevel: config.logLevel ?? "info",
    logFormat: config.logFormat ?? "json",
  };
}

function labelsOf(config: UpConfig): Readonly<Record<string, string>> {
  return Object.fromEntries(
    (config.labels ?? []).map((text) => {
      const at = text.indexOf("=");
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

/** Mirrors of one registry in the order in which they are listed. */
function mirrorsOf({ registryMirrors = [] }: UpConfig): Readonly<Record<string, readonly string[]>> {
  const pairs = registryMirrors.map((text) => {
    const at = text.indexOf("=");
    return { registry: text.slice(0, at), mirror: text.slice(at + 1) };
  });
  const byRegistry = Map.groupBy(pairs, ({ registry }) => registry);
  return Object.fromEntries(
    [...byRegistry].map(([registry, own]) => [registry, own.map(({ mirror }) => mirror)]),
  );
}

const inviteBytesMax = 8_192;

/** The first line that is neither empty nor a comment. */
function readInvite(path: string): string {
  try {
    const text = readFileSync(path, "utf8").slice(0, inviteBytesMax);
    const line = text.split("\n").find((one) => one.trim() !== "" && !one.startsWith("#"));
    if (line !== undefined) return line.trim();
  } catch (error) {
    throw new ProblemError(
      {
        code: "invalid-request",
        message: `cannot read the invite: ${error instanceof Error ? error.message : String(error)}`,
        next: "write what `muster invite --token` prints into that file",
      },
      { cause: error },
    );
  }
  throw new ProblemError({
    code: "invalid-request",
    message: `${path} holds no invite`,
    next: "write what `muster invite --token` prints into that file",
  });
}

export interface ShownSetting {
  readonly setting: SettingName;
  readonly value: string;
  readonly from: string;
}

/** Every setting with where it is from; what is secret is not shown. */
export function shownSettings({ config, origins }: Settings): readonly ShownSetting[] {
  return settingNames.map((setting) => ({
    setting,
    value: valueWords(setting, config),
    from: origins.get(setting) ?? "default",
  }));
}

function valueWords(setting: SettingName, config: UpConfig): string {
  const value = config[setting];
  if (setting === "invite") return value === undefined ? "" : "(hidden)";
  if (setting === "labels")
    return Object.entries(labelsOf(config))
      .map(([key, one]) => `${key}=${one}`)
      .join(",");
  if (setting === "cpu" && config.cpu !== undefined) return formatCpu(config.cpu);
  if (setting === "memory" && config.memory !== undefined) return formatBytes(config.memory);
  if (value === undefined) return "";
  return Array.isArray(value) ? value.join(",") : String(value);
}

export function formatSettings(settings: readonly ShownSetting[]): string {
  return formatTable(
    ["SETTING", "VALUE", "FROM"],
    settings.map(({ setting, value, from }) => [setting, value, from]),
  );
}
