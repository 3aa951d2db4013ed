import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ProblemError } from "../model/problem.ts";

/** What agents make in their data directory, and what a fresh file system has. */
const own: ReadonlySet<string> = new Set([
  "agent.log",
  "containers",
  "identity",
  "images",
  "lost+found",
  "muster.db",
  "muster.db-shm",
  "muster.db-wal",
  "muster.pid",
  "muster.sock",
  "network",
  "processes",
  "volumes",
]);

/**
 * Makes the directory when it is missing. One that holds other people's files is left alone: it is
 * probably a mistyped path, and an agent takes away what it does not know below its directories.
 * Throws ProblemError.
 */
export function claimDataDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const names = readdirSync(path);
    const strangers = names.filter((name) => !own.has(name));
    if (strangers.length === 0 || names.includes("muster.db")) return;
    throw new ProblemError({
      code: "conflict",
      message: `${path} holds files that are not Muster's: ${strangers.sort().slice(0, 3).join(", ")}`,
      next: "give --data-dir a directory that is empty or does not exist yet",
    });
  } catch (error) {
    if (error instanceof ProblemError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new ProblemError(
      {
        code: "internal",
        message: `${path} cannot be the data directory: ${reason}`,
        next: "choose another with --data-dir",
      },
      { cause: error },
    );
  }
}

/** Whether a node lives here that is of a fleet already. */
export function hasIdentity(path: string): boolean {
  return existsSync(join(path, "identity"));
}
