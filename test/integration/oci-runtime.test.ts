import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { shiftedDirectory } from "../../src/adapters/runtimes/oci/shifted-mounts.ts";
import { defined } from "../../src/model/assert.ts";
import type { OciRuntime } from "../../src/adapters/runtimes/oci/oci-runtime.ts";
import { hasThreads } from "../../src/adapters/runtimes/oci/processes.ts";
import {
  RuntimeError,
  type ContainerSpec,
  type ContainerStatus,
  type ExecSession,
} from "../../src/ports/container-runtime.ts";
import { eventually } from "../contract/eventually.ts";
import { canRun, containerPrograms } from "./machine-needs.ts";
import { makeOciRig, type OciRig } from "./oci-rig.ts";

const runsHere = canRun("oci runtime on this machine", containerPrograms);
const forever = ["/bin/sleep", "100000"];

describe.if(runsHere)("oci runtime on this machine", () => {
  let rig: OciRig;
  let runtime: OciRuntime;

  beforeEach(() => {
    rig = makeOciRig();
    runtime = rig.open();
  });
  afterEach(async () => {
    await runtime.close();
    await rig.dispose();
    expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(rig.directory);
    expect(cgroupsLeft(rig)).toEqual([]);
  });

  const start = async (spec: ContainerSpec): Promise<void> => {
    await runtime.create(spec);
    await runtime.start(spec.id);
  };
  const ended = (id: string): Promise<ContainerStatus> =>
    eventually(`${id} ended`, async () => {
      const status = (await runtime.list()).find((each) => each.id === id);
      return status?.phase === "exited" || status?.phase === "unknown" ? status : undefined;
    });
  const linesOf = async (id: string): Promise<string[]> => {
    const lines: string[] = [];
    const options = { follow: false, signal: new AbortController().signal };
    for await (const line of runtime.logs(id, options)) lines.push(line.text);
    return lines;
  };
  /** What a shell script printed, run as a container of its own. */
  const outputOf = async (script: string, changes: Partial<ContainerSpec> = {}): Promise<string[]> => {
    const spec = { ...rig.spec("script", ["/bin/sh", "-c", script]), ...changes };
    await start(spec);
    await ended("script");
    return linesOf("script");
  };

  describe("what the program finds", () => {
    test("hostname, environment, working directory, arguments as they are", async () => {
      const lines = await outputOf('hostname; echo "$GREETING"; pwd; cat /etc/hosts; echo "$PATH"', {
        env: ["GREETING=$(echo no) 'quoted' \"twice\"\ttab"],
        hostname: "web-3",
        workingDirectory: "/made/for/it",
        addresses: ["fd00::7", "10.210.0.7"],
      });
      expect(lines).toContain("web-3");
      expect(lines).toContain("$(echo no) 'quoted' \"twice\"\ttab");
      expect(lines).toContain("/made/for/it");
      expect(lines).toContain("fd00::7 web-3");
      expect(lines).toContain("10.210.0.7 web-3");
      expect(lines.at(-1)).toContain("/usr/bin");
    });

    test("a named user with the groups of the image", async () => {
      expect(await outputOf("id -u; id -g; id -G; env", { user: "alice" })).toEqual(
        expect.arrayContaining(["1000", "1001", "1001 29", "HOME=/home/alice"]),
      );
    });

    test("numbers need no entry in the image", async () => {
      expect(await outputOf("id -u; id -g", { user: "4242:77" })).toEqual(["4242", "77"]);
    });

    test("a user that the image does not have is a bad command", async () => {
      const error = await rejection(runtime.create({ ...rig.spec("nobody", forever), user: "mallory" }));
      expect(error.info).toMatchObject({ code: "bad-command" });
      expect(error.message).toContain("mallory");
      expect(await runtime.list()).toEqual([]);
    });

    test("few privileges, and the machine out of reach", async () => {
      const lines = await outputOf(
        [
          "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status || cat /proc/self/status",
          "echo 1 2>&1 > /proc/sys/vm/swappiness || echo sysctl refused",
          "cat /proc/kcore | head -c 1 | busybox wc -c",
          "mount -t tmpfs none /tmp 2>&1 || echo mount refused",
          "ls /sys/firmware | busybox wc -l",
          "busybox mkdir /sys/fs/cgroup/pids/x 2>&1 || echo cgroup refused",
        ].join("; "),
      );
      const text = lines.join("\n");
      expect(text).toMatch(/CapEff:\s*00000000a80425fb/);
      expect(text).toMatch(/NoNewPrivs:\s*1/);
      expect(text).toMatch(/Seccomp:\s*2/);
      for (const what of ["sysctl", "mount", "cgroup"]) expect(text).toContain(`${what} refused`);
      expect(lines.filter((line) => line === "0").length).toBe(2);
    });

    test("a user file behind a link that leaves the image is not read", async () => {
      const layer = join(rig.directory, "hostile");
      mkdirSync(join(layer, "etc"), { recursive: true });
      symlinkSync("/../../../../../../../../etc/passwd", join(layer, "etc/passwd"));
      const spec = { ...rig.spec("hostile", forever), layers: [rig.layer, layer], user: "daemon" };
      expect((await rejection(runtime.create(spec))).info.code).toBe("bad-command");
    });
  });

  test("writes stay in the container's own layer", async () => {
    await outputOf("echo changed > /etc/group; echo new > /fresh");
    expect(readFileSync(join(rig.layer, "etc/group"), "utf8")).toContain("audio");
    expect(existsSync(join(rig.layer, "fresh"))).toBe(false);
  });

  test("150 layers with long and odd names", async () => {
    const layers = Array.from({ length: 150 }, (_, index) => {
      const layer = join(rig.directory, `${"long-name-".repeat(8)}:,${index}`);
      mkdirSync(layer);
      writeFileSync(join(layer, "which"), `${index}\n`);
      return layer;
    });
    expect(await outputOf("cat /which", { layers: [rig.layer, ...layers] })).toEqual(["149"]);
  });

  test("limits reach the kernel, and a death for want of memory is told apart", async () => {
    const hungry = "busybox head -c 100000000 /dev/zero | busybox tail -c 99999999 > /dev/null; exit 5";
    const spec = rig.spec("hungry", [
      "/bin/sh",
      "-c",
      `exec busybox awk 'BEGIN { for (;;) s = s s "xxxxxxxx" }'; ${hungry}`,
    ]);
    await runtime.create({ ...spec, cpuMillis: 250, memoryBytes: 32 * 1024 * 1024 });
    const group = `${rig.options.cgroupParent}/hungry`;
    expect(limit(["memory", "memory.limit_in_bytes"], ["", "memory.max"], group)).toBe("33554432");
    expect(limit(["cpu", "cpu.cfs_quota_us"], ["", "cpu.max"], group).split(" ")[0]).toBe("25000");
    expect(limit(["pids", "pids.max"], ["", "pids.max"], group)).toBe(String(rig.options.pidsMax));
    await runtime.start("hungry");
    expect(await ended("hungry")).toMatchObject({ exitCode: 137, oomKilled: true });
    await start(rig.spec("killed", forever));
    await runtime.signal("killed", 9);
    expect(await ended("killed")).toMatchObject({ exitCode: 137, oomKilled: false });
  });

  test("long lines come in parts of 16 KiB, empty ones as they are", async () => {
    const lines = await outputOf("head -c 40000 /dev/zero | busybox tr '\\0' x; echo; echo; echo end");
    expect(lines.map((line) => line.length)).toEqual([16384, 16384, 7232, 0, 3]);
  });

  test("a log that reaches its limit starts anew, and a follower goes on", async () => {
    await runtime.close();
    runtime = rig.open({ logBytesMax: 20_000 });
    await runtime.create(
      rig.spec("chatty", ["/bin/sh", "-c", "for i in $(seq 1 2000); do echo line $i; done; echo end"]),
    );
    const abort = new AbortController();
    const following = (async () => {
      for await (const line of runtime.logs("chatty", { follow: true, signal: abort.signal }))
        if (line.text === "end") return true;
      return false;
    })();
    await runtime.start("chatty");
    expect(await following).toBe(true);
    expect(readFileSync(join(rig.options.root, "containers/chatty/log")).length).toBeLessThan(25_000);
  });

  describe("exec", () => {
    beforeEach(async () => {
      await start({ ...rig.spec("box", forever), env: ["BASE=1"] });
    });

    test("streams apart, environment added to the container's, another user and directory", async () => {
      const session = await runtime.exec("box", {
        args: ["/bin/sh", "-c", 'echo "$BASE$MORE"; id -u; pwd; echo oh >&2; exit 3'],
        env: ["MORE=2"],
        user: "alice",
        workingDirectory: "/etc",
      });
      const { stdout, stderr } = await drain(session);
      expect(stdout).toBe("12\n1000\n/etc\n");
      expect(stderr).toBe("oh\n");
      expect(await session.exitCode).toBe(3);
      expect(
        readdirSync(join(rig.options.root, "containers/box")).filter((name) => name.startsWith("exec")),
      ).toEqual([]);
    });

    test("a terminal with size, input and exit code", async () => {
      const session = await runtime.exec("box", {
        args: ["/bin/sh"],
        env: [],
        terminal: { columns: 91, rows: 33 },
      });
      await session.write(new TextEncoder().encode("tty; stty size; exit 6\n"));
      const { stdout } = await drain(session);
      expect(stdout).toContain("/dev/pts/");
      // runc changes the inner terminal's settings while the shell does: whoever is later decides on a second, invisible return.
      expect(stdout).toMatch(/33 91\r{1,2}\n/);
      expect(await session.exitCode).toBe(6);
    });

    test("what cannot be executed ends with the shell's codes, and says why", async () => {
      const missing = await runtime.exec("box", { args: ["/bin/none"], env: [] });
      expect((await drain(missing)).stderr).toContain("/bin/none");
      expect(await missing.exitCode).toBe(127);
      const data = await runtime.exec("box", { args: ["/etc/passwd"], env: [] });
      expect((await drain(data)).stderr).toMatch(/permission denied/i);
      expect(await data.exitCode).toBe(126);
      const terminal = { columns: 80, rows: 25 };
      const shown = await runtime.exec("box", { args: ["none"], env: [], terminal });
      expect((await drain(shown)).stdout).toContain("none");
      expect(await shown.exitCode).toBe(127);
    });

    test("a megabyte each way", async () => {
      const session = await runtime.exec("box", { args: ["/bin/cat"], env: [] });
      const sent = new Uint8Array(1024 * 1024).fill(65);
      const writing = session.write(sent).then(() => session.closeInput());
      const { stdout } = await drain(session);
      await writing;
      expect(stdout.length).toBe(sent.length);
    });
  });

  test("a container whose monitor was killed is unknown although it runs, and that is told; removing ends it", async () => {
    await start(rig.spec("orphan", forever));
    const pid = defined((await runtime.list())[0]?.pid, "a process");
    const seen: ContainerStatus[] = [];
    runtime.watch((status) => seen.push(status));
    const monitor = Number(readFileSync(join(rig.options.root, "containers/orphan/conmon.pid"), "utf8"));
    process.kill(monitor, "SIGKILL");
    const told = await eventually("the loss told", async () => seen[0]);
    expect(told).toMatchObject({ id: "orphan", phase: "unknown", pid });
    expect(hasThreads(pid)).toBe(true);
    expect((await ended("orphan")).phase).toBe("unknown");
    await runtime.remove("orphan");
    // Whether its remains are reaped is up to the machine's first process.
    expect(hasThreads(pid)).toBe(false);
    expect(await runtime.list()).toEqual([]);
  });

  test("whatever an agent leaves that is killed while it creates can be removed", async () => {
    const script = new URL("./oci-create-victim.ts", import.meta.url).pathname;
    const volume = join(rig.directory, "volume");
    mkdirSync(volume);
    writeFileSync(join(volume, "kept"), "kept\n");
    const everything: Partial<ContainerSpec> = {
      userNamespace: true,
      sandbox: "replica-1",
      mounts: [{ kind: "bind", source: volume, target: "/v", readOnly: false }],
      files: [{ path: "/f", content: "x", mode: 0o600 }],
    };
    for (let round = 0; round < 24; round += 1) {
      const changes = JSON.stringify(round % 2 === 0 ? {} : everything);
      const victim = Bun.spawn(
        [process.execPath, script, JSON.stringify(rig.options), rig.layer, `v-${round}`, changes],
        {
          stdio: ["ignore", "pipe", "inherit"],
        },
      );
      const reader = victim.stdout.getReader();
      await reader.read();
      // The rounds spread over the steps of one create, which takes some 50 to 100 ms.
      await Bun.sleep(round * 4);
      victim.kill("SIGKILL");
      await victim.exited;
      for (const { id } of await runtime.list()) await runtime.remove(id);
      expect(await runtime.list()).toEqual([]);
      expect(readdirSync(join(rig.options.root, "runtime"))).toEqual([]);
      expect(readdirSync(join(rig.options.root, "exits"))).toEqual([]);
      expect(processesNaming(rig.options.root)).toEqual([]);
      await runtime.close();
      runtime = rig.open();
      expect(readdirSync(join(rig.options.root, "sandboxes"))).toEqual([]);
      expect(existsSync(dirname(shiftedDirectory(join(rig.options.root, "containers/any"))))).toBe(false);
      expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(rig.directory);
    }
    expect(readFileSync(join(volume, "kept"), "utf8")).toBe("kept\n");
  }, 60_000);

  test("a half made container gives way to a new create", async () => {
    await runtime.list();
    const directory = join(rig.options.root, "containers/half");
    mkdirSync(join(directory, "upper"), { recursive: true });
    writeFileSync(join(directory, "meta.json"), '{"labels": {"promise"');
    expect(await runtime.list()).toMatchObject([{ id: "half", phase: "unknown", labels: {} }]);
    await start(rig.spec("half", forever));
    expect((await runtime.list())[0]?.phase).toBe("running");
  });

  test("a container is made by the runtime that it names, by path too, and stays with that one", async () => {
    const path = defined(Bun.which("crun"), "crun");
    await start({ ...rig.spec("other", forever), runtime: path });
    await start(rig.spec("usual", forever));
    expect(readdirSync(join(rig.options.root, "runtime/other"))).toContain("config.json");
    await runtime.close();
    runtime = rig.open({ runtimePath: "crun" });
    const session = await runtime.exec("usual", { args: ["/bin/true"], env: [] });
    expect(await session.exitCode).toBe(0);
    for (const { id, phase } of await runtime.list()) {
      expect(phase).toBe("running");
      await runtime.remove(id);
    }
    const error = await rejection(runtime.create({ ...rig.spec("x", forever), runtime: "../runc" }));
    expect(error.info.code).toBe("unavailable");
    expect(readdirSync(join(rig.options.root, "runtime"))).toEqual([]);
  });

  test("a missing runtime is unavailable, by name", async () => {
    const lame = rig.open({ runtimePath: "no-such-runc" });
    const error = await rejection(lame.create(rig.spec("x", forever)));
    expect(error.info.code).toBe("unavailable");
    expect(error.message).toContain("no-such-runc");
    await lame.close();
  });
});

async function rejection(attempt: Promise<unknown>): Promise<RuntimeError> {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof RuntimeError) return error;
    throw error;
  }
  throw new Error("expected a RuntimeError, and it succeeded");
}

async function drain(session: ExecSession): Promise<{ stdout: string; stderr: string }> {
  const text = { stdout: "", stderr: "" };
  const decoder = new TextDecoder();
  for await (const chunk of session.output) text[chunk.stream] += decoder.decode(chunk.data);
  return text;
}

/** A control group's file: version 1 keeps it in a controller's own tree. */
function limit(v1: readonly [string, string], v2: readonly [string, string], group: string): string {
  const isV1 = existsSync("/sys/fs/cgroup/memory");
  const [tree, file] = isV1 ? v1 : v2;
  return readFileSync(join("/sys/fs/cgroup", tree, group, file), "utf8").trim();
}

function cgroupsLeft(rig: OciRig): string[] {
  return ["", ...readdirSync("/sys/fs/cgroup")]
    .map((tree) => join("/sys/fs/cgroup", tree, rig.options.cgroupParent))
    .filter((path) => existsSync(path));
}

function processesNaming(path: string): string[] {
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(path);
      } catch {
        return false;
      }
    });
}
