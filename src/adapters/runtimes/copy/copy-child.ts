/**
 * `muster internal-copy`: copies between an archive and a container's file tree, in a process of its own that has
 * changed its root into that tree before it looks at the first name: wherever links and `..` lead, and whatever
 * the program inside does to them meanwhile, they lead to what the program itself can reach.
 *
 * Argument: a CopyRequest as JSON. `out` writes the archive to standard output, `in` reads it from standard input.
 * A failure is one line of JSON on standard error, and exit status 1.
 */
import { dlopen, read } from "bun:ffi";
import { writeSync } from "node:fs";
import { constants } from "node:os";
import { ArchiveError, TarReader } from "../../images/oci/tar-reader.ts";
import * as v from "valibot";
import { copyRequestSchema, PathRefusal, type CopyFailure } from "./copy-request.ts";
import { packTree } from "./pack-tree.ts";
import { TreeWriter } from "./tree-writer.ts";

/** Entry of the child process. Returns the exit status. */
export async function copyMain(args: readonly string[]): Promise<number> {
  try {
    const { direction, root, path, ownerBase } = v.parse(copyRequestSchema, JSON.parse(args[0] ?? ""));
    process.umask(0);
    changeRoot(root);
    if (direction === "out") await packTree(path, ownerBase, Bun.stdout.writer());
    else await unpack(path, ownerBase);
    return 0;
  } catch (error) {
    const failure: CopyFailure = {
      isBadPath: error instanceof PathRefusal || error instanceof ArchiveError,
      detail: error instanceof Error ? error.message : String(error),
    };
    writeSync(2, `${JSON.stringify(failure)}\n`);
    return 1;
  }
}

async function unpack(path: string, ownerBase: number): Promise<void> {
  const writer = new TreeWriter(path, ownerBase);
  const reader = new TarReader(writer);
  try {
    for await (const chunk of Bun.stdin.stream()) reader.push(chunk);
    reader.end();
    writer.finish();
  } finally {
    writer.close();
  }
}

function changeRoot(root: string): void {
  const signatures = {
    chroot: { args: ["ptr"], returns: "i32" },
    __errno_location: { args: [], returns: "ptr" },
  } as const;
  const musl = process.arch === "arm64" ? "aarch64" : "x86_64";
  let libc;
  try {
    libc = dlopen("libc.so.6", signatures);
  } catch {
    libc = dlopen(`libc.musl-${musl}.so.1`, signatures);
  }
  if (libc.symbols.chroot(Buffer.from(`${root}\0`)) !== 0) {
    const location = libc.symbols.__errno_location();
    const errno = location === null ? 0 : read.i32(location, 0);
    const name = Object.entries(constants.errno).find(([, value]) => value === errno)?.[0];
    throw new Error(`the container's file tree cannot be entered: ${name ?? errno}`);
  }
  process.chdir("/");
}
