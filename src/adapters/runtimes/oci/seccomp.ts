/**
 * The filter of system calls of every container. What a container's capabilities forbid needs no filter; this one is
 * for what the kernel lets anybody do although its code is a frequent way out: user namespaces (which give every
 * capability over kernel objects of their own), the keyrings that no namespace separates, bpf, perf, io_uring.
 *
 * Departure: Docker's list names what is allowed. Naming what is not costs a fraction of the time at each
 * start and breaks no program for a call that is newer than the list.
 */

const allow = "SCMP_ACT_ALLOW";
const refuse = "SCMP_ACT_ERRNO";
const notPermitted = 1;
const notImplemented = 38;
const newUserNamespace = 0x1000_0000;

const refused = [
  "add_key",
  "bpf",
  "fsconfig",
  "fsmount",
  "fsopen",
  "io_uring_enter",
  "io_uring_register",
  "io_uring_setup",
  "keyctl",
  "mount",
  "mount_setattr",
  "move_mount",
  "open_by_handle_at",
  "open_tree",
  "perf_event_open",
  "pivot_root",
  "request_key",
  "setns",
  "umount2",
  "unshare",
  "userfaultfd",
] as const;

/** The `linux.seccomp` of a container on this processor; undefined on one that it is not written for. */
export function seccompFilter(architecture: string): object | undefined {
  const architectures = architecturesOf(architecture);
  if (architectures === undefined) return undefined;
  return {
    defaultAction: allow,
    architectures,
    syscalls: [
      { names: refused, action: refuse, errnoRet: notPermitted },
      {
        names: ["clone"],
        action: refuse,
        errnoRet: notPermitted,
        args: [{ index: 0, value: newUserNamespace, valueTwo: newUserNamespace, op: "SCMP_CMP_MASKED_EQ" }],
      },
      // Its flags are behind a pointer, where no filter sees them; C libraries then take clone.
      { names: ["clone3"], action: refuse, errnoRet: notImplemented },
    ],
  };
}

function architecturesOf(architecture: string): readonly string[] | undefined {
  if (architecture === "x64") return ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
  if (architecture === "arm64") return ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
  return undefined;
}
