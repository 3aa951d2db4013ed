import { expect, test } from "bun:test";
import { seccompFilter } from "./seccomp.ts";

test("the filter names the processor's own calls and those of its smaller brothers", () => {
  expect(seccompFilter("x64")).toMatchObject({
    architectures: expect.arrayContaining(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]),
  });
  expect(seccompFilter("arm64")).toMatchObject({
    architectures: expect.arrayContaining(["SCMP_ARCH_AARCH64"]),
  });
  expect(seccompFilter("riscv64")).toBeUndefined();
});
