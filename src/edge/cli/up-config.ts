/** Settings of `muster up` as a file and the environment give them: the same as its flags, which come before both. */
import * as v from "valibot";
import { ok, refused, type Outcome } from "../../model/outcome.ts";
import type { Problem } from "../../model/problem.ts";
import { checkDocument, closedObject } from "../manifest/check.ts";
import { listOf, parsedText, textOf } from "../manifest/text-schemas.ts";
import { nearest } from "../manifest/nearest.ts";
import { parsePortNumber } from "../manifest/fields.ts";
import { parseCpu, parseMemory } from "../manifest/quantity.ts";
import type { Fault } from "../manifest/source.ts";
import {
  parseAddress,
  parseLabel,
  parseListen,
  parseLogFormat,
  parseLogLevel,
  parseMirror,
  parseNodeName,
  parsePercent,
  parseRegistry,
} from "./flags.ts";

const address = parsedText("an address such as 10.0.0.1:7440", parseAddress);
const label = (text: string): Outcome<string, string> => {
  const parsed = parseLabel(text);
  return parsed.ok ? ok(text) : parsed;
};

const checkedMirror = (text: string): Outcome<string, string> => {
  const parsed = parseMirror(text);
  return parsed.ok ? ok(text) : parsed;
};

/** Every setting may be left out. */
const entries = {
  name: v.exactOptional(parsedText("a name", parseNodeName)),
  zone: v.exactOptional(parsedText("a zone", parseNodeName)),
  listen: v.exactOptional(address),
  advertise: v.exactOptional(address),
  join: v.exactOptional(listOf("a list of addresses", address)),
  invite: v.exactOptional(textOf("a token")),
  inviteFile: v.exactOptional(textOf("a path")),
  labels: v.exactOptional(listOf("a list of key=value", parsedText("key=value", label))),
  cpu: v.exactOptional(parsedText("an amount of CPU such as 2", parseCpu)),
  memory: v.exactOptional(parsedText("an amount of memory such as 4Gi", parseMemory)),
  plainHttpRegistries: v.exactOptional(listOf("a list of HOST:PORT", parsedText("HOST:PORT", parseRegistry))),
  registryMirrors: v.exactOptional(
    listOf("a list of REGISTRY=HOST:PORT", parsedText("REGISTRY=HOST:PORT", checkedMirror)),
  ),
  imageDiskHigh: v.exactOptional(parsedText("a percentage", parsePercent)),
  imageDiskLow: v.exactOptional(parsedText("a percentage", parsePercent)),
  cgroupParent: v.exactOptional(textOf("a control group such as /muster")),
  apiPort: v.exactOptional(parsedText("a port number", parsePortNumber)),
  metricsListen: v.exactOptional(parsedText("an address such as 127.0.0.1:9440", parseListen)),
  logLevel: v.exactOptional(parsedText("a level", parseLogLevel)),
  logFormat: v.exactOptional(parsedText("a format", parseLogFormat)),
};
export const configSchema = v.pipe(
  closedObject(entries),
  // The same without the index signature that a closed object's type carries.
  v.transform((config): UpConfig => config),
);

export type UpConfig = Readonly<v.InferOutput<ReturnType<typeof v.object<typeof entries>>>>;
export type SettingName = keyof typeof entries;

export const settingNames: readonly SettingName[] = Object.keys(entries).filter(isSettingName);
const listNames: ReadonlySet<SettingName> = new Set([
  "join",
  "labels",
  "plainHttpRegistries",
  "registryMirrors",
]);

function isSettingName(name: string): name is SettingName {
  return Object.hasOwn(entries, name);
}

/** Variables of the environment that are Muster's and no settings of an agent. */
const otherVariables: ReadonlySet<string> = new Set([
  "MUSTER_CONFIG",
  "MUSTER_DATA_DIR",
  "MUSTER_SOCKET",
  "MUSTER_NAMESPACE",
  "MUSTER_LAB",
]);

/** `plainHttpRegistries` is `MUSTER_PLAIN_HTTP_REGISTRIES`. */
export function variableOf(name: SettingName): string {
  return `MUSTER_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/**
 * What the environment sets. Lists have commas between their items; an empty variable sets nothing. A variable that begins with
 * `MUSTER_` and is none of ours is refused: it is a setting that its author believes to be in force.
 */
export function environmentConfig(
  env: Readonly<Record<string, string | undefined>>,
): Outcome<UpConfig, Problem> {
  const faults: Fault[] = [];
  const variables = new Map(settingNames.map((name) => [variableOf(name), name]));
  const given: Record<string, unknown> = {};
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith("MUSTER_") || text === undefined || text === "") continue;
    const name = variables.get(variable);
    if (name !== undefined)
      given[name] = listNames.has(name) ? text.split(",").map((item) => item.trim()) : text;
    else if (!otherVariables.has(variable))
      faults.push({ path: variable, message: unknownVariable(variable, [...variables.keys()]) });
  }
  const config = checkDocument(configSchema, {
    value: given,
    place: ([name]) => ({
      path: typeof name === "string" && isSettingName(name) ? variableOf(name) : "the environment",
    }),
  });
  if (!config.ok) faults.push(...config.error);
  if (given["invite"] !== undefined && given["inviteFile"] !== undefined)
    faults.push({ path: "MUSTER_INVITE_FILE", message: "an invite is given beside its file" });
  if (faults.length === 0 && config.ok) return config;
  const count = faults.length === 1 ? "1 error" : `${faults.length} errors`;
  return refused({
    code: "invalid-request",
    message: `${count} in the environment; nothing was started`,
    places: faults,
    next: "correct or unset the variables named above; docs/guide/cli.md lists the settings",
  });
}

/** Measured without the prefix, which would make all of them neighbours. */
function unknownVariable(variable: string, known: readonly string[]): string {
  const bare = (name: string): string => name.slice("MUSTER_".length);
  const meant = nearest(bare(variable), [...known, ...otherVariables].map(bare));
  return meant === undefined ? "is no setting" : `is no setting; did you mean MUSTER_${meant}?`;
}
