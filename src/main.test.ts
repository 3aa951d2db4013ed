import { expect, test } from "bun:test";
import { join } from "node:path";

async function muster(...args: string[]) {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "main.ts"), ...args], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, MUSTER_SOCKET: join(import.meta.dir, "no-such.sock") },
  });
  const [out, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: await child.exited, out, errors };
}

test("the version is one line, whichever way it is asked for", async () => {
  const { code, out } = await muster("--version");
  expect([code, out.split("\n").length]).toEqual([0, 2]);
  expect((await muster("--version", "--json")).out).toBe(out);
});

test("the exit code and the failure reach the caller of the process", async () => {
  const { code, out, errors } = await muster("ps");
  expect([code, out]).toEqual([3, ""]);
  expect(errors).toContain("no agent answers on");
  expect((await muster("bogus")).code).toBe(2);
});
