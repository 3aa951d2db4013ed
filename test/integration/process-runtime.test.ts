/** What only the process runtime does, on the real machine. The contract it shares is in test/contract. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import type { ProcessRuntime } from "../../src/adapters/runtimes/process/process-runtime.ts";
import { RuntimeError, type ContainerSpec, type ContainerStatus } from "../../src/ports/container-runtime.ts";
import { eventually } from "../contract/eventually.ts";
import { canRun } from "./machine-needs.ts";
import { makeProcessRig, processPrograms, type ProcessRig } from "./process-rig.ts";

if (canRun("process runtime", [...processPrograms, "ip", "setpriv", "awk"]))
  describe("process runtime", () => {
    let rig: ProcessRig;
    let runtime: ProcessRuntime;
    beforeEach(() => {
      rig = makeProcessRig();
      runtime = rig.open();
    });
    afterEach(async () => {
      await runtime.close();
      await rig.dispose();
      expect(groupsLeft(rig)).toEqual([]);
    });

    const ended = (id: string): Promise<ContainerStatus> =>
      eventually(`${id} ended`, async () => {
        const status = (await runtime.list()).find((one) => one.id === id);
        return status?.phase === "exited" ? status : undefined;
      });
    const run = async (spec: ContainerSpec): Promise<void> => {
      await runtime.create(spec);
      await runtime.start(spec.id);
    };
    /** What a script prints until it ends. */
    const printed = async (
      script: string,
      changes: Partial<ContainerSpec> = {},
    ): Promise<readonly string[]> => {
      await run({ ...rig.spec("printer", ["/bin/sh", "-c", script]), ...changes });
      await ended("printer");
      const lines: string[] = [];
      const options = { follow: false, signal: new AbortController().signal };
      for await (const { text } of runtime.logs("printer", options)) lines.push(text);
      return lines;
    };

    test("environment, directory and user are what was asked for, and nothing of the agent's", async () => {
      const lines = await printed("env; pwd; id -u; id -g; umask", {
        env: ["GREETING=hello world", "PATH=/usr/bin:/bin"],
        workingDirectory: "/usr",
        user: "daemon",
      });
      expect(lines).toContain("GREETING=hello world");
      expect(lines).toContain("HOSTNAME=rig");
      expect(lines.filter((line) => /^(_OCI|BUN_|MUSTER)/.test(line))).toEqual([]);
      expect(lines.slice(-4)).toEqual(["/usr", "1", "1", "0022"]);
    });

    test("signals, descriptors, session and input are those of a fresh program", async () => {
      const lines = await printed(
        "grep -E '^(SigIgn|SigBlk|NoNewPrivs|CapBnd|CapEff)' /proc/self/status; readlink /proc/self/fd/0; " +
          "ls /proc/self/fd | wc -l; cut -d' ' -f1,6 /proc/$$/stat; cat | wc -c; cat /proc/self/oom_score_adj",
      );
      const text = lines.join("\n");
      expect(text).toMatch(/SigBlk:\s*0{16}/);
      expect(text).toMatch(/SigIgn:\s*0{16}/);
      expect(text).toMatch(/NoNewPrivs:\s*1/);
      expect(text).toMatch(/CapBnd:\s*00000000a80425fb/);
      expect(text).toMatch(/CapEff:\s*00000000a80425fb/);
      // Descriptors 0 to 2, and the one that ls has open on the directory.
      expect(lines).toContain("4");
      const [pid, session] = (lines.find((line) => /^\d+ \d+$/.test(line)) ?? "").split(" ");
      expect(session).toBe(pid ?? "");
      expect(lines.slice(-2)).toEqual(["0", "0"]);
    });

    test("limits reach the kernel, and a death for want of memory is told apart", async () => {
      await runtime.create({
        ...rig.spec("hungry", ["awk", 'BEGIN { for (;;) s = s s "xxxxxxxx" }']),
        cpuMillis: 250,
        memoryBytes: 16 * 1024 * 1024,
        pids: 7,
      });
      const group = `${rig.options.cgroupParent}/hungry`;
      expect(limit("memory/memory.limit_in_bytes", "memory.max", group)).toBe("16777216");
      expect(limit("cpu/cpu.cfs_quota_us", "cpu.max", group).split(" ")[0]).toBe("25000");
      expect(limit("pids/pids.max", "pids.max", group)).toBe("7");
      await runtime.start("hungry");
      expect(await ended("hungry")).toMatchObject({ exitCode: 137, oomKilled: true });
    });

    test("the network that is given is the program's, and exec's beside it", async () => {
      const name = basename(rig.directory);
      await Bun.$`ip netns add ${name}`.quiet();
      try {
        await run({
          ...rig.spec("netted", ["sleep", "1000"]),
          networkNamespace: `/run/netns/${name}`,
        });
        const session = await runtime.exec("netted", { args: ["ip", "-o", "link"], env: [] });
        let text = "";
        for await (const { data } of session.output) text += new TextDecoder().decode(data);
        expect(await session.exitCode).toBe(0);
        expect(text.trim().split("\n").length).toBe(1);
        expect(text).toContain("lo:");
        await runtime.remove("netted");
      } finally {
        await Bun.$`ip netns delete ${name}`.quiet();
      }
    });

    test("exec has a terminal with its size, another user, and the container's limits", async () => {
      await run({ ...rig.spec("box", ["sleep", "1000"]), env: ["BASE=1"] });
      const session = await runtime.exec("box", {
        args: ["/bin/sh", "-c", 'stty size; echo "$BASE$MORE"; id -u; cat /proc/self/cgroup'],
        env: ["MORE=2"],
        user: "daemon",
        terminal: { columns: 91, rows: 33 },
      });
      let text = "";
      for await (const { data } of session.output) text += new TextDecoder().decode(data);
      expect(text).toContain("33 91\r\n12\r\n1\r\n");
      expect(text).toContain(`${rig.options.cgroupParent}/box`);
      expect(await session.exitCode).toBe(0);
    });

    test("SIGINT ends what does not catch it, and the code says so", async () => {
      await run(rig.spec("plain", ["sleep", "1000"]));
      await runtime.signal("plain", 2);
      expect((await ended("plain")).exitCode).toBe(130);
    });

    test("what takes a file tree of its own is refused by name", async () => {
      const spec = rig.spec("x", ["sleep", "1"]);
      const files = [{ path: "/etc/x", content: "", mode: 0o644 }];
      expect((await refusal(runtime.create({ ...spec, files }))).message).toContain("files cannot be given");
      const missing = await refusal(runtime.create({ ...spec, workingDirectory: "/no/such" }));
      expect(missing.message).toContain("/no/such");
      const nobody = await refusal(runtime.create({ ...spec, user: "no-such-user" }));
      expect(nobody.message).toContain("on this machine");
      for (const { info } of [missing, nobody]) expect(info.code).toBe("bad-command");
    });

    test("a group that was taken away while nothing ran in it is made again", async () => {
      await runtime.create({ ...rig.spec("late", ["sleep", "1000"]), pids: 9 });
      for (const path of groupsLeft(rig)) await Bun.$`rmdir ${path}/late`.quiet();
      await runtime.start("late");
      expect((await runtime.list())[0]).toMatchObject({ phase: "running" });
      expect(limit("pids/pids.max", "pids.max", `${rig.options.cgroupParent}/late`)).toBe("9");
    });

    test("capabilities are dropped and added by name", async () => {
      const effective = "grep -E '^Cap(Eff|Bnd)' /proc/self/status";
      const lines = await printed(effective, { capabilities: { add: ["NET_ADMIN"], drop: ["ALL"] } });
      expect(lines.map((line) => line.split(/\s+/)[1])).toEqual(["0000000000001000", "0000000000001000"]);
      const spec = { ...rig.spec("x", ["sleep", "1"]), capabilities: { add: ["NO_SUCH"], drop: [] } };
      expect((await refusal(runtime.create(spec))).message).toContain("NO_SUCH");
    });

    test("output is kept in as many files as were asked for", async () => {
      const lines =
        "i=0; while [ $i -lt 6000 ]; do i=$((i+1)); echo line $i; [ $((i % 500)) -ne 0 ] || sleep 0.1; done";
      const kept = await printed(lines, { logs: { fileBytes: 64 * 1024, files: 3 } });
      expect(kept.at(-1)).toBe("line 6000");
      const directory = join(rig.options.root, "containers/printer");
      const files = readdirSync(directory).filter((name) => /^log(\.\d+)?$/.test(name));
      expect(files.toSorted()).toEqual(["log", "log.1", "log.2"]);
      expect(kept.length).toBeLessThan(6_000);
      expect(kept).toEqual(kept.map((_line, at) => `line ${6_000 - kept.length + at + 1}`));
    });

    test("its keeper weighs little, and the launcher is gone", async () => {
      await run(rig.spec("light", ["sleep", "1000"]));
      const directory = join(rig.options.root, "containers/light");
      const monitor = Number(readFileSync(join(directory, "conmon.pid"), "utf8"));
      const own = /^Pss:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${monitor}/smaps_rollup`, "utf8"))?.[1];
      expect(Number(own)).toBeLessThan(2_048);
      const naming = readdirSync("/proc").filter(
        (pid) => /^\d+$/.test(pid) && commandOf(pid).includes(join(directory, "config.json")),
      );
      expect(naming.map(Number)).toEqual([monitor]);
    });
  });

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

async function refusal(attempt: Promise<unknown>): Promise<RuntimeError> {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof RuntimeError) return error;
    throw error;
  }
  throw new Error("expected a RuntimeError, and it succeeded");
}

/** A control group's file: version 1 keeps it in a controller's own tree. */
function limit(v1: string, v2: string, group: string): string {
  const [tree = "", file = ""] = v1.split("/");
  const path = existsSync("/sys/fs/cgroup/memory")
    ? join("/sys/fs/cgroup", tree, group, file)
    : join("/sys/fs/cgroup", group, v2);
  return readFileSync(path, "utf8").trim();
}

function groupsLeft(rig: ProcessRig): string[] {
  return ["", ...readdirSync("/sys/fs/cgroup")]
    .map((tree) => join("/sys/fs/cgroup", tree, rig.options.cgroupParent))
    .filter((path) => existsSync(path));
}
