/** Single values of a container that have a short form or a grammar of their own; errors are phrases without a subject. */
import { capabilityNames, parseCapability } from "../../model/capability.ts";
import { ok, refused, type Outcome } from "../../model/outcome.ts";
import { parseSignal, signalNames } from "../../model/signal.ts";
import type { FileSpec, Mount } from "../../model/spec.ts";
import { namePattern } from "./fields.ts";
import { nearest } from "./nearest.ts";
import { parseSize } from "./quantity.ts";

/** PATH_MAX of Linux, without its NUL. */
export const pathLengthMax = 4_095;
/** HOST_NAME_MAX of Linux. */
const hostnameLengthMax = 64;
const idMax = 2 ** 32 - 2;
export const pidsMax = 4_194_304;
export const fileModeDefault = 0o644;
/** UTF-16 units of one file's content. */
export const contentLengthMax = 128 * 1024;
/** Source of a mount in short form that is memory. */
export const tmpfsSource = "tmpfs";

/** An absolute path, made normal: no empty or `.` parts, no slash at the end; `..` is refused. */
export function parsePath(text: string): Outcome<string, string> {
  if (!text.startsWith("/")) return refused("is not an absolute path");
  if (text.length > pathLengthMax) return refused(`is longer than ${pathLengthMax} characters`);
  const parts = text.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) return refused("must not hold .. in a path");
  return ok(`/${parts.join("/")}`);
}

/** Where something is put inside a container. */
export function parseTarget(text: string): Outcome<string, string> {
  const path = parsePath(text);
  if (!path.ok) return path;
  if (path.value === "/") return refused("is the root of the container, which is the image's");
  if (path.value === "/proc" || path.value.startsWith("/proc/"))
    return refused("lies under /proc, which is the kernel's");
  return path;
}

/** `user[:group]`, names or numbers. */
export function parseUser(text: string): Outcome<string, string> {
  const part = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}";
  if (!new RegExp(`^${part}(?::${part})?$`).test(text))
    return refused("is not a user such as 1000, 1000:1000 or app:app");
  const outside = text.split(":").some((id) => /^\d+$/.test(id) && Number(id) > idMax);
  return outside ? refused(`has a number over ${idMax}`) : ok(text);
}

export function parseStopSignal(text: string): Outcome<string, string> {
  const name = parseSignal(text);
  if (name !== undefined) return ok(name);
  const meant = nearest(/^sig/i.test(text) ? text : `SIG${text}`, signalNames);
  return refused(
    `is no signal${meant === undefined ? " such as SIGTERM, INT or 15" : `; did you mean ${meant}?`}`,
  );
}

export function parseCapabilityName(text: string): Outcome<string, string> {
  const name = parseCapability(text);
  if (name !== undefined) return ok(name);
  const meant = nearest(text.replace(/^cap_/i, ""), capabilityNames);
  return refused(
    `is no capability${meant === undefined ? " such as NET_ADMIN, SYS_TIME or ALL" : `; did you mean ${meant}?`}`,
  );
}

/** A host name, or one with its domain (RFC 1123, 2.1). */
export function parseHostname(text: string): Outcome<string, string> {
  if (text.length > hostnameLengthMax) return refused(`is longer than ${hostnameLengthMax} characters`);
  return text.split(".").every((label) => namePattern.test(label))
    ? ok(text)
    : refused("is not a host name: use lower-case letters, digits, hyphens, and dots between labels");
}

/** The name of a runtime of the node, or the path of its program. */
export function parseRuntime(text: string): Outcome<string, string> {
  if (text.startsWith("/")) return parseTarget(text);
  return namePattern.test(text) ? ok(text) : refused("is not a runtime such as runc, or the path of one");
}

/** Permission bits in octal, as chmod takes them. */
export function parseMode(text: string): Outcome<number, string> {
  return /^(?:0o?)?[0-7]{3,4}$/.test(text)
    ? ok(Number.parseInt(text.replace(/^0o/, ""), 8))
    : refused("is not a mode in octal such as 644 or 0755");
}

