/**
 * OCI runtime binaries and what each of them has to be told beside the standard's commands.
 *
 * runc   nothing.
 * crun   Where version 1 and version 2 control groups are mounted side by side, crun 1.8 drops the version 2 ones and then
 *        fails. It runs in a mount namespace without the version 2 mount, and takes version 1 alone.
 * runsc  gVisor. Its own network stack would take the interfaces of the namespace over and does not start on all kernels,
 *        so programs use the namespace's own sockets. Signals go to the program by its `kill`: the process that the
 *        machine sees is the sandbox. Each container is a kernel of its own: System V IPC is not shared by a sandbox of
 *        ours, and a limit of processes counts the sandbox's own threads.
 */
import { basename, isAbsolute } from "node:path";
import type { CgroupTree } from "./cgroups.ts";

export interface RuntimeProgram {
  /** As it was asked for: a name or an absolute path. */
  readonly name: string;
  /** The program and its first arguments; a command of the OCI runtime follows. */
  readonly command: readonly [string, ...string[]];
  /** The process that the machine sees is the program in the container, so a signal may go straight to it. */
  readonly hasVisibleProcess: boolean;
  /** Understands read-only that reaches the mounts below a bind mount (`rro`). */
  readonly knowsRecursiveReadOnly: boolean;
  /** Capabilities, without `CAP_`, that it does not know and fails at. */
  readonly unknownCapabilities: readonly string[];
  /** The kernel's own user namespaces and seccomp filters apply to the programs in the container. */
  readonly sharesKernel: boolean;
}

const withoutUnified = 'umount "$0" && exec "$@"';

/** `locate` finds a program on the search path; undefined when it is not there. */
export function runtimeProgram(
  name: string,
  tree: CgroupTree,
  locate: (program: string) => string | null,
): RuntimeProgram | undefined {
  if (name.includes("/") && !isAbsolute(name)) return undefined;
  const path = locate(name);
  const unshare = locate("unshare");
  if (path === null || unshare === null) return undefined;
  const family = basename(path).split(/[-.]/, 1)[0] ?? "";
  const isSandbox = family === "runsc";
  return {
    name,
    command: commandOf(family, path, { tree, unshare }),
    hasVisibleProcess: !isSandbox,
    knowsRecursiveReadOnly: family === "runc" || family === "crun",
    unknownCapabilities: isSandbox ? ["PERFMON", "BPF", "CHECKPOINT_RESTORE"] : [],
    sharesKernel: !isSandbox,
  };
}

function commandOf(
  family: string,
  path: string,
  { tree, unshare }: { readonly tree: CgroupTree; readonly unshare: string },
): RuntimeProgram["command"] {
  if (family === "runsc") return [path, "--network=host"];
  if (family !== "crun" || tree.isV2 || tree.unified === undefined) return [path];
  return [unshare, "--mount", "--propagation", "slave", "sh", "-c", withoutUnified, tree.unified, path];
}
