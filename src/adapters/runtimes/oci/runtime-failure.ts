/** What the OCI runtime says when it refuses, as an error of the port. */
import { RuntimeError } from "../../../ports/container-runtime.ts";

/** Words of runc, crun and runsc for a program or working directory that is not there or cannot be run. */
const badCommandWords =
  /exec: "|executable file|chdir to cwd|exec format error|open executable|failed to load |mkdir .* not a directory/i;

/** `attempt` is what was being done, such as "create"; `detail` the runtime's words. */
export function describeFailure(id: string, attempt: string, detail: string): RuntimeError {
  const words = plainWords(detail);
  const code = badCommandWords.test(words) ? "bad-command" : "failed";
  return new RuntimeError(`${attempt} ${id}: ${words}`, {
    code,
    id,
    detail: words,
  });
}

export function unavailable(program: string, cause: unknown): RuntimeError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const detail = `cannot run ${program}: ${reason}`;
  return new RuntimeError(detail, { code: "unavailable", detail }, { cause });
}

/** runc logs as `time="..." level=error msg="..."`, the last line says it best. */
function plainWords(detail: string): string {
  const line = detail.split("\n").findLast((text) => text.trim() !== "") ?? "";
  const message = /msg="((?:[^"\\]|\\.)*)"/.exec(line)?.[1];
  const words = message === undefined ? line : message.replaceAll('\\"', '"');
  return words
    .replace(/^(runc|crun) create failed: /, "")
    .replace(/^unable to start container process: /, "")
    .trim();
}

export function failed(id: string, attempt: string, detail: string): RuntimeError {
  return new RuntimeError(`${attempt} ${id}: ${detail}`, {
    code: "failed",
    id,
    detail,
  });
}

export function badCommand(id: string, detail: string): RuntimeError {
  return new RuntimeError(`create ${id}: ${detail}`, {
    code: "bad-command",
    id,
    detail,
  });
}

/** This node cannot carry out what is asked for. */
export function badSpec(id: string, detail: string): RuntimeError {
  return new RuntimeError(`create ${id}: ${detail}`, {
    code: "bad-spec",
    id,
    detail,
  });
}

export function notRunning(id: string): RuntimeError {
  return new RuntimeError(`container ${id} is not running`, {
    code: "not-running",
    id,
  });
}

export function asRuntimeError(id: string, attempt: string, error: unknown): RuntimeError {
  if (error instanceof RuntimeError) return error;
  const detail = error instanceof Error ? error.message : String(error);
  return new RuntimeError(`${attempt} ${id}: ${detail}`, { code: "failed", id, detail }, { cause: error });
}
