import { expect, test } from "bun:test";
import { seccompFilter } from "./seccomp.ts";

test("the filter names the processor's own calls and those of its smaller brothers", () => {
  expect(seccompFilter("x64", [])).toMatchObject({
    architectures: expect.arrayContaining(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]),
  });
  expect(seccompFilter("arm64", [])).toMatchObject({
    architectures: expect.arrayContaining(["SCMP_ARCH_AARCH64"]),
  });
  expect(seccompFilter("riscv64", [])).toBeUndefined();
});

test("a capability opens the calls that it is for, and no others", () => {
  const refusedBy = (capabilities: string[]) => JSON.stringify(seccompFilter("x64", capabilities));
  for (const name of ["mount", "unshare", "clone3", "bpf", "reboot", "keyctl"])
    expect(refusedBy([])).toContain(`"${name}"`);
  for (const name of ["mount", "unshare", "clone3", "bpf"])
    expect(refusedBy(["CAP_SYS_ADMIN"])).not.toContain(`"${name}"`);
  for (const name of ["reboot", "keyctl", "open_by_handle_at"])
    expect(refusedBy(["CAP_SYS_ADMIN"])).toContain(`"${name}"`);
  expect(refusedBy(["CAP_BPF"])).not.toContain('"bpf"');
});
