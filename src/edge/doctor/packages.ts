/** What to install for a program that is missing, in the words of this distribution. */

export type Need = "runc" | "conmon" | "nft" | "ip" | "unshare" | "time";

interface Packaging {
  /** Values of ID and ID_LIKE in os-release(5). */
  readonly ids: readonly string[];
  readonly install: readonly string[];
  readonly names: Readonly<Record<Need, string>>;
}

const names = {
  runc: "runc",
  conmon: "conmon",
  nft: "nftables",
  ip: "iproute2",
  unshare: "util-linux",
  time: "chrony",
} as const;

const packagings: readonly Packaging[] = [
  {
    ids: ["debian", "ubuntu", "raspbian"],
    install: ["apt-get", "install"],
    names: { ...names, time: "systemd-timesyncd" },
  },
  {
    ids: ["fedora", "rhel", "centos", "rocky", "almalinux", "amzn"],
    install: ["dnf", "install"],
    names: { ...names, ip: "iproute" },
  },
  { ids: ["suse", "opensuse", "sles"], install: ["zypper", "install"], names },
  { ids: ["arch"], install: ["pacman", "-S"], names },
  { ids: ["alpine"], install: ["apk", "add"], names },
];

/** Of os-release(5): the distribution's own id first, then those it is like. */
export function distributionIds(osRelease: string): readonly string[] {
  const field = (name: string): string =>
    new RegExp(`^${name}=["']?([^"'\n]*)`, "m").exec(osRelease)?.[1]?.trim() ?? "";
  return [field("ID"), ...field("ID_LIKE").split(/\s+/)].filter((id) => id !== "");
}

/** One command for all of them, such as `apt-get install runc conmon`; on a distribution nobody told us of, words. */
export function installAdvice(distribution: readonly string[], needs: readonly Need[]): string {
  const packaging = distribution
    .map((id) =>
      packagings.find(({ ids }) => ids.some((known) => id === known || id.startsWith(`${known}-`))),
    )
    .find((found) => found !== undefined);
  const wanted = [...new Set(needs.map((need) => (packaging?.names ?? names)[need]))];
  if (packaging === undefined) return `install with this system's package manager: ${wanted.join(", ")}`;
  return [...packaging.install, ...wanted].join(" ");
}
