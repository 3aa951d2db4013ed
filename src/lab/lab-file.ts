/** What is written down of a lab: one file that `up` makes, and the pid of each machine that has power. */
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { LabError } from "./errors.ts";

export interface LabPlace {
  /** Where the lab's file, disks, sockets and logs are. */
  readonly directory: string;
  /** Part of the names of namespaces and control groups; `[a-z0-9]{1,8}`. */
  readonly name: string;
}

const labSchema = v.object({
  name: v.string(),
  machines: v.number(),
  /** The words that run the agent: the binary, or the runtime and the entry file. */
  binary: v.array(v.string()),
  plainHttpRegistries: v.array(v.string()),
});

export type LabFile = Readonly<v.InferOutput<typeof labSchema>>;

export function labFilePath(directory: string): string {
  return join(directory, "lab.json");
}

export function writeLabFile(directory: string, lab: LabFile): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  chmodSync(directory, 0o700);
  replaceFile(labFilePath(directory), JSON.stringify(lab, undefined, 2));
}

/** Undefined when there is none. */
export function readLabFile(directory: string): LabFile | undefined {
  const path = labFilePath(directory);
  if (!existsSync(path)) return undefined;
  const text = readFileSync(path, "utf8");
  try {
    return v.parse(labSchema, JSON.parse(text));
  } catch (cause) {
    throw new LabError(
      `${path} is not a lab's file`,
      { code: "unsuitable", what: path },
      { cause, next: "remove it if nothing else needs it, then: muster lab down" },
    );
  }
}

export function writePid(directory: string, machine: string, pid: number): void {
  replaceFile(join(directory, `${machine}.pid`), `${pid}\n`);
}

export function readPid(directory: string, machine: string): number | undefined {
  const path = join(directory, `${machine}.pid`);
  if (!existsSync(path)) return undefined;
  const pid = Number(readFileSync(path, "utf8"));
  return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
}

export function removePid(directory: string, machine: string): void {
  rmSync(join(directory, `${machine}.pid`), { force: true });
}

function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
