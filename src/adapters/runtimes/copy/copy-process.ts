/** The agent's side of the copying child: bytes to and from it, and its failures as errors of the port. */
import * as v from "valibot";
import { RuntimeError } from "../../../ports/container-runtime.ts";
import { copyFailureSchema, type CopyFailure, type CopyRequest } from "./copy-request.ts";

export interface CopyTarget {
  /** The words that start the child; its request comes after them. */
  readonly command: readonly string[];
  readonly id: string;
  readonly root: string;
  readonly path: string;
  readonly ownerBase: number;
}

/** Headers and small files are not worth a wait each. */
const writtenBytesMax = 256 * 1024;

export async function copyOut(target: CopyTarget): Promise<AsyncIterable<Uint8Array>> {
  const child = Bun.spawn(wordsOf(target, "out"), { stdio: ["ignore", "pipe", "pipe"], env: {} });
  const failure = new Response(child.stderr).text();
  const chunks = child.stdout.values();
  const first = await chunks.next();
  if (first.done === true) throw failureOf(target, await failure);
  return rest();
  async function* rest(): AsyncGenerator<Uint8Array> {
    try {
      for (let next = first; next.done !== true; next = await chunks.next()) yield next.value;
      if ((await child.exited) !== 0) throw failureOf(target, await failure);
    } finally {
      child.kill("SIGKILL");
    }
  }
}

export async function copyIn(target: CopyTarget, archive: AsyncIterable<Uint8Array>): Promise<void> {
  const child = Bun.spawn(wordsOf(target, "in"), { stdio: ["pipe", "ignore", "pipe"], env: {} });
  const failure = new Response(child.stderr).text();
  let hasEnded = false;
  let waiting = 0;
  const ended = Promise.withResolvers<void>();
  void child.exited.then(() => {
    hasEnded = true;
    ended.resolve();
  });
  try {
    for await (const chunk of archive) {
      // A child that gave up takes no more, and says why.
      if (hasEnded) break;
      child.stdin.write(chunk);
      waiting += chunk.length;
      if (waiting < writtenBytesMax) continue;
      waiting = 0;
      await Promise.race([child.stdin.flush(), ended.promise]);
    }
    if (!hasEnded) await child.stdin.end();
    if ((await child.exited) !== 0) throw failureOf(target, await failure);
  } finally {
    child.kill("SIGKILL");
  }
}

function wordsOf(
  { command, root, path, ownerBase }: CopyTarget,
  direction: CopyRequest["direction"],
): string[] {
  const request: CopyRequest = { direction, root, path, ownerBase };
  return [...command, JSON.stringify(request)];
}

function failureOf({ id, path }: CopyTarget, said: string): RuntimeError {
  const { isBadPath, detail } = parseFailure(said);
  const message = `copy ${path} of ${id}: ${detail}`;
  return isBadPath
    ? new RuntimeError(message, { code: "bad-path", id, path, detail })
    : new RuntimeError(message, { code: "failed", id, detail });
}

function parseFailure(said: string): CopyFailure {
  try {
    const line: unknown = JSON.parse(said);
    return v.parse(copyFailureSchema, line);
  } catch {
    return { isBadPath: false, detail: said.trim() || "the copying child ended without a word" };
  }
}