export function parsePids(text: string): Outcome<number, string> {
  const count = Number(text);
  return /^\d{1,7}$/.test(text) && count >= 1 && count <= pidsMax
    ? ok(count)
    : refused(`is not a whole number from 1 to ${pidsMax}`);
}

export function parseThreshold(text: string): Outcome<number, string> {
  const count = Number(text);
  return /^\d{1,4}$/.test(text) && count >= 1 && count <= 1_000
    ? ok(count)
    : refused("is not a whole number from 1 to 1000");
}

export function parseFlag(text: string): Outcome<boolean, string> {
  // The writings of YAML 1.2.
  if (/^(?:true|True|TRUE)$/.test(text)) return ok(true);
  return /^(?:false|False|FALSE)$/.test(text) ? ok(false) : refused("is neither true nor false");
}

export function parseVolumeName(text: string): Outcome<string, string> {
  if (text === tmpfsSource) return refused("cannot be the name of a volume: it stands for memory");
  return namePattern.test(text)
    ? ok(text)
    : refused("is not the name of a volume: use lower-case letters, digits and hyphens");
}

/** `VOLUME:TARGET[:ro]`, `/SOURCE:TARGET[:ro]` or `tmpfs:TARGET[:SIZE]`. */
export function parseMount(text: string): Outcome<Mount, string> {
  const [source = "", inside, option, ...rest] = text.split(":");
  if (inside === undefined || rest.length > 0)
    return refused("is not of the form SOURCE:TARGET[:ro], such as data:/var/lib/data or /srv/www:/www:ro");
  const target = parseTarget(inside);
  if (!target.ok) return refused(`has a target that ${target.error}`);
  if (source === tmpfsSource) return tmpfsMount(target.value, option);
  if (option !== undefined && option !== "ro" && option !== "rw")
    return refused(`has the option ${JSON.stringify(option.slice(0, 32))}; known are ro and rw`);
  const readOnly = option === "ro";
  if (source.startsWith("/")) {
    const path = parsePath(source);
    return path.ok
      ? ok({ kind: "bind", source: path.value, target: target.value, readOnly })
      : refused(`has a source that ${path.error}`);
  }
  if (/^[.~]/.test(source))
    return refused("has a source that is no absolute path; what it is relative to differs between machines");
  const volume = parseVolumeName(source);
  return volume.ok
    ? ok({ kind: "volume", volume: volume.value, target: target.value, readOnly })
    : refused(`has a source that ${volume.error}`);
}

/** `TARGET[:SIZE]`. */
export function parseTmpfs(text: string): Outcome<Mount, string> {
  return parseMount(`${tmpfsSource}:${text}`);
}

function tmpfsMount(target: string, option: string | undefined): Outcome<Mount, string> {
  const size = option === undefined ? ok(0) : parseSize(option.replace(/^size=/, ""));
  return size.ok
    ? ok({ kind: "tmpfs", target, sizeBytes: size.value })
    : refused(`has a size that ${size.error}`);
}

export type FilePlace = Pick<FileSpec, "path" | "mode"> & { readonly source: string };

/** `SOURCE:TARGET[:MODE]`, the source a file of whoever asks. */
export function parseFilePlace(text: string): Outcome<FilePlace, string> {
  const match = /^(.+?):(\/[^:]*)(?::([0-7o]+))?$/.exec(text);
  if (match === null)
    return refused("is not of the form SOURCE:TARGET[:MODE], such as app.conf:/etc/app.conf:644");
  const path = parseTarget(match[2] ?? "");
  if (!path.ok) return refused(`has a target that ${path.error}`);
  const mode = match[3] === undefined ? ok(fileModeDefault) : parseMode(match[3]);
  if (!mode.ok) return refused(`has a mode that ${mode.error}`);
  return ok({ source: match[1] ?? "", path: path.value, mode: mode.value });
}

/** `PORT[/PATH]` of an HTTP request. */
export function parseHttpTarget(
  text: string,
): Outcome<{ readonly port: string; readonly path: string }, string> {
  const match = /^(\d+)(\/\S*)?$/.exec(text);
  return match === null
    ? refused("is not of the form PORT[/PATH], such as 8080/healthz")
    : ok({ port: match[1] ?? "", path: match[2] ?? "/" });
}
