import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CliContext } from "./console.ts";
import { runCli } from "./run-cli.ts";
import { systemdUnit, unitMark } from "./systemd-unit.ts";

const directory = mkdtempSync(join(tmpdir(), "muster-install-"));
afterAll(() => rmSync(directory, { recursive: true }));

async function muster(...args: readonly string[]) {
  let out = "";
  let errors = "";
  const context: CliContext = {
    env: { MUSTER_CONFIG: "/dev/null" },
    exitCode: 0,
    console: {
      write: async (data) => void (out += String(data)),
      complain: async (data) => void (errors += String(data)),
      input: async function* () {},
      interrupted: new AbortController().signal,
      terminal: undefined,
    },
  };
  return { code: await runCli(args, context), out, errors };
}

test("a dry run prints the unit, with the flags of the service, and writes nothing", async () => {
  const unit = join(directory, "dry.service");
  const { code, out } = await muster("install", "--dry-run", "--unit", unit, "--", "--zone", "rack2");
  expect([code, existsSync(unit)]).toEqual([0, false]);
  expect(out).toMatch(/^ExecStart=.* up --data-dir \/var\/lib\/muster --zone rack2$/m);
  for (const line of ["KillMode=process", "Delegate=yes", "Restart=always", "LimitNOFILE=524288"])
    expect(out.split("\n")).toContain(line);
});

test("install writes once, uninstall takes away what it wrote", async () => {
  const unit = join(directory, "muster.service");
  const words = ["--no-start", "--unit", unit, "--json"];
  expect(JSON.parse((await muster("install", ...words)).out)).toMatchObject({
    changed: true,
    started: false,
  });
  expect(statSync(unit).mode & 0o777).toBe(0o644);
  expect(JSON.parse((await muster("install", ...words)).out)).toMatchObject({ changed: false });
  // Whether a systemd runs here that would be told is another matter: this unit's name is unknown to it.
  if (!existsSync("/run/systemd/system")) {
    expect((await muster("uninstall", "--unit", unit)).out).toContain("removed; containers run on");
    expect(existsSync(unit)).toBe(false);
    expect((await muster("uninstall", "--unit", unit)).out).toContain("nothing was changed");
  }
});

test("somebody else's unit is left alone", async () => {
  const unit = join(directory, "own.service");
  writeFileSync(unit, "[Unit]\n");
  for (const command of ["install", "uninstall"]) {
    const { code, errors } = await muster(command, "--unit", unit);
    expect([code, errors]).toEqual([1, expect.stringContaining("was not written by muster install")]);
  }
  expect(readFileSync(unit, "utf8")).toBe("[Unit]\n");
});

test("flags that up would refuse are refused before a service restarts for ever", async () => {
  const unit = join(directory, "bad.service");
  for (const flags of [
    ["--zome", "x"],
    ["--cpu", "much"],
    ["--invite", "a", "--invite-file", "b"],
  ]) {
    const { code, errors } = await muster("install", "--unit", unit, "--", ...flags);
    expect([flags, code, errors]).toEqual([flags, 2, expect.stringContaining("muster up would refuse")]);
  }
  expect((await muster("install", "--unit", unit, "--data-dir", "here")).code).toBe(2);
  expect((await muster("install", "--unit", unit, "--", "--zone", "a\nExecStartPre=/bin/sh")).code).toBe(2);
  expect(existsSync(unit)).toBe(false);
});

const analyze = Bun.which("systemd-analyze");
if (analyze === null) console.log("systemd's own check of the unit is left out: there is no systemd-analyze");
test.skipIf(analyze === null)(
  "systemd finds nothing to complain about, and reads the words back",
  async () => {
    const unit = join(directory, "checked.service");
    const strange = 'a b"c\\d$HOME%n';
    const text = systemdUnit({
      command: ["/bin/true"],
      dataDirectory: "/srv/my data",
      flags: ["--name", strange],
    });
    expect(text.startsWith(unitMark)).toBe(true);
    expect(text).toContain('"/srv/my data" --name "a b\\"c\\\\d$$HOME%%n"');
    writeFileSync(unit, text);
    const child = Bun.spawn(["systemd-analyze", "verify", "--man=no", unit], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const said = (await new Response(child.stderr).text()) + (await new Response(child.stdout).text());
    const own = said.split("\n").filter((line) => line.includes("checked.service"));
    expect([own, await child.exited]).toEqual([[], 0]);
  },
);
