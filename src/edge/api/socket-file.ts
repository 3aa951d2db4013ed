/** The file of a unix socket: whether somebody answers behind it, and clearing one that was left behind. */
import { lstatSync, unlinkSync } from "node:fs";
import { ProblemError } from "../../model/problem.ts";

/** sun_path holds 108 bytes, the last of them NUL (unix(7)). */
const pathBytesMax = 107;

export function checkSocketPath(path: string): void {
  if (Buffer.byteLength(path) > pathBytesMax)
    throw new ProblemError({
      code: "invalid-request",
      message: `the socket's path is longer than ${pathBytesMax} bytes: ${path}`,
      next: "choose a shorter --data-dir, or give the socket a path of its own with --socket",
    });
}

/** True when a process listens at `path`, even one too busy to accept. */
export async function isAnswering(path: string): Promise<boolean> {
  try {
    const socket = await Bun.connect({ unix: path, socket: { data() {} } });
    socket.end();
    return true;
  } catch (error) {
    return !["ECONNREFUSED", "ENOENT", "ENOTDIR"].includes(String(codeOf(error)));
  }
}

/** Removes what a killed process left at `path`; throws `conflict` when one still answers there. */
export async function clearSocketFile(path: string): Promise<void> {
  checkSocketPath(path);
  if (await isAnswering(path))
    throw new ProblemError({
      code: "conflict",
      message: `an agent already answers on ${path}`,
      next: "end it first (muster down --keep), or give this one a --data-dir of its own",
    });
  try {
    const found = lstatSync(path);
    if (!found.isSocket())
      throw new ProblemError({
        code: "conflict",
        message: `${path} is in the way: it is not a socket`,
        next: "move it away, or choose another path with --socket",
      });
    unlinkSync(path);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
