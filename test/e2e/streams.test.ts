/** Joining programs, copying in and out, counting what is used, and programs of the machine, from any node of a fleet. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { binaryPath, missingTools, until } from "./binary.ts";
import { Fleet } from "./fleet.ts";

const missing = missingTools();
if (missing.length > 0) console.log(`skipped, not on this machine: ${missing.join(", ")}`);

interface Rate {
  readonly name: string;
  readonly replica: number;
  readonly node: string;
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  readonly memoryLimitBytes: number;
  readonly pids: number;
}

describe.skipIf(missing.length > 0)("streams", () => {
  let fleet: Fleet;
  let here = "";
  beforeAll(async () => {
    fleet = await Fleet.up("e2estr", 3);
    await fleet.untilWhole();
    here = join(fleet.directory, "here");
    mkdirSync(here);
  }, 120_000);
  afterAll(async () => {
    await fleet?.down();
  }, 60_000);

  const apply = async (name: string, fields: object): Promise<void> => {
    const file = join(here, `${name}.json`);
    writeFileSync(file, JSON.stringify({ name, ...fields }));
    await fleet.text("n1", "apply", "-f", file, "--wait", "--timeout", "60s");
  };

  test("a program with an input answers whoever joins it, on either node, and goes on", async () => {
    await apply("echo", {
      image: fleet.image,
      replicas: 2,
      stdin: true,
      entrypoint: ["/bin/sh"],
      command: ["-c", "exec cat"],
    });
    for (const machine of fleet.machines)
      for (const replica of [0, 1]) {
        const child = fleet.start(machine, "attach", `echo/${replica}`);
        child.stdin.write(`over there ${machine}\n`);
        await child.stdin.flush();
        const reader = child.stdout.getReader();
        const { value } = await reader.read();
        expect(Buffer.from(value ?? []).toString()).toBe(`over there ${machine}\n`);
        child.kill("SIGINT");
        expect(await child.exited).toBe(0);
      }
    await fleet.untilExactly("n1", "echo", 2);
    for (const { restarts } of (await fleet.inspect("n1", "echo")).replicas) expect(restarts).toBe(0);
  }, 60_000);

  test("a terminal: keys, size, and the keys that let go", async () => {
    await apply("shell", {
      image: fleet.image,
      stdin: true,
      tty: true,
      entrypoint: ["/bin/sh"],
      command: [],
    });
    const [machine = "n1"] = fleet.machines.toReversed();
    let said = "";
    const child = Bun.spawn([binaryPath, "attach", "shell"], {
      env: { ...process.env, ...fleet.environment(machine) },
      terminal: {
        cols: 91,
        rows: 33,
        data: (_terminal, data) => void (said += Buffer.from(data).toString()),
      },
    });
    await until("attached", 20_000, async () => (said.includes("control-P control-Q") ? undefined : said));
    child.terminal?.write("stty size; echo $((6 * 7))\n");
    await until("an answer", 20_000, async () => (/33 91\r+\n42\r+\n/.test(said) ? undefined : said));
    child.terminal?.write(Uint8Array.of(16, 17));
    expect(await child.exited).toBe(0);
    const view = await fleet.inspect("n1", "shell");
    expect(view.replicas[0]).toMatchObject({ phase: "running", restarts: 0 });
  }, 60_000);

  test("files go in and out of every replica by way of every node", async () => {
    mkdirSync(join(here, "site/deep"), { recursive: true });
    writeFileSync(join(here, "site/deep/page"), "a page\n");
    writeFileSync(join(here, "site/run"), "#!/bin/sh\necho ran\n", { mode: 0o750 });
    writeFileSync(join(here, "site/big"), Buffer.alloc(5_000_000, "big "));
    for (const machine of fleet.machines)
      for (const replica of [0, 1]) {
        const place = `echo/${replica}`;
        await fleet.text(machine, "cp", join(here, "site"), `${place}:/tmp/${machine}`);
        expect(await fleet.text(machine, "exec", place, "--", `/tmp/${machine}/run`)).toBe("ran\n");
        const back = join(here, `back-${machine}-${replica}`);
        const answer = await fleet.json<{ archiveBytes: number }>(
          machine,
          "cp",
          `${place}:/tmp/${machine}`,
          back,
        );
        expect(answer.archiveBytes).toBeGreaterThan(5_000_000);
        expect(readFileSync(join(back, "deep/page"), "utf8")).toBe("a page\n");
        expect(readFileSync(join(back, "big")).equals(Buffer.alloc(5_000_000, "big "))).toBe(true);
        expect(statSync(join(back, "run")).mode & 0o777).toBe(0o750);
      }
    await fleet.text("n1", "cp", "echo/0:/tmp/n1/run", here);
    expect(readFileSync(join(here, "run"), "utf8")).toContain("echo ran");
    const refused = await fleet.on("n1", "cp", "echo/1:/no/such", here);
    expect(refused.code).toBe(1);
    expect(refused.errors).toContain("there is no /no/such");
    const elsewhere = await fleet.on("n1", "cp", join(here, "run"), "echo/1:/no/such/place");
    expect(elsewhere.code).toBe(1);
    expect(elsewhere.errors).toContain("there is no directory /no/such");
  }, 120_000);

  test("an archive on standard input and output", async () => {
    const archive = await Bun.$`tar --create --file=- --directory=${join(here, "site")} run`.quiet();
    const input = archive.stdout.toString("latin1");
    expect((await fleet.withInput("n1", input, "cp", "-", "echo/1:/tmp")).code).toBe(0);
    const out = await fleet.on("n2", "cp", "echo/1:/tmp/run", "-");
    expect(out.out).toContain("echo ran");
  }, 60_000);

  test("what replicas and machines use is told by every node", async () => {
    await apply("busy", {
      image: fleet.image,
      resources: { memory: "64Mi" },
      // As process 1 a shell without a handler gets no SIGTERM.
      stopTimeout: "1s",
      entrypoint: ["/bin/sh"],
      command: ["-c", "while :; do :; done"],
    });
    for (const machine of fleet.machines) {
      const rates = await fleet.json<readonly Rate[]>(machine, "stats", "busy");
      expect(rates).toMatchObject([
        { name: "busy", replica: 0, memoryLimitBytes: 64 * 1024 * 1024, pids: 1 },
      ]);
      expect(rates[0]?.cpuMillis).toBeGreaterThan(20);
      expect(rates[0]?.memoryBytes).toBeGreaterThan(0);
    }
    const table = await fleet.text("n2", "stats", "-A");
    expect(table).toMatch(/^REPLICA +CONTAINER +NODE +CPU/);
    expect(table).toMatch(/^echo\/1 /m);
    const top = await fleet.json<{ nodes: readonly { node: string }[]; replicas: readonly Rate[] }>(
      "n1",
      "top",
    );
    expect(top.nodes.map(({ node }) => node)).toEqual(["n1", "n2", "n3"]);
    expect(top.replicas[0]?.name).toBe("busy");
    expect(await fleet.text("n1", "top")).toMatch(/^NODE +CPU +CORES/);
    await fleet.text("n1", "delete", "busy", "--wait");
  }, 60_000);

  test("logs are followed through the end of an agent and to the next node, none twice and none missing", async () => {
    await apply("count", {
      image: fleet.image,
      entrypoint: ["/bin/sh"],
      command: ["-c", "i=0; while :; do i=$((i+1)); echo run $HOSTNAME $i; sleep 0.05; done"],
    });
    const [{ nodeName: holder = "" } = {}] = (await fleet.inspect("n1", "count")).replicas;
    const watcher = holder === "n1" ? "n2" : "n1";
    const child = fleet.start(watcher, "logs", "-f", "count/0");
    const lines: string[] = [];
    const reading = (async () => {
      let rest = "";
      for await (const chunk of child.stdout) {
        const parts = (rest + Buffer.from(chunk).toString()).split("\n");
        rest = parts.pop() ?? "";
        lines.push(...parts);
      }
    })();
    const more = async (what: string): Promise<void> => {
      const from = lines.length;
      await until(what, 60_000, async () => (lines.length > from + 20 ? undefined : `${lines.length} lines`));
    };
    await more("lines of the first run");
    await fleet.lab("kill-agent", holder);
    await fleet.lab("start-agent", holder);
    await more("lines after the agent's end");
    const first = [...lines];
    expect(first).toEqual(first.map((_line, at) => `run count-0 ${at + 1}`));
    await fleet.lab("kill", holder);
    await until("a second run", 60_000, async () =>
      lines.lastIndexOf("run count-0 1") > 0 ? undefined : "none",
    );
    await more("lines of the next node");
    const second = lines.slice(lines.lastIndexOf("run count-0 1"));
    expect(second).toEqual(second.map((_line, at) => `run count-0 ${at + 1}`));
    child.kill("SIGINT");
    await reading;
    expect(await child.exited).toBe(0);
    await fleet.lab("start", holder);
    await fleet.untilWhole();
    await until("times", 20_000, async () => {
      const recent = await fleet.text(watcher, "logs", "count/0", "--since", "1s", "-t");
      const [line = ""] = recent.split("\n");
      const age = Date.now() - Date.parse(line.split(" ")[0] ?? "");
      return age < 5_000 ? undefined : recent;
    });
    expect((await fleet.text(watcher, "logs", "count/0", "--tail", "3")).trim().split("\n").length).toBe(3);
  }, 240_000);

  test("a program of the machine runs without an image, and outlives its agent", async () => {
    await apply("tool", {
      image: "none",
      runtime: "process",
      replicas: 2,
      user: "daemon",
      command: ["/bin/sh", "-c", "echo I am $(id -un); exec sleep 100000"],
    });
    await until("its words", 20_000, async () => {
      const logs = await fleet.text("n1", "logs", "tool");
      return logs.match(/I am daemon/g)?.length === 2 ? undefined : logs;
    });
    const before = fleet.containers("tool");
    expect(before.length).toBe(2);
    expect((await fleet.text("n1", "exec", "tool/1", "--", "id", "-un")).trim()).toBe("daemon");
    for (const { machine } of before) {
      await fleet.lab("kill-agent", machine);
      await fleet.lab("start-agent", machine);
    }
    await fleet.untilExactly("n1", "tool", 2);
    expect(fleet.containers("tool")).toEqual(before);
    const refused = await fleet.on("n1", "cp", "tool/0:/etc/passwd", here);
    expect(refused.errors).toContain("no file tree of its own");
  }, 60_000);
});
