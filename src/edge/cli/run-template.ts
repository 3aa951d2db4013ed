/** What the flags of `muster run` declare, checked as a manifest is. */
import type {
  FileSpec,
  Mount,
  PortSpec,
  PullPolicy,
  ReplicaTemplate,
  RestartPolicy,
} from "../../model/spec.ts";
import { singleContainer } from "../../model/template.ts";
import { canonicalTemplate } from "../manifest/canonical.ts";
import { conflictsOf } from "../manifest/conflicts.ts";
import { contentLengthMax, type FilePlace } from "../manifest/container-values.ts";
import { parseEnvLine, whyNoText } from "../manifest/fields.ts";
import { formatPath } from "../manifest/field-path.ts";
import { usageFailure } from "./failure.ts";

type Pair = readonly [string, string];

export interface RunFlags {
  readonly publish: readonly PortSpec[];
  readonly env: readonly Pair[];
  readonly envFile: readonly string[];
  readonly label: readonly Pair[];
  readonly cpu: number;
  readonly memory: number;
  readonly disk: number;
  readonly pids: number;
  readonly restart: RestartPolicy;
  readonly pull: PullPolicy;
  readonly entrypoint?: string | undefined;
  readonly workdir?: string | undefined;
  readonly user?: string | undefined;
  readonly hostname?: string | undefined;
  readonly runtime?: string | undefined;
  readonly stopSignal?: string | undefined;
  readonly stopTimeout: number;
  readonly volume: readonly Mount[];
  readonly tmpfs: readonly Mount[];
  readonly file: readonly FilePlace[];
  readonly capAdd: readonly string[];
  readonly capDrop: readonly string[];
  readonly readOnly?: true | undefined;
  readonly allowNewPrivileges?: true | undefined;
  readonly userNamespace?: true | undefined;
  readonly interactive?: true | undefined;
  readonly tty?: true | undefined;
}

/** Reads the files that `--file` names; throws a usage failure for what cannot be read or does not fit together. */
export async function templateOfFlags(
  image: string,
  command: readonly string[],
  flags: RunFlags,
): Promise<ReplicaTemplate> {
  const { entrypoint, workdir, user, hostname, runtime, stopSignal } = flags;
  const template = singleContainer(
    {
      image,
      pull: flags.pull,
      ...(entrypoint === undefined ? {} : { entrypoint: [entrypoint] }),
      ...(command.length === 0 ? {} : { command }),
      env: textsOf("--env", [...(await Promise.all(flags.envFile.map(variablesIn))).flat(), ...flags.env]),
      ...(workdir === undefined ? {} : { workingDirectory: workdir }),
      ...(user === undefined ? {} : { user }),
      resources: {
        cpuMillis: flags.cpu,
        memoryBytes: flags.memory,
        pids: flags.pids,
        ephemeralBytes: flags.disk,
      },
      ports: flags.publish,
      ...(stopSignal === undefined ? {} : { stopSignal }),
      capabilities: { add: flags.capAdd, drop: flags.capDrop },
      readOnlyRoot: flags.readOnly ?? false,
      allowNewPrivileges: flags.allowNewPrivileges ?? false,
      userNamespace: flags.userNamespace ?? false,
      ...(flags.interactive === true ? { stdin: true } : {}),
      ...(flags.tty === true ? { terminal: true } : {}),
      mounts: [...flags.volume, ...flags.tmpfs],
      files: await Promise.all(flags.file.map(fileOf)),
    },
    {
      labels: textsOf("--label", flags.label),
      restart: flags.restart,
      stopTimeoutMs: flags.stopTimeout,
      ...(runtime === undefined ? {} : { runtime }),
      ...(hostname === undefined ? {} : { hostname }),
    },
  );
  const conflict = conflictsOf(template, () => [])[0];
  if (conflict !== undefined) throw usageFailure(`${formatPath(conflict.path)} ${conflict.message}`);
  return canonicalTemplate(template);
}

function textsOf(flag: string, pairs: readonly Pair[]): Readonly<Record<string, string>> {
  const texts = new Map<string, string>();
  for (const [name, value] of pairs) {
    const why = whyNoText(value);
    if (why !== undefined) throw usageFailure(`${flag}: the value of ${name} ${why}`);
    texts.set(name, value);
  }
  return Object.fromEntries(texts);
}

/** `NAME=value` lines; empty ones and those that begin with # say nothing. */
async function variablesIn(path: string): Promise<readonly Pair[]> {
  const lines = (await textIn("--env-file", path)).split(/\r?\n/);
  return lines.flatMap((line, index): readonly Pair[] => {
    if (line.trim() === "" || line.startsWith("#")) return [];
    const parsed = parseEnvLine(line);
    if (parsed.ok) return [parsed.value];
    throw usageFailure(`--env-file: ${path}:${index + 1} ${parsed.error}`);
  });
}

async function fileOf({ source, path, mode }: FilePlace): Promise<FileSpec> {
  return { path, content: await textIn("--file", source), mode };
}

async function textIn(flag: string, source: string): Promise<string> {
  const file = Bun.file(source);
  let content: string;
  try {
    if ((await file.stat()).isDirectory()) throw usageFailure(`${flag}: ${source} is a directory`);
    if (file.size > 4 * contentLengthMax) throw tooLarge(flag, source);
    content = new TextDecoder("utf-8", { fatal: true }).decode(await file.bytes());
  } catch (error) {
    if (error instanceof Error && "code" in error && typeof error.code === "string" && "syscall" in error)
      throw usageFailure(`${flag}: cannot read ${source}: ${error.message}`);
    if (error instanceof TypeError) throw noText(flag, source);
    throw error;
  }
  if (content.length > contentLengthMax) throw tooLarge(flag, source);
  if (content.includes("\0")) throw noText(flag, source);
  return content;
}

function tooLarge(flag: string, source: string): Error {
  return usageFailure(`${flag}: ${source} is larger than ${contentLengthMax / 1024} Ki characters`);
}

function noText(flag: string, source: string): Error {
  return usageFailure(`${flag}: ${source} is no text in UTF-8`, "put it on a volume or into the image");
}
