/** A machine whose disk has no room left, with containers that run and one that fills its log: refused clearly, and whole again afterwards. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { missingTools, mustRun, run, until } from "./binary.ts";
import { Fleet } from "./fleet.ts";

const missing = missingTools();
if (missing.length > 0) console.log(`skipped, not on this machine: ${missing.join(", ")}`);

const machine = "n1";
const diskMiB = 96;

describe.skipIf(missing.length > 0)("a full disk", () => {
  let fleet: Fleet;
  let disk = "";
  const shell = (script: string) => mustRun(["/bin/bash", "-c", script, "bash", disk]);

  beforeAll(async () => {
    fleet = await Fleet.up("e2edisk", 1);
    disk = fleet.dataDirectory(machine);
    // The agent's directory goes onto a small file system of its own; a machine sees what was mounted before it got power.
    await fleet.lab("kill", machine);
    const copy = join(fleet.directory, "copy");
    await mustRun(["cp", "-a", disk, copy]);
    await mustRun(["mount", "-t", "tmpfs", "-o", `size=${diskMiB}m,mode=0700`, "muster-e2edisk", disk]);
    await mustRun(["cp", "-a", `${copy}/.`, disk]);
    await fleet.lab("start", machine);
  }, 120_000);
  afterAll(async () => {
    if (fleet !== undefined) await fleet.lab("kill", machine);
    if (disk !== "") await run(["umount", disk]);
    await fleet?.down();
  }, 60_000);

  /** Until nothing more can be written. */
  const fill = () =>
    shell(
      'dd if=/dev/zero of="$1/ballast" bs=64k 2>/dev/null; dd if=/dev/zero bs=512 >>"$1/ballast" 2>/dev/null; sync',
    );
  const clear = () => shell('rm "$1/ballast"');

  test("a write is refused with its reason, what runs goes on, and all works again when there is room", async () => {
    await fleet.text(machine, "run", fleet.image, "--name", "rock", "-r", "2", "--wait");
    const talk = "i=0; while :; do i=$((i+1)); echo line $i; usleep 20000; done";
    await fleet.text(machine, "run", fleet.image, "--name", "talk", "--wait", "--", "/bin/sh", "-c", talk);
    const rocks = fleet.containers("rock");
    // Its first process, beside the one that sleeps.
    const shells = () => fleet.containers("talk").map(({ container, pids }) => [container, pids[0]]);
    const talker = shells();
    await fill();

    const startedAt = performance.now();
    const refused = await fleet.on(machine, "run", fleet.image, "--name", "late");
    expect(refused.code).toBe(1);
    expect(refused.errors).toContain("the store of this node takes no writes");
    expect(refused.errors).toContain("full");
    expect(performance.now() - startedAt).toBeLessThan(15_000);
    const scaled = await fleet.on(machine, "scale", "rock", "3");
    expect(scaled.code).toBe(1);
    expect(scaled.errors).toContain("the store of this node takes no writes");
    // Who only asks is answered.
    expect((await fleet.on(machine, "status")).code).toBe(0);
    expect(fleet.containers("rock")).toEqual(rocks);

    await clear();
    await until("a write is taken again", 20_000, async () => {
      const said = await fleet.on(machine, "scale", "rock", "3", "--wait");
      return said.code === 0 ? undefined : said.errors;
    });
    await fleet.untilExactly(machine, "rock", 3);
    expect(fleet.containers("rock")).toEqual(expect.arrayContaining([...rocks]));
    // What could not be written of its output is lost; the program never stood still.
    expect(shells()).toEqual(talker);
    await untilTalks();
    // Nothing of what was refused is half there.
    const listed = await fleet.json<readonly { readonly name: string }[]>(machine, "ps");
    for (const { name } of listed) await fleet.untilExactly(machine, name, name === "rock" ? 3 : 1);
  }, 120_000);

  test("an agent that is killed while the disk is full comes back to what it had", async () => {
    const rocks = fleet.containers("rock");
    await fill();
    await fleet.lab("kill-agent", machine);
    await fleet.lab("start-agent", machine).catch((error: unknown) => {
      expect(String(error)).toMatch(/full|no space/i);
    });
    expect(fleet.containers("rock")).toEqual(rocks);
    await clear();
    if ((await fleet.on(machine, "status")).code !== 0) await fleet.lab("start-agent", machine);
    await fleet.untilExactly(machine, "rock", 3, 30_000);
    expect(fleet.containers("rock")).toEqual(rocks);
    await untilTalks();
    const restarts = (await fleet.inspect(machine, "rock")).replicas.map((replica) => replica.restarts);
    expect(restarts).toEqual([0, 0, 0]);
  }, 120_000);

  async function untilTalks(): Promise<void> {
    const lastLine = async (): Promise<string | undefined> =>
      (await fleet.on(machine, "logs", "talk", "--tail", "1")).out.trim().split("\n").at(-1);
    const before = await lastLine();
    await until("its log goes on", 20_000, async () => {
      const now = await lastLine();
      return now !== undefined && now !== "" && now !== before ? undefined : `still ${before}`;
    });
  }
});
