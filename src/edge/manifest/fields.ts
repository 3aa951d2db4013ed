/** Single values of a spec: their patterns, bounds and short forms, shared by manifests, flags and the API. */
import { ok, refused, type Outcome } from "../../model/outcome.ts";
import { replicasMax, type PortSpec } from "../../model/spec.ts";

/** A DNS label (RFC 1123, 2.1). */
export const namePattern = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** Names that POSIX and the usual shells can set, and dots for those that like them. */
export const envNamePattern = /^[A-Za-z_][A-Za-z0-9_.-]*$/;
/** `[host[:port]/]path[:tag][@digest]` (OCI distribution specification, pulling manifests). */
export const imagePattern =
  /^(?:(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?\/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64}|@sha512:[0-9a-f]{128})?$/;

/** Keys of labels: what Kubernetes allows, prefix and name in one. */
export const labelPattern = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,251}[A-Za-z0-9])?$/;
/** A token (RFC 9110, 5.6.2). */
export const headerNamePattern = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/;
/** Path and query of a request line: no space, nothing that ends it. */
export const httpPathPattern = /^\/[\x21-\x7e]{0,4095}$/;

export const imageLengthMax = 512;
export const stopTimeoutMsMax = 3_600_000;
/** Of the times of a probe. */
export const spanMsMax = 86_400_000;
export const logFilesMax = 100;
/** Containers of one replica, and init containers of one. */
export const containersMax = 64;
/** Bounds of lists and of single texts in them: what fits into one log entry with room to spare. */
export const listLengthMax = 256;
export const textLengthMax = 32_768;
/** Bytes of a whole spec as JSON. */
export const specBytesMax = 256 * 1024;

/** What programs and peers cannot be handed as text; undefined when it can be. */
export function whyNoText(text: string): string | undefined {
  if (text.includes("\0")) return "holds a NUL character";
  // UTF-8 has no form for it: what arrives would be another text.
  return text.isWellFormed() ? undefined : "holds half of a character, a lone surrogate";
}

export function parseName(text: string): Outcome<string, string> {
  if (namePattern.test(text)) return ok(text);
  if (text.length > 63) return refused("is longer than 63 characters");
  return refused("is not a name: use lower-case letters, digits and hyphens, a letter or digit at both ends");
}

export function parseImage(text: string): Outcome<string, string> {
  if (text.length <= imageLengthMax && imagePattern.test(text)) return ok(text);
  return refused("is not an image reference such as nginx:1.27 or registry.example.com/team/app:1.2");
}

export function parseReplicas(text: string): Outcome<number, string> {
  if (!/^\d{1,15}$/.test(text)) return refused("is not a whole number");
  const replicas = Number(text);
  return replicas <= replicasMax
    ? ok(replicas)
    : refused(`is more than the ${replicasMax} replicas a deployment may have`);
}

export function parseLogFiles(text: string): Outcome<number, string> {
  const files = Number(text);
  return /^\d{1,3}$/.test(text) && files >= 1 && files <= logFilesMax
    ? ok(files)
    : refused(`is not a whole number from 1 to ${logFilesMax}`);
}

/** `NAME=value`; the value may be empty and may hold more equals signs. */
export function parseEnvLine(text: string): Outcome<readonly [string, string], string> {
  const at = text.indexOf("=");
  if (at < 0) return refused("is not of the form NAME=value");
  const name = text.slice(0, at);
  return envNamePattern.test(name)
    ? ok([name, text.slice(at + 1)])
    : refused(`sets ${JSON.stringify(name.slice(0, 64))}, which is no name of a variable`);
}

export function parsePortNumber(text: string): Outcome<number, string> {
  const port = Number(text);
  return /^\d{1,5}$/.test(text) && port >= 1 && port <= 65_535
    ? ok(port)
    : refused("is not a port between 1 and 65535");
}

/** `[PUBLISHED:]CONTAINER[/PROTOCOL]`, as in `8080:80/tcp`. */
export function parsePort(text: string): Outcome<PortSpec, string> {
  const match = /^(?:(\d+):)?(\d+)(?:\/([a-zA-Z]+))?$/.exec(text);
  if (match === null)
    return refused(
      text.split(":").length > 2
        ? "names a host address, which is not supported; use PUBLISHED:CONTAINER"
        : "is not of the form [PUBLISHED:]CONTAINER[/PROTOCOL], such as 8080:80/tcp",
    );
  const protocol = (match[3] ?? "tcp").toLowerCase();
  if (protocol !== "tcp" && protocol !== "udp") return refused("has a protocol other than tcp and udp");
  const container = parsePortNumber(match[2] ?? "");
  if (!container.ok) return refused("has a container port that is not between 1 and 65535");
  if (match[1] === undefined) return ok({ container: container.value, protocol });
  const published = parsePortNumber(match[1]);
  if (!published.ok) return refused("has a published port that is not between 1 and 65535");
  return ok({ container: container.value, published: published.value, protocol });
}

/** Sorted, so that the order in a file never decides whether two specs are the same. */
export function sortedEnv(values: ReadonlyMap<string, string>): Readonly<Record<string, string>> {
  return Object.fromEntries([...values].sort(([a], [b]) => (a < b ? -1 : 1)));
}
