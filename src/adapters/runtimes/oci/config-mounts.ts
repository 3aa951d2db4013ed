/** What is mounted into a container, in order: the system's own, then what the user asked for and the files of the node. */
import { statSync } from "node:fs";
import type { ContainerMount } from "../../../ports/container-runtime.ts";
import type { ContainerFile } from "./container-files.ts";

export interface OciMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

export interface MountsInput {
  readonly mounts: readonly ContainerMount[];
  readonly files: readonly ContainerFile[];
  /** A directory to share as /dev/shm; undefined for one of the container's own. */
  readonly sharedMemory: string | undefined;
  /** See `RuntimeProgram.knowsRecursiveReadOnly`. */
  readonly knowsRecursiveReadOnly: boolean;
  /** The container's user namespace does not own its network, or its IPC: the kernel then refuses new mounts that show them. */
  readonly isNetworkForeign: boolean;
  readonly isIpcForeign: boolean;
}

const sealed = ["nosuid", "noexec", "nodev"];
const sharedMemoryPath = "/dev/shm";

/** Parents before what lies in them, so that nothing is hidden by a later mount. */
export function ociMounts(input: MountsInput): OciMount[] {
  const own = [
    ...input.mounts.map((mount) => userMount(mount, input.knowsRecursiveReadOnly)),
    ...input.files.map(fileMount),
  ].toSorted((a, b) => depth(a.destination) - depth(b.destination));
  const taken = new Set(own.map(({ destination }) => destination));
  return [...systemMounts(input).filter(({ destination }) => !taken.has(destination)), ...own];
}

function depth(path: string): number {
  return path.split("/").length;
}

function userMount(mount: ContainerMount, knowsRecursiveReadOnly: boolean): OciMount {
  if (mount.kind === "tmpfs") {
    const size = mount.sizeBytes > 0 ? [`size=${mount.sizeBytes}`] : [];
    const options = [...sealed, "mode=1777", ...size];
    return { destination: mount.target, type: "tmpfs", source: "tmpfs", options };
  }
  // crun makes a directory for whatever is bound recursively, also for a file.
  const isFile = statSync(mount.source, { throwIfNoEntry: false })?.isDirectory() === false;
  const readOnly = knowsRecursiveReadOnly && !isFile ? ["ro", "rro"] : ["ro"];
  return {
    destination: mount.target,
    type: "bind",
    source: mount.source,
    options: [isFile ? "bind" : "rbind", "rprivate", ...(mount.readOnly ? readOnly : [])],
  };
}

function fileMount({ path, source, isReadOnly }: ContainerFile): OciMount {
  const options = ["bind", "rprivate", "nosuid", "nodev", ...(isReadOnly ? ["ro"] : [])];
  return { destination: path, type: "bind", source, options };
}

function systemMounts({ sharedMemory, isNetworkForeign, isIpcForeign }: MountsInput): OciMount[] {
  const mount = (destination: string, type: string, source: string, options: readonly string[]) => ({
    destination,
    type,
    source,
    options,
  });
  return [
    mount("/proc", "proc", "proc", sealed),
    mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    mount("/dev/pts", "devpts", "devpts", [
      ...["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ]),
    sharedMemory === undefined
      ? mount(sharedMemoryPath, "tmpfs", "shm", [...sealed, "mode=1777", "size=65536k"])
      : mount(sharedMemoryPath, "bind", sharedMemory, ["bind", "rprivate", ...sealed]),
    ...(isIpcForeign ? [] : [mount("/dev/mqueue", "mqueue", "mqueue", sealed)]),
    isNetworkForeign
      ? mount("/sys", "bind", "/sys", ["rbind", "rprivate", ...sealed, "ro"])
      : mount("/sys", "sysfs", "sysfs", [...sealed, "ro"]),
    mount("/sys/fs/cgroup", "cgroup", "cgroup", [...sealed, "relatime", "ro"]),
  ];
}
