/** Which failures of system calls are the archive's doing. */
import { constants } from "node:os";
import { SystemCallError } from "./libc.ts";
import { ArchiveError } from "./tar-reader.ts";

export function hasErrno(error: unknown, ...errnos: readonly number[]): boolean {
  return error instanceof SystemCallError && errnos.includes(error.errno);
}

/** What the archive is to blame for, said of its entry; anything else (disk full, ...) as it is. */
export function blameArchive(error: unknown, entry: string): unknown {
  const { EXDEV, ENOTDIR, ENOENT, EEXIST, ELOOP, ENAMETOOLONG, EINVAL } = constants.errno;
  if (hasErrno(error, EXDEV)) return new ArchiveError(entry, "a symbolic link in its path leads outside");
  if (hasErrno(error, ENOTDIR, ENOENT, EEXIST))
    return new ArchiveError(entry, "its parent is not a directory");
  if (hasErrno(error, ELOOP)) return new ArchiveError(entry, "its path has a loop of symbolic links");
  if (hasErrno(error, ENAMETOOLONG, EINVAL))
    return new ArchiveError(entry, "a name or value that Linux cannot hold");
  return error;
}
