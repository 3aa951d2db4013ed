/** Which file a command names, as execvp finds it. */
import { accessSync, constants, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";

export type ProgramPath =
  { readonly ok: true; readonly path: string } | { readonly ok: false; readonly detail: string };

const pathDefault = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** `env` holds `NAME=value` lines; a relative path counts from the working directory. */
export function findProgram(program: string, env: readonly string[], workingDirectory: string): ProgramPath {
  if (program.includes("/")) {
    const path = isAbsolute(program) ? program : join(workingDirectory, program);
    const detail = whyNot(path);
    return detail === undefined ? { ok: true, path } : { ok: false, detail: `exec: "${program}": ${detail}` };
  }
  const search = env.find((line) => line.startsWith("PATH="))?.slice("PATH=".length) ?? pathDefault;
  for (const directory of search.split(":")) {
    const path = join(directory === "" ? workingDirectory : directory, program);
    if (whyNot(path) === undefined) return { ok: true, path };
  }
  return { ok: false, detail: `exec: "${program}": not found in PATH ${search}` };
}

function whyNot(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return "no such file";
  if (!stat.isFile()) return "is not a file";
  try {
    accessSync(path, constants.X_OK);
    return undefined;
  } catch {
    return "is not executable";
  }
}

export function whyNoDirectory(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return `chdir to cwd ${path}: no such directory`;
  return stat.isDirectory() ? undefined : `chdir to cwd ${path}: is not a directory`;
}
