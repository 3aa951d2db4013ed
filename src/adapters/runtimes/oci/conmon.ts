/** Starts conmon, which runs the OCI runtime's `create` and stays as the container's monitor. */
import { closeSync } from "node:fs";
import { defined } from "../../../model/assert.ts";
import type { BundlePaths, RuntimeDirectories } from "./bundle.ts";

export interface ConmonOptions {
  readonly conmonPath: string;
  readonly runtimePath: string;
  readonly logBytesMax: number;
  /** Come before the runtime's command; undefined: where it keeps its state. */
  readonly runtimeArgs?: readonly string[];
  /** The container's input stays open for those who attach, whoever comes and goes. */
  readonly stdin?: boolean;
  readonly terminal?: boolean;
}

/** The first process of the container, or the runtime's words on why there is none. */
export type ConmonAnswer =
  { readonly ok: true; readonly pid: number } | { readonly ok: false; readonly detail: string };

/**
 * Returns once the OCI runtime made the container. conmon forks away at once and answers over
 * descriptor 3; it is told nothing of this process's environment but the search path.
 */
export async function runConmon(
  id: string,
  paths: BundlePaths,
  directories: RuntimeDirectories,
  options: ConmonOptions,
): Promise<ConmonAnswer> {
  const child = Bun.spawn(
    [
      options.conmonPath,
      ...["--api-version", "1", "--cid", id, "--cuuid", id, "--name", id],
      ...["--runtime", options.runtimePath],
      ...(options.runtimeArgs ?? [`--root=${directories.runtime}`]).map((one) => `--runtime-arg=${one}`),
      ...["--bundle", paths.directory, "--container-pidfile", paths.pid],
      ...["--conmon-pidfile", paths.conmonPid],
      ...["--log-path", `k8s-file:${paths.log}`],
      ...["--log-size-max", String(options.logBytesMax)],
      ...["--exit-dir", directories.exits, "--persist-dir", paths.directory],
      ...["--socket-dir-path", paths.directory, "--full-attach"],
      ...["--log-level", "error", "--no-sync-log"],
      ...(options.stdin === true ? ["--stdin", "--leave-stdin-open"] : []),
      ...(options.terminal === true ? ["--terminal"] : []),
    ],
    {
      cwd: paths.directory,
      env: {
        PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin",
        _OCI_SYNCPIPE: "3",
      },
      stdio: ["ignore", "ignore", "pipe", "pipe"],
    },
  );
  const answerFd = defined(child.stdio[3], "a pipe to conmon");
  try {
    const line = await readLine(answerFd);
    if (line === undefined) {
      const said = await new Response(child.stderr).text();
      return {
        ok: false,
        detail: said.trim() || `conmon ended with ${await child.exited}`,
      };
    }
    // The process that was started writes down the pid of the one that stays before it ends; with a quick runtime that is later than the answer.
    await child.exited;
    return parseAnswer(line);
  } finally {
    closeSync(answerFd);
    await child.stderr.cancel();
  }
}

/** conmon keeps its end open for as long as it lives, so the end of the line counts, not the end of the stream. */
async function readLine(fd: number): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of Bun.file(fd).stream()) {
    text += decoder.decode(chunk, { stream: true });
    const end = text.indexOf("\n");
    if (end !== -1) return text.slice(0, end);
  }
  return text === "" ? undefined : text;
}

function parseAnswer(line: string): ConmonAnswer {
  const unclear: ConmonAnswer = {
    ok: false,
    detail: `conmon answered ${line}`,
  };
  try {
    const answer: unknown = JSON.parse(line);
    if (typeof answer !== "object" || answer === null) return unclear;
    if ("data" in answer && typeof answer.data === "number" && answer.data > 0)
      return { ok: true, pid: answer.data };
    if ("message" in answer && typeof answer.message === "string")
      return { ok: false, detail: answer.message.trim() };
    return unclear;
  } catch {
    return unclear;
  }
}
