/** `muster doctor` on this very machine, in a network of the test. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { enterFreshNetwork, run } from "./fabric-rig.ts";
import { canRun, containerPrograms, networkPrograms } from "./machine-needs.ts";

const runsHere = canRun("doctor", [...networkPrograms, ...containerPrograms]);
const mainPath = join(import.meta.dir, "../../src/main.ts");

describe.if(runsHere)("doctor", () => {
  let directory: string;
  let leave: () => void;

  beforeEach(async () => {
    leave = await enterFreshNetwork();
    directory = mkdtempSync(join(tmpdir(), "muster-doctor-"));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true, force: true });
    leave();
  });

  const doctor = async () => {
    const command = [process.execPath, mainPath, "doctor", "--json", "--data-dir", join(directory, "data")];
    const child = Bun.spawn(command, {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, MUSTER_CONFIG: "/dev/null", MUSTER_LISTEN: "[::]:7499" },
    });
    const said: unknown = JSON.parse(await new Response(child.stdout).text());
    return { code: await child.exited, said };
  };
  test("this machine can run an agent, and is as it was afterwards", async () => {
    const { code, said } = await doctor();
    expect(said).toMatchObject({ ok: true });
    expect(JSON.stringify(said)).toContain("for a try");
    expect(code).toBe(0);
    expect(readdirSync(directory)).toEqual([]);
    expect(await run("nft", "list", "tables")).toBe("");
    expect((await run("ip", "-br", "link")).trim().split("\n").length).toBe(1);
  });

  test("a program on the agent's port fails it, by name and pid; a firewall is told of", async () => {
    const server = Bun.listen({ hostname: "127.0.0.1", port: 7499, socket: { data: () => {} } });
    await run(
      "nft",
      "add table ip filter; add chain ip filter F { type filter hook forward priority 0; policy drop; }",
    );
    const { code, said } = await doctor();
    server.stop(true);
    expect(code).toBe(1);
    expect(said).toMatchObject({ ok: false });
    const text = JSON.stringify(said);
    expect(text).toContain(`7499/tcp is taken by`);
    expect(text).toContain(`(pid ${process.pid})`);
    expect(text).toContain("ip filter F");
  });
});
