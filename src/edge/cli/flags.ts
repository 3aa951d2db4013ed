/** Values of flags. What is wrong with one is a usage failure that names the flag (commander adds it). */
import { InvalidArgumentError } from "commander";
import type { Outcome } from "../../model/outcome.ts";

/** A commander parser out of one of ours. */
export function flag<T>(parse: (text: string) => Outcome<T, string>): (text: string) => T {
  return (text) => {
    const outcome = parse(text);
    if (outcome.ok) return outcome.value;
    throw new InvalidArgumentError(`It ${outcome.error}.`);
  };
}

/** The same for a flag that may be given more than once. */
export function flags<T>(
  parse: (text: string) => Outcome<T, string>,
): (text: string, previous: readonly T[]) => readonly T[] {
  const one = flag(parse);
  return (text, previous) => [...previous, one(text)];
}

export function parseCount(text: string): Outcome<number, string> {
  return /^\d{1,15}$/.test(text)
    ? { ok: true, value: Number(text) }
    : { ok: false, error: "is not a whole number" };
}

/** `key=value`, both of the characters that Kubernetes allows in labels. */
export function parseLabel(text: string): Outcome<readonly [string, string], string> {
  const match =
    /^([A-Za-z0-9](?:[A-Za-z0-9._/-]{0,251}[A-Za-z0-9])?)=([A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?|)$/.exec(
      text,
    );
  return match === null
    ? { ok: false, error: "is not of the form key=value" }
    : { ok: true, value: [match[1] ?? "", match[2] ?? ""] };
}

/** Names of nodes and zones: what host names are made of. */
export function parseNodeName(text: string): Outcome<string, string> {
  return /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(text)
    ? { ok: true, value: text }
    : { ok: false, error: "is not a name of letters, digits, dots, hyphens and underscores, 63 at most" };
}

/** `host` or `host:port` as it stands before the first slash of an image reference. */
export function parseRegistry(text: string): Outcome<string, string> {
  return /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/.test(text)
    ? { ok: true, value: text }
    : { ok: false, error: "is not of the form HOST:PORT, as in image references" };
}

/** `docker.io=10.0.0.1:5000`: a registry as references name it, and who holds the same. */
export function parseMirror(text: string): Outcome<readonly [registry: string, mirror: string], string> {
  const at = text.indexOf("=");
  const [registry, mirror] = [
    parseRegistry(text.slice(0, Math.max(at, 0))),
    parseRegistry(text.slice(at + 1)),
  ];
  return registry.ok && mirror.ok
    ? { ok: true, value: [registry.value, mirror.value] }
    : { ok: false, error: "is not of the form REGISTRY=HOST:PORT, as in docker.io=10.0.0.1:5000" };
}

export function parsePercent(text: string): Outcome<number, string> {
  const percent = Number(/^(\d{1,3})\s?%?$/.exec(text)?.[1] ?? "0");
  return percent >= 1 && percent <= 100
    ? { ok: true, value: percent }
    : { ok: false, error: "is not a percentage from 1% to 100%" };
}

export const defaultPort = 7440;

/** `host:port`, the port 7440 when there is none; IPv6 in brackets, or bare without a port. */
export function parseAddress(text: string): Outcome<string, string> {
  const bare = text.includes("::") || text.split(":").length > 2;
  const match = text.startsWith("[")
    ? /^(\[[0-9a-fA-F:.]+(?:%[A-Za-z0-9._-]+)?\])(?::(\d{1,5}))?$/.exec(text)
    : bare
      ? /^([0-9a-fA-F:.]+)$/.exec(text)
      : /^([A-Za-z0-9._-]+)(?::(\d{1,5}))?$/.exec(text);
  const port = Number(match?.[2] ?? defaultPort);
  if (match === null || port > 65_535)
    return { ok: false, error: "is not an address such as 10.0.0.1:7440 or [fd00::1]:7440" };
  const host = match[1] ?? "";
  return { ok: true, value: `${host.startsWith("[") || !bare ? host : `[${host}]`}:${port}` };
}

export interface ListenAddress {
  readonly hostname: string;
  readonly port: number;
}

/** `host:port` to listen on; here the port has no default. */
export function parseListen(text: string): Outcome<string, string> {
  const address = parseAddress(text);
  if (!address.ok || !address.value.endsWith(text.slice(text.lastIndexOf(":"))))
    return { ok: false, error: "is not an address with a port such as 127.0.0.1:9440 or [::]:9440" };
  return address;
}

export function listenAddressOf(address: string): ListenAddress {
  const at = address.lastIndexOf(":");
  return { hostname: address.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(address.slice(at + 1)) };
}

/** Several addresses with commas between them. */
export function parseAddresses(text: string): Outcome<readonly string[], string> {
  const addresses: string[] = [];
  for (const part of text.split(",")) {
    const address = parseAddress(part.trim());
    if (!address.ok) return address;
    addresses.push(address.value);
  }
  return { ok: true, value: addresses };
}

export const logLevels = ["error", "warn", "info", "debug"] as const;
export const logFormats = ["json", "text"] as const;
export type LogLevel = (typeof logLevels)[number];
export type LogFormat = (typeof logFormats)[number];

export function parseLogLevel(text: string): Outcome<LogLevel, string> {
  const level = logLevels.find((known) => known === text);
  return level === undefined
    ? { ok: false, error: `is not one of ${logLevels.join(", ")}` }
    : { ok: true, value: level };
}

export function parseLogFormat(text: string): Outcome<LogFormat, string> {
  const format = logFormats.find((known) => known === text);
  return format === undefined
    ? { ok: false, error: `is not one of ${logFormats.join(", ")}` }
    : { ok: true, value: format };
}
