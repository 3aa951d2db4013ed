/** What a specification grants and refuses, seen from inside containers of every OCI runtime that is installed. */
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { shiftedDirectory } from "../../src/adapters/runtimes/oci/shifted-mounts.ts";
import type { OciRuntime } from "../../src/adapters/runtimes/oci/oci-runtime.ts";
import {
  RuntimeError,
  type ContainerSpec,
  type ContainerStatus,
  type ExecSession,
} from "../../src/ports/container-runtime.ts";
import { eventually } from "../contract/eventually.ts";
import { canRun, containerPrograms, ociPrograms } from "./machine-needs.ts";
import { makeOciRig, type OciRig } from "./oci-rig.ts";

const forever = ["/bin/sleep", "100000"];

// A gVisor sandbox takes hundreds of milliseconds to begin and to end.
setDefaultTimeout(30_000);

for (const program of ociPrograms()) {
  /** gVisor has a kernel of its own in each container, with some things less to see. */
  const isSandbox = program === "runsc";
  const what = `confinement by ${program}`;
  describe.if(canRun(what, [...containerPrograms, program]))(what, () => {
    let rig: OciRig;
    let runtime: OciRuntime;

    beforeEach(() => {
      rig = makeOciRig();
      runtime = rig.open({ runtimePath: program });
    });
    afterEach(async () => {
      await runtime.close();
      await rig.dispose();
      expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(rig.directory);
      expect(existsSync(dirname(shiftedDirectory(join(rig.options.root, "containers/any"))))).toBe(false);
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
    let scripts = 0;
    /** What a shell script printed, run as a container of its own. */
    const outputOf = async (script: string, changes: Partial<ContainerSpec> = {}): Promise<string> => {
      const id = `script-${(scripts += 1)}`;
      await start({ ...rig.spec(id, ["/bin/sh", "-c", `{ ${script}\n} 2>&1`]), ...changes });
      await ended(id);
      const options = { follow: false, signal: new AbortController().signal };
      let text = "";
      for await (const line of runtime.logs(id, options)) text += `${line.text}\n`;
      return text;
    };
    const createError = async (changes: Partial<ContainerSpec>): Promise<RuntimeError> => {
      const error = await rejection(runtime.create({ ...rig.spec("refused", forever), ...changes }));
      expect((await runtime.list()).filter(({ id }) => id === "refused")).toEqual([]);
      return error;
    };
    const directory = (name: string): string => {
      const path = join(rig.directory, name);
      mkdirSync(path, { recursive: true });
      return path;
    };
    const held = "busybox grep -E '^Cap(Eff|Bnd):' /proc/self/status";

    // Lowering one's own takes CAP_SYS_RESOURCE, which not every root has.
    for (const [own, inside] of [
      ["-500", "0"],
      ["300", "300"],
    ] as const)
      test.if(!isSandbox && (own !== "-500" || canGuard()))(
        `an agent at ${own} for the out-of-memory killer has containers at ${inside}`,
        async () => {
          const path = "/proc/self/oom_score_adj";
          const before = readFileSync(path, "utf8");
          writeFileSync(path, own);
          try {
            const guarded = rig.open({ runtimePath: program });
            const spec = rig.spec("guarded", ["/bin/busybox", "cat", path]);
            await guarded.create(spec);
            await guarded.start(spec.id);
            await ended(spec.id);
            const lines = await Array.fromAsync(
              guarded.logs(spec.id, { follow: false, signal: new AbortController().signal }),
            );
            expect(lines.map(({ text }) => text)).toEqual([inside]);
            await guarded.close();
          } finally {
            writeFileSync(path, before);
          }
        },
      );

    describe("privileges", () => {
      test("added and dropped; nothing at all", async () => {
        const added = await outputOf(held, { capabilities: { add: ["NET_ADMIN"], drop: ["MKNOD"] } });
        // gVisor takes raw sockets away unless it is told otherwise.
        expect(added).toMatch(isSandbox ? /CapEff:\s*00000000a00415fb/ : /CapEff:\s*00000000a00435fb/);
        const none = await outputOf(`${held}; busybox chown 1 /tmp || echo refused`, {
          capabilities: { add: [], drop: ["ALL"] },
        });
        expect(none).toMatch(/CapBnd:\s*0000000000000000/);
        expect(none).toContain("refused");
      });

      test("all: as many as the agent has, and mounting works", async () => {
        const all = await outputOf(`${held}; mount -t tmpfs none /tmp && echo mounted`, {
          capabilities: { add: ["ALL"], drop: [] },
        });
        const own = /^CapEff:\s*(\S+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
        if (!isSandbox) expect(all).toContain(`CapEff:\t${own}`);
        expect(all).toContain("mounted");
      });

      test("an unknown name is refused before anything is made", async () => {
        const error = await createError({ capabilities: { add: ["FLY"], drop: [] } });
        expect(error.info.code).toBe("bad-spec");
        expect(error.message).toContain("FLY");
      });

      test.if(!isSandbox)("set-user-id programs give nothing unless that is allowed", async () => {
        const script = "busybox grep NoNewPrivs /proc/self/status";
        expect(await outputOf(script)).toMatch(/NoNewPrivs:\s1/);
        expect(await outputOf(script, { allowNewPrivileges: true })).toMatch(/NoNewPrivs:\s0/);
      });

      test("ports below 1024 are for everybody inside", async () => {
        const script = "busybox timeout 1 busybox nc -l -p 80 127.0.0.1; [ $? = 143 ] && echo listened";
        expect(await outputOf(script, { user: "1000" })).toContain("listened");
      });
    });

    describe("the file tree", () => {
      test("a read-only root, with memory to write to", async () => {
        const text = await outputOf(
          "echo x > /new || echo root refused; echo x > /run/y && echo run written; echo x > /dev/shm/z && echo shm written; busybox df -k /run | busybox tail -n 1; mount | busybox grep ' /run '",
          { readOnlyRoot: true, mounts: [{ kind: "tmpfs", target: "/run", sizeBytes: 1024 * 1024 }] },
        );
        expect(text).toContain("root refused");
        expect(text).toContain("run written");
        expect(text).toContain("shm written");
        expect(text).toMatch(/ 1024 /);
        expect(text).toMatch(isSandbox ? /noexec/ : /nosuid,nodev,noexec/);
      });

      test("directories and files of the machine, to write and to read only, with what is mounted below", async () => {
        const data = directory("data");
        const plain = directory("plain");
        writeFileSync(join(plain, "one"), "1\n");
        const mount = (source: string, target: string, readOnly: boolean) =>
          ({ kind: "bind", source, target, readOnly }) as const;
        const text = await outputOf(
          [
            "echo kept > /data/file",
            "cat /ro/one",
            "echo x > /ro/two || echo ro refused",
            "cat /one",
            "echo x > /sys-ro/self/comm || echo below refused",
          ].join("; "),
          {
            mounts: [
              mount(data, "/data", false),
              mount(plain, "/ro", true),
              mount(join(plain, "one"), "/one", true),
              mount("/proc", "/sys-ro", true),
            ],
          },
        );
        expect(readFileSync(join(data, "file"), "utf8")).toBe("kept\n");
        expect(text).toBe("1\n" + text.slice(2));
        expect(text).toContain("ro refused");
        expect(text).toContain("below refused");
        expect(existsSync(join(plain, "two"))).toBe(false);
      });

      test("a source that is not there, a target that is the system's, two at one place: refused with words", async () => {
        const bind = (source: string, target: string) =>
          [{ kind: "bind", source, target, readOnly: false }] as const;
        const missing = await createError({ mounts: bind("/no/such/place", "/data") });
        expect(missing.info.code).toBe("bad-spec");
        expect(missing.message).toContain("/no/such/place");
        for (const target of ["/", "/proc", "/proc/sys", "/sys/kernel", "relative", "/a/../proc", "/dev"])
          expect((await createError({ mounts: bind("/tmp", target) })).info.code).toBe("bad-spec");
        const twice = [...bind("/tmp", "/data"), { kind: "tmpfs", target: "/data", sizeBytes: 0 }] as const;
        expect((await createError({ mounts: twice })).message).toContain("/data");
      });

      test("links of the image lead no mount and no file out of the root", async () => {
        const outside = directory("outside");
        const source = directory("source");
        writeFileSync(join(source, "secret"), "s\n");
        const layer = directory("links");
        symlinkSync(`../../../../../../../../../../../..${outside}`, join(layer, "up"));
        symlinkSync(outside, join(layer, "straight"));
        const changes: Partial<ContainerSpec> = {
          layers: [rig.layer, layer],
          mounts: [{ kind: "bind", source, target: "/up/data", readOnly: false }],
          files: [{ path: "/straight/conf", content: "inside\n", mode: 0o644 }],
        };
        // Links that lead nowhere inside: runc makes what is missing there, crun refuses.
        if (program === "crun") expect((await createError(changes)).info.code).toBe("failed");
        else expect(await outputOf("cat /up/data/secret /straight/conf", changes)).toBe("s\ninside\n");
        expect(readdirSync(outside)).toEqual([]);
      });

      test("declared files: content, mode, read-only, also in place of the node's own", async () => {
        const text = await outputOf(
          "cat /etc/app/a.conf; busybox stat -c '%a %u' /etc/app/a.conf /run.sh; /run.sh; echo x > /run.sh || echo refused; cat /etc/hosts",
          {
            files: [
              { path: "/etc/app/a.conf", content: "a = ü\n", mode: 0o640 },
              { path: "/run.sh", content: "#!/bin/sh\necho ran\n", mode: 0o755 },
              { path: "/etc/hosts", content: "127.0.0.9 mine\n", mode: 0o644 },
            ],
          },
        );
        expect(text).toContain("a = ü\n640 0\n755 0\nran\n");
        expect(text).toContain("refused");
        expect(text).toContain("127.0.0.9 mine");
        expect(text).not.toContain("localhost");
      });
    });

    describe("a sandbox", () => {
      const shared = { sandbox: "replica-7" };

      test("shares IPC, /dev/shm and name between its containers, and goes with the last", async () => {
        const hold = "busybox touch /dev/shm/ready; busybox readlink /proc/self/ns/ipc; exec sleep 100000";
        await start({ ...rig.spec("holder", ["/bin/sh", "-c", hold]), ...shared });
        await eventually("the first is there", async () =>
          existsSync(join(rig.options.root, "sandboxes/replica-7/shm/ready")) ? true : undefined,
        );
        const script = "ls /dev/shm; busybox readlink /proc/self/ns/ipc; hostname";
        const inside = await outputOf(script, shared);
        expect(inside).toContain("ready");
        expect(inside).toContain("rig");
        const alone = await outputOf(script);
        expect(alone).not.toContain("ready");
        if (!isSandbox) expect(/ipc:\[\d+\]/.exec(alone)?.[0]).not.toBe(/ipc:\[\d+\]/.exec(inside)?.[0]);
        await runtime.remove("holder");
        expect(await outputOf(script, shared)).toContain("ready");
        for (const { id } of await runtime.list()) await runtime.remove(id);
        expect(readdirSync(join(rig.options.root, "sandboxes"))).toEqual([]);
      });

      test("what a lost machine leaves of it is made anew", async () => {
        await runtime.list();
        mkdirSync(join(rig.options.root, "sandboxes/replica-7/shm"), { recursive: true });
        writeFileSync(join(rig.options.root, "sandboxes/replica-7/ipc"), "");
        await Promise.all(
          ["one", "two", "three"].map((id) => start({ ...rig.spec(id, forever), ...shared })),
        );
        expect((await runtime.list()).map(({ phase }) => phase)).toEqual(["running", "running", "running"]);
      });

      test("has bounded memory of its own where the data directory is in memory already", async () => {
        await runtime.list();
        const sandboxes = join(rig.options.root, "sandboxes");
        await Bun.$`mount -t tmpfs tmpfs ${sandboxes}`.quiet();
        try {
          await start({ ...rig.spec("one", forever), ...shared });
          const { blocks, bsize } = statfsSync(join(sandboxes, "replica-7/shm"));
          expect(blocks * bsize).toBe(64 * 2 ** 20);
          await runtime.remove("one");
        } finally {
          await Bun.$`umount -l ${sandboxes}`.quiet();
        }
      });
    });

    test.if(isSandbox)("a user namespace is refused: the sandbox has users of its own", async () => {
      expect((await createError({ userNamespace: true })).message).toContain("users of its own");
    });

    describe.if(!isSandbox)("a user namespace", () => {
      const inside = { userNamespace: true, runtime: program };
      const ownerOnMachine = (id: string): string => {
        const pid = readFileSync(join(rig.options.root, "containers", id, "pid"), "utf8").trim();
        return /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "";
      };

      test("root inside is nobody outside, the image is its own, and what it writes goes with it", async () => {
        const script = [
          "id -u; busybox stat -c '%u %g' /bin/busybox /etc/passwd /etc/hosts",
          "echo new: >> /etc/passwd && busybox chown 1000:1001 /etc/passwd && busybox stat -c '%u %g' /etc/passwd",
          "busybox mkdir /made && echo made; cat /etc/hosts | head -n 1; echo x > /dev/null && echo null",
          "echo shm > /dev/shm/x && echo shm; ls /sys/fs/cgroup | head -n 1; busybox chown 70000 /made || echo beyond",
        ].join("; ");
        const text = await outputOf(script, inside);
        expect(text.split("\n").slice(0, 5)).toEqual(["0", "0 0", "0 0", "0 0", "1000 1001"]);
        for (const word of ["made", "localhost", "null", "shm", "beyond"]) expect(text).toContain(word);
        await start({ ...rig.spec("held", forever), ...inside });
        expect(Number(ownerOnMachine("held"))).toBeGreaterThan(1_000_000_000);
        expect(statSync(join(rig.layer, "etc/passwd")).uid).toBe(0);
        expect(readFileSync(join(rig.layer, "etc/passwd"), "utf8")).toContain("alice");
      });

      test("two containers have users of their own, those of one sandbox have the same", async () => {
        const shared = { ...inside, sandbox: "replica-8" };
        await start({ ...rig.spec("one", forever), ...inside });
        await start({ ...rig.spec("two", forever), ...shared });
        await start({ ...rig.spec("three", forever), ...shared });
        expect(ownerOnMachine("one")).not.toBe(ownerOnMachine("two"));
        expect(ownerOnMachine("two")).toBe(ownerOnMachine("three"));
        const word = { args: ["/bin/sh", "-c", "id -u; echo hello > /dev/shm/word"], env: [] };
        const session = await runtime.exec("two", word).catch((error: unknown) => {
          if (error instanceof RuntimeError) return error;
          throw error;
        });
        if (session instanceof RuntimeError) {
          // runc before 1.2.2, which says what to do.
          expect(program).toBe("runc");
          expect(session.message).toContain("crun");
          return;
        }
        expect(await saidBy(session)).toEqual({ exitCode: 0, text: "0\n" });
        const other = await runtime.exec("three", { args: ["cat", "/dev/shm/word"], env: [] });
        expect(await saidBy(other)).toEqual({ exitCode: 0, text: "hello\n" });
      });

      test("where nothing else is asked for, programs can be executed in it", async () => {
        await start({ ...rig.spec("plain", forever), userNamespace: true, sandbox: "replica-9" });
        const session = await runtime.exec("plain", { args: ["/bin/true"], env: [] });
        expect(await session.exitCode).toBe(0);
      });

      test("volumes keep the owners they have inside, and a user of the image can write to its own", async () => {
        const volume = directory("volume");
        writeFileSync(join(volume, "old"), "old\n");
        chownSync(join(volume, "old"), 1000, 1001);
        chownSync(volume, 1000, 1001);
        const text = await outputOf(
          "busybox stat -c '%u' /v/old; echo more >> /v/old; echo new > /v/new; cat /f",
          {
            ...inside,
            user: "alice",
            mounts: [{ kind: "bind", source: volume, target: "/v", readOnly: false }],
            files: [{ path: "/f", content: "literal\n", mode: 0o644 }],
          },
        );
        expect(text).toBe("1000\nliteral\n");
        expect(readFileSync(join(volume, "old"), "utf8")).toBe("old\nmore\n");
        expect(statSync(join(volume, "new")).uid).toBe(1000);
        for (const { id } of await runtime.list()) await runtime.remove(id);
        expect(readFileSync(join(volume, "new"), "utf8")).toBe("new\n");
      });

      test("in a network of the node's making: ports below 1024, and no sight of the machine's own", async () => {
        const network = `muster-userns-${process.pid}`;
        const ip = (...args: string[]) => Bun.spawnSync(["ip", ...args]).exitCode;
        expect(ip("netns", "add", network)).toBe(0);
        try {
          ip("-n", network, "link", "set", "lo", "up");
          const script =
            "busybox timeout 1 busybox nc -l -p 80 127.0.0.1; [ $? = 143 ] && echo listened; ls /sys/class/net | busybox wc -l; ip -o link | busybox wc -l";
          const text = await outputOf(script, { ...inside, networkNamespace: `/run/netns/${network}` });
          expect(text).toContain("listened");
          expect(text.trim().split("\n").slice(-2)).toEqual(["0", "1"]);
        } finally {
          for (const { id } of await runtime.list()) await runtime.remove(id);
          ip("netns", "delete", network);
        }
      });

      test("a directory whose file system cannot shift owners is refused with words", async () => {
        const error = await createError({
          ...inside,
          mounts: [{ kind: "bind", source: "/proc/self", target: "/p", readOnly: true }],
        });
        expect(error.info.code).toBe("bad-spec");
        expect(error.message).toContain("ID-mapped");
      });
    });

    describe("programs that misbehave", () => {
      test.if(!isSandbox)(
        "one that forks without end is stopped by its limit, and the machine is not",
        async () => {
          const text = await outputOf(
            "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; busybox cat /sys/fs/cgroup/pids/pids.current /sys/fs/cgroup/pids.current; echo done",
            { pids: 20 },
          ).catch(() => "");
          expect(text).toMatch(/can't fork|Resource temporarily/);
        },
      );

      test("one that eats memory is killed by the kernel, and that is said", async () => {
        const eat = ["/bin/busybox", "awk", 'BEGIN { for (;;) s = s s "xxxxxxxx" }'];
        await start({ ...rig.spec("hungry", eat), memoryBytes: 32 * 1024 * 1024 });
        expect(await ended("hungry")).toMatchObject({ exitCode: 137, oomKilled: true });
      });

      test("one that fills the disk is ended, and why is said; also by an agent that came later", async () => {
        const limit = 2 * 1024 * 1024;
        const fill = (megabytes: number) => [
          "/bin/sh",
          "-c",
          `head -c ${megabytes}000000 /dev/zero > /full; exec sleep 100000`,
        ];
        await start({ ...rig.spec("modest", fill(1)), ephemeralBytes: limit });
        await start({ ...rig.spec("greedy", fill(8)), ephemeralBytes: limit });
        const greedy = await ended("greedy");
        expect(greedy).toMatchObject({ exitCode: 137, oomKilled: false });
        expect(greedy.message).toContain("2.0");
        await runtime.close();
        runtime = rig.open({ runtimePath: program });
        expect((await runtime.list()).find(({ id }) => id === "greedy")?.message).toBe(greedy.message ?? "");
        expect((await runtime.list()).find(({ id }) => id === "modest")?.phase).toBe("running");
        const more = await runtime.exec("modest", {
          args: ["dd", "if=/dev/zero", "of=/more", "bs=1M", "count=8"],
          env: [],
        });
        await more.exitCode;
        expect((await ended("modest")).message).toContain("may use");
      });

      test("one that ends at once, again and again, leaves nothing behind", async () => {
        for (let round = 0; round < 10; round += 1) {
          await start(rig.spec(`short-${round}`, ["/bin/true"]));
          expect(await ended(`short-${round}`)).toMatchObject({ exitCode: 0, oomKilled: false });
          await runtime.remove(`short-${round}`);
        }
        expect(readdirSync(join(rig.options.root, "runtime"))).toEqual([]);
        expect(readdirSync(join(rig.options.root, "exits"))).toEqual([]);
      });
    });
  });
}

async function rejection(attempt: Promise<unknown>): Promise<RuntimeError> {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof RuntimeError) return error;
    throw error;
  }
  throw new Error("expected a RuntimeError, and it succeeded");
}

/** Whether this process may make itself a lesser prey of the out-of-memory killer. */
function canGuard(): boolean {
  const path = "/proc/self/oom_score_adj";
  const before = readFileSync(path, "utf8");
  try {
    writeFileSync(path, "-500");
    writeFileSync(path, before);
    return true;
  } catch {
    console.warn("skipped a guarded agent's containers: this root may not lower its own adjustment");
    return false;
  }
}

async function saidBy(session: ExecSession): Promise<{ readonly exitCode: number; readonly text: string }> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const { data } of session.output) text += decoder.decode(data, { stream: true });
  return { exitCode: await session.exitCode, text };
}
