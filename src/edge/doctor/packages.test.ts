import { expect, test } from "bun:test";
import { distributionIds, installAdvice } from "./packages.ts";

const advice = (osRelease: string) => installAdvice(distributionIds(osRelease), ["runc", "ip", "ip"]);

test("each distribution has its words", () => {
  expect(advice("PRETTY_NAME=x\nID=debian\n")).toBe("apt-get install runc iproute2");
  expect(advice('ID="rocky"\nID_LIKE="rhel centos fedora"\n')).toBe("dnf install runc iproute");
  expect(advice('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n')).toBe("zypper install runc iproute2");
  expect(advice("ID=arch")).toBe("pacman -S runc iproute2");
  expect(advice("ID=alpine")).toBe("apk add runc iproute2");
});

test("one that is like another takes that one's", () => {
  expect(advice("ID=linuxmint\nID_LIKE='ubuntu debian'")).toBe("apt-get install runc iproute2");
});

test("an unknown one is told the names", () => {
  expect(advice("ID=mine")).toBe("install with this system's package manager: runc, iproute2");
  expect(advice("")).toStartWith("install with this system's package manager");
});
