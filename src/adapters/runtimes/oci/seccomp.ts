/**
 * The filter of system calls of every container: it refuses what Docker's refuses. Much of it a container's
 * capabilities forbid as well; the rest is what the kernel lets anybody do although its code is a frequent way out: user
 * namespaces (which give every capability over kernel objects of their own), the keyrings that no namespace
 * separates, bpf, perf, io_uring. A capability that was granted opens the calls that it is for.
 *
 * Departure: Docker's list names what is allowed. Naming what is not costs a fraction of the time at each
 * start and breaks no program for a call that is newer than the list.
 */

const allow = "SCMP_ACT_ALLOW";
const refuse = "SCMP_ACT_ERRNO";
const notPermitted = 1;
const notImplemented = 38;
const familyNotSupported = 97;
const newUserNamespace = 0x1000_0000;

/** Refused whatever the container may do. */
const refused = [
  ...["_sysctl", "add_key", "create_module", "get_kernel_syms", "io_uring_enter", "io_uring_register"],
  ...[
    "io_uring_setup",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "migrate_pages",
    "move_pages",
    "nfsservctl",
  ],
  ...["pivot_root", "query_module", "request_key", "swapoff", "swapon", "sysfs", "userfaultfd", "uselib"],
  ...["ustat", "vm86", "vm86old"],
];

/** Calls that one of the capabilities named opens. */
const gates: readonly { readonly openedBy: readonly string[]; readonly names: readonly string[] }[] = [
  {
    openedBy: ["CAP_SYS_ADMIN"],
    names: [
      ...[
        "fanotify_init",
        "fsconfig",
        "fsmount",
        "fsopen",
        "fspick",
        "lookup_dcookie",
        "mount",
        "mount_setattr",
      ],
      ...["move_mount", "open_tree", "quotactl", "quotactl_fd", "setdomainname", "sethostname", "setns"],
      ...["umount", "umount2", "unshare"],
    ],
  },
  { openedBy: ["CAP_SYS_ADMIN", "CAP_BPF"], names: ["bpf"] },
  { openedBy: ["CAP_SYS_ADMIN", "CAP_PERFMON"], names: ["perf_event_open"] },
  { openedBy: ["CAP_SYS_ADMIN", "CAP_SYSLOG"], names: ["syslog"] },
  { openedBy: ["CAP_DAC_READ_SEARCH"], names: ["name_to_handle_at", "open_by_handle_at"] },
  { openedBy: ["CAP_SYS_BOOT"], names: ["reboot"] },
  { openedBy: ["CAP_SYS_MODULE"], names: ["delete_module", "finit_module", "init_module"] },
  {
    openedBy: ["CAP_SYS_NICE"],
    names: ["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"],
  },
  { openedBy: ["CAP_SYS_PACCT"], names: ["acct"] },
  { openedBy: ["CAP_SYS_PTRACE"], names: ["kcmp", "pidfd_getfd", "process_madvise"] },
  { openedBy: ["CAP_SYS_RAWIO"], names: ["ioperm", "iopl"] },
  {
    openedBy: ["CAP_SYS_TIME"],
    names: ["clock_adjtime", "clock_settime", "clock_settime64", "settimeofday", "stime"],
  },
  { openedBy: ["CAP_SYS_TTY_CONFIG"], names: ["vhangup"] },
];

/** socket(2): virtual machine sockets reach past every namespace, the kernel's ciphers are rarely used and often broken. */
const refusedFamilies = [38, 40];
/** personality(2): no randomized addresses, readable is executable, a page at zero. */
const refusedPersonalities = [0x0004_0000, 0x0040_0000, 0x0010_0000];
/** The personality that only asks has all bits set. */
const personalityQuery = 0x8000_0000;

/** The `linux.seccomp` of a container on this processor; undefined on one that it is not written for. */
export function seccompFilter(architecture: string, capabilities: readonly string[]): object | undefined {
  const architectures = architecturesOf(architecture);
  if (architectures === undefined) return undefined;
  const isOpen = (openedBy: readonly string[]) => openedBy.some((each) => capabilities.includes(each));
  const closed = gates.filter(({ openedBy }) => !isOpen(openedBy)).flatMap(({ names }) => names);
  const when = (name: string, errno: number, mask: number, value: number, op = "SCMP_CMP_MASKED_EQ") => ({
    names: [name],
    action: refuse,
    errnoRet: errno,
    args: [{ index: 0, value: mask, valueTwo: value, op }],
  });
  const namespaces = isOpen(["CAP_SYS_ADMIN"])
    ? []
    : [
        when("clone", notPermitted, newUserNamespace, newUserNamespace),
        // Its flags are behind a pointer, where no filter sees them; C libraries then take clone.
        { names: ["clone3"], action: refuse, errnoRet: notImplemented },
      ];
  return {
    defaultAction: allow,
    architectures,
    syscalls: [
      { names: [...refused, ...closed], action: refuse, errnoRet: notPermitted },
      ...namespaces,
      ...refusedFamilies.map((family) => when("socket", familyNotSupported, family, 0, "SCMP_CMP_EQ")),
      ...refusedPersonalities.map((bit) => when("personality", notPermitted, personalityQuery + bit, bit)),
    ],
  };
}

function architecturesOf(architecture: string): readonly string[] | undefined {
  if (architecture === "x64") return ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
  if (architecture === "arm64") return ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
  return undefined;
}
