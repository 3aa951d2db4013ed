/** The lab itself: machines that boot, lose power and vanish, whatever happens to the commands around them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { binaryPath, buildIfOld, missingTools, mustRun, run, until } from "./binary.ts";

const missing = missingTools();
if (missing.length > 0) console.log(`skipped, not on this machine: ${missing.join(", ")}`);

const name = "e2elab";

function leftovers(): readonly string[] {
  const marked = readdirSync("/proc").filter((pid) => {
    try {
      return (
        /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(`muster-machine=${name}/`)
      );
    } catch {
      return false;
    }
  });
  const namespaces = existsSync("/run/netns")
    ? readdirSync("/run/netns").filter((one) => one.startsWith(`muster-${name}-`))
    : [];
  const trees = ["", ...readdirSync("/sys/fs/cgroup")].map((tree) =>
    join("/sys/fs/cgroup", tree, `muster-${name}`),
  );
  return [...marked, ...namespaces, ...trees.filter((path) => existsSync(path))];
}

describe.skipIf(missing.length > 0)("lab", () => {
  let directory = "";
  const lab = (command: string, ...args: readonly string[]) =>
    run([binaryPath, "lab", command, "--name", name, "--dir", join(directory, "lab"), ...args]);
  const mustLab = (command: string, ...args: readonly string[]) =>
    mustRun([binaryPath, "lab", command, "--name", name, "--dir", join(directory, "lab"), ...args]);
  const statusOf = async (machine: string) => {
    const all: readonly { name: string; power: string; agent: string; cutFrom: readonly string[] }[] =
      JSON.parse(await mustLab("status", "--json"));
    return all.find((one) => one.name === machine);
  };

  beforeAll(async () => {
    await buildIfOld();
    directory = await mkdtemp(join(tmpdir(), "muster-e2e-lab-"));
    await lab("down");
  }, 60_000);
  afterAll(async () => {
    await lab("down");
    await rm(directory, { recursive: true, force: true });
  }, 30_000);

  test("makes nothing without being told which, and says what to do", async () => {
    const { code, errors } = await lab("status");
    expect(code).toBe(1);
    expect(errors).toContain("start one with: muster lab up");
    expect((await lab("up", "0")).code).toBe(2);
    expect((await lab("up", "65")).code).toBe(2);
    expect(leftovers()).toEqual([]);
  });

  test("machines outlive the command that made them, lose power and come back", async () => {
    await mustLab("up", "2");
    expect(await statusOf("n1")).toMatchObject({ power: "on", agent: "running" });
    const again = await lab("up", "2", "--json");
    expect(again.code).toBe(1);
    expect(JSON.parse(again.errors).problem.code).toBe("already-exists");

    const elsewhere = await run([
      binaryPath,
      "lab",
      "up",
      "1",
      "--name",
      name,
      "--dir",
      join(directory, "other"),
    ]);
    expect(elsewhere.code).toBe(1);
    expect(elsewhere.errors).toContain(`muster lab down --name ${name}`);

    // The machine has its own first process, name, /run and network, and sees the control groups.
    const seen = await mustLab(
      "exec",
      "n2",
      "--",
      "sh",
      "-c",
      "hostname; ls /run; ls -d /sys/fs/cgroup/*/ | head -1; cat /proc/1/comm",
    );
    expect(seen).toMatch(/^n2\n(.*\n)*\/sys\/fs\/cgroup\/.*\nsh\n$/);
    expect(await mustLab("exec", "n2", "--", "muster", "nodes")).toContain("n2 *");
    expect((await lab("exec", "n2", "--", "sh", "-c", "exit 7")).code).toBe(7);
    await mustLab(
      "exec",
      "n2",
      "--",
      "sh",
      "-c",
      "mkdir /run/mounted; mount -t tmpfs none /run/mounted; touch /run/marker",
    );

    // What daemonises is adopted and reaped by the machine's first process.
    await mustLab("exec", "n2", "--", "sh", "-c", "(setsid sh -c 'sleep 0' &) ; true");
    await until("no zombies", 5_000, async () => {
      const states = await mustLab(
        "exec",
        "n2",
        "--",
        "sh",
        "-c",
        "cat /proc/[0-9]*/stat 2>/dev/null | cut -d')' -f2 | cut -c2 | sort | uniq -c",
      );
      return states.includes("Z") ? states : undefined;
    });

    await mustLab("kill", "n2");
    expect(await statusOf("n2")).toMatchObject({ power: "off", agent: "stopped" });
    expect((await lab("kill", "n2")).errors).toContain("muster lab start n2");
    expect((await lab("exec", "n2", "--", "true")).code).toBe(1);
    await mustLab("start", "n2");
    expect(await statusOf("n2")).toMatchObject({ power: "on", agent: "running" });
    expect(await mustLab("exec", "n2", "--", "ls", "/run")).not.toContain("marker");
    expect((await lab("start", "n2")).code).toBe(1);
  }, 60_000);

  test("the agent alone dies and comes back", async () => {
    await mustLab("kill-agent", "n1");
    expect(await statusOf("n1")).toMatchObject({ power: "on", agent: "stopped" });
    expect((await lab("kill-agent", "n1")).code).toBe(1);
    await mustLab("start-agent", "n1");
    expect(await statusOf("n1")).toMatchObject({ power: "on", agent: "running" });
    expect((await lab("start-agent", "n1")).code).toBe(1);
  }, 30_000);

  test("links are cut and healed", async () => {
    const reaches = async (): Promise<boolean> =>
      (await lab("exec", "n1", "--", "timeout", "0.3", "bash", "-c", ": </dev/tcp/10.99.0.2/7440")).code ===
      0;
    expect(await reaches()).toBe(true);
    await mustLab("cut", "n1", "n2");
    expect(await statusOf("n2")).toMatchObject({ cutFrom: ["n1"] });
    expect(await reaches()).toBe(false);
    await mustLab("heal", "n2", "n1");
    await until("healed", 5_000, async () => ((await reaches()) ? undefined : "cut"));
    await mustLab("cut", "n2");
    expect(await statusOf("n1")).toMatchObject({ cutFrom: ["n2"] });
    await mustLab("heal");
    expect(await statusOf("n1")).toMatchObject({ cutFrom: [] });
    expect((await lab("cut", "n9")).errors).toContain("it has n1, n2");
  }, 30_000);

  test("down leaves nothing, and twice is harmless", async () => {
    await mustLab("down");
    expect(leftovers()).toEqual([]);
    expect(existsSync(join(directory, "lab"))).toBe(false);
    expect(await mustLab("down")).toContain("there was no lab");
  }, 30_000);

  test("down takes away what a killed up had made, at any moment of it", async () => {
    for (const delayMs of [15, 40, 70, 110, 160, 250, 400]) {
      const up = Bun.spawn([binaryPath, "lab", "up", "2", "--name", name, "--dir", join(directory, "lab")], {
        stdio: ["ignore", "ignore", "ignore"],
      });
      await Bun.sleep(delayMs);
      up.kill("SIGKILL");
      await up.exited;
      await mustLab("down");
      expect(leftovers()).toEqual([]);
      expect(existsSync(join(directory, "lab"))).toBe(false);
    }
  }, 60_000);
});
