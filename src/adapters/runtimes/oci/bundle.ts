/**
 * One container on disk. Everything the runtime knows is here, so that a new agent needs nothing else:
 *
 *   <root>/containers/<id>/meta.json    labels, cgroup, limits: written first, for an agent that did not make it
 *                          config.json  what the OCI runtime reads
 *                          upper work merged   the overlay mount
 *                          pid          written by the OCI runtime: proof that `create` went through
 *                          conmon.pid   the monitor
 *                          started      empty: `start` went through
 *                          log log.1 .. output, CRI format, written by conmon; the highest number is the oldest
 *                          ended        why the node itself ended it, for people
 *                          files        the contents of declared files
 *   <root>/exits/<id>                   exit code, written by conmon
 *   <root>/sandboxes/<name>             what containers of one sandbox share (sandbox.ts)
 *   <root>/runtime/<id>                 the OCI runtime's own state
 */
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { LogLimits } from "../../../model/spec.ts";
import type { ContainerSpec } from "../../../ports/container-runtime.ts";

export interface RuntimeDirectories {
  readonly containers: string;
  readonly exits: string;
  readonly runtime: string;
  readonly sandboxes: string;
}

export function runtimeDirectories(root: string): RuntimeDirectories {
  return {
    containers: join(root, "containers"),
    exits: join(root, "exits"),
    runtime: join(root, "runtime"),
    sandboxes: join(root, "sandboxes"),
  };
}

export interface BundlePaths {
  readonly directory: string;
  readonly meta: string;
  readonly config: string;
  readonly upper: string;
  readonly work: string;
  readonly merged: string;
  readonly pid: string;
  readonly conmonPid: string;
  readonly started: string;
  readonly log: string;
  readonly files: string;
  readonly ended: string;
  readonly exit: string;
}

const idPattern = /^[a-z0-9][a-z0-9.-]{0,126}$/;

/** Ids become path components and cgroup names, hence the check. */
export function isContainerId(id: string): boolean {
  return idPattern.test(id);
}

export function bundlePaths(directories: RuntimeDirectories, id: string): BundlePaths {
  const directory = join(directories.containers, id);
  return {
    directory,
    meta: join(directory, "meta.json"),
    config: join(directory, "config.json"),
    upper: join(directory, "upper"),
    work: join(directory, "work"),
    merged: join(directory, "merged"),
    pid: join(directory, "pid"),
    conmonPid: join(directory, "conmon.pid"),
    started: join(directory, "started"),
    log: join(directory, "log"),
    files: join(directory, "files"),
    ended: join(directory, "ended"),
    exit: join(directories.exits, id),
  };
}

export interface BundleMeta {
  readonly labels: Readonly<Record<string, string>>;
  /** Below the root of each cgroup hierarchy, as the runtime was told. */
  readonly cgroup: string;
  /** The OCI runtime, by name or path; empty for the node's default. */
  readonly runtime: string;
  readonly sandbox?: string;
  /** 0: no limit. */
  readonly ephemeralBytes: number;
  readonly logs: LogLimits;
  /** First of the machine's user ids that are the container's; undefined without a user namespace. */
  readonly idBase?: number;
}

/** Makes the directory and writes what `list` and `remove` need, before anything else exists. */
export function createBundle(
  paths: BundlePaths,
  spec: ContainerSpec,
  cgroup: string,
  made: Partial<Pick<BundleMeta, "runtime" | "logs" | "idBase">> = {},
): void {
  mkdirSync(paths.directory, { recursive: true, mode: 0o711 });
  const meta: BundleMeta = {
    labels: spec.labels,
    cgroup,
    runtime: spec.runtime ?? "",
    ...(spec.sandbox === undefined ? {} : { sandbox: spec.sandbox }),
    ephemeralBytes: spec.ephemeralBytes ?? 0,
    logs: spec.logs ?? { fileBytes: 0, files: 1 },
    ...made,
  };
  writeFileSync(paths.meta, JSON.stringify(meta));
  // The overlay's root takes mode and owner of its upper layer; images expect 0755.
  mkdirSync(paths.upper, { mode: 0o755 });
  mkdirSync(paths.work, { mode: 0o700 });
  mkdirSync(paths.merged, { mode: 0o755 });
}

/** What was written; undefined when the file is missing or was cut short by a crash. Fields of a later version are left out. */
export function readMeta(paths: BundlePaths): BundleMeta | undefined {
  const text = readIfThere(paths.meta);
  if (text === undefined) return undefined;
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== "object" || parsed === null) return undefined;
    const fields = new Map<string, unknown>(Object.entries(parsed));
    const sandbox = fields.get("sandbox");
    const idBase = fields.get("idBase");
    return {
      labels: labelsOf(fields.get("labels")),
      cgroup: textOf(fields.get("cgroup")),
      runtime: textOf(fields.get("runtime")),
      ...(typeof sandbox === "string" ? { sandbox } : {}),
      ephemeralBytes: numberOf(fields.get("ephemeralBytes")),
      logs: logsOf(fields.get("logs")),
      ...(typeof idBase === "number" ? { idBase } : {}),
    };
  } catch {
    return undefined;
  }
}

function labelsOf(value: unknown): Readonly<Record<string, string>> {
  const labels: Record<string, string> = {};
  if (typeof value !== "object") return labels;
  for (const [name, label] of Object.entries(value ?? {}))
    if (typeof label === "string") labels[name] = label;
  return labels;
}

function logsOf(value: unknown): LogLimits {
  const fields = new Map<string, unknown>(typeof value === "object" ? Object.entries(value ?? {}) : []);
  return { fileBytes: numberOf(fields.get("fileBytes")), files: numberOf(fields.get("files")) };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function numberOf(value: unknown): number {
  return typeof value === "number" ? value : 0;
}

/** A file's text; undefined when it does not exist (or its process is gone, for files in /proc). */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ESRCH", "ENOTDIR")) return undefined;
    throw error;
  }
}

export function readPid(path: string): number | undefined {
  const text = readIfThere(path);
  if (text === undefined) return undefined;
  const pid = Number.parseInt(text, 10);
  return Number.isInteger(pid) && pid > 0 ? pid : undefined;
}

export function listIds(directory: string): string[] {
  try {
    return readdirSync(directory).filter(isContainerId).toSorted();
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
}

export function isErrno(error: unknown, ...codes: string[]): boolean {
  return (
    error instanceof Error && "code" in error && typeof error.code === "string" && codes.includes(error.code)
  );
}
