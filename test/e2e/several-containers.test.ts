/** A replica of several containers on one machine: its order, its health, its losses and its end. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ContainerReport } from "../../src/model/promise.ts";
import { missingTools, until } from "./binary.ts";
import { Fleet } from "./fleet.ts";

const missing = missingTools();
if (missing.length > 0) console.log(`skipped, not on this machine: ${missing.join(", ")}`);

const machine = "n1";
const name = "trio";

/** Says in the shared volume when it begins and when it is asked to end. */
function program(word: string): string {
  const loop = "while :; do sleep 3600 & wait $!; done";
  return `trap 'echo ${word} ends >>/data/story; exit 0' TERM; echo ${word} >>/data/story; ${loop}`;
}

describe.skipIf(missing.length > 0)("a replica of several containers", () => {
  let fleet: Fleet;
  beforeAll(async () => {
    fleet = await Fleet.up("e2etrio", 1);
    const shell = (text: string): object => ({ entrypoint: ["/bin/sh", "-c", text] });
    const common = { image: fleet.image, mounts: ["data:/data"] };
    const manifest = {
      name,
      stopTimeout: "10s",
      initContainers: [{ ...common, name: "prepare", ...shell("echo prepare >>/data/story") }],
      containers: [
        {
          ...common,
          name: "app",
          ...shell(program("app")),
          preStop: { exec: ["/bin/sh", "-c", "echo hook >>/data/story"] },
          probes: {
            readiness: { exec: ["/bin/sh", "-c", "test -e /tmp/ready"], period: "1s", failureThreshold: 1 },
            liveness: { exec: ["/bin/sh", "-c", "test ! -e /tmp/sick"], period: "1s", failureThreshold: 1 },
          },
        },
        { ...common, name: "helper", ...shell(program("helper")) },
      ],
    };
    const said = await fleet.withInput(machine, JSON.stringify(manifest), "apply", "-f", "-");
    expect(said).toMatchObject({ code: 0 });
  }, 120_000);
  afterAll(async () => fleet?.down(), 60_000);

  async function containers(): Promise<ReadonlyMap<string, ContainerReport>> {
    const { replicas } = await fleet.inspect(machine, name);
    return new Map((replicas[0]?.containers ?? []).map((one) => [one.name, one]));
  }

  /** First processes, as the machine has them; the id of a container ends with its place and its attempt. */
  function pidOf(index: number): number | undefined {
    return fleet.containers(name).find(({ container }) => container.includes(`-${index}-`, name.length + 3))
      ?.pids[0];
  }

  function story(): readonly string[] {
    const volumes = join(fleet.dataDirectory(machine), "volumes");
    const [deployment] = readdirSync(volumes);
    return readFileSync(join(volumes, deployment ?? "", "data", "story"), "utf8")
      .trim()
      .split("\n");
  }

  /** What was written after the first `from` lines. */
  async function untilStory(from: number, lines: readonly string[]): Promise<void> {
    await until("all of it is written", 30_000, async () =>
      story().length >= from + lines.length ? undefined : story().join(", "),
    );
    expect(story().slice(from)).toEqual([...lines]);
  }

  async function untilRunning(count: number): Promise<void> {
    await until(`${count} run`, 20_000, async () => {
      const { running } = await fleet.inspect(machine, name);
      return running === count ? undefined : `${running} run: ${await fleet.text(machine, "inspect", name)}`;
    });
  }

  const makeReady = (): Promise<string> => fleet.text(machine, "exec", name, "--", "touch", "/tmp/ready");

  test("starts in order, and counts as running once it is ready", async () => {
    await until("its containers run", 20_000, async () =>
      (await containers()).get("helper")?.phase === "running" ? undefined : "not yet",
    );
    await untilStory(0, ["prepare", "app", "helper"]);
    expect((await containers()).get("prepare")).toMatchObject({ phase: "completed", exitCode: 0 });
    expect((await fleet.inspect(machine, name)).running).toBe(0);
    expect(await fleet.text(machine, "ps")).toContain("not ready");
    await makeReady();
    await untilRunning(1);
  }, 60_000);

  test("its containers share network, host name and IPC, and have file trees of their own", async () => {
    const seen = async (container: string, ...words: readonly string[]): Promise<string> =>
      fleet.text(machine, "exec", name, "-c", container, "--", ...words);
    expect(await seen("helper", "hostname")).toBe(`${name}-0\n`);
    for (const namespace of ["net", "ipc"]) {
      const path = `/proc/1/ns/${namespace}`;
      expect([namespace, await seen("app", "readlink", path)]).toEqual([
        namespace,
        await seen("helper", "readlink", path),
      ]);
    }
    expect(await seen("app", "ls", "/tmp")).toContain("ready");
    expect(await seen("helper", "ls", "/tmp")).not.toContain("ready");
  }, 60_000);

  test("a container that is not alive any more is restarted, alone", async () => {
    const helper = pidOf(2);
    await fleet.text(machine, "exec", name, "--", "touch", "/tmp/sick");
    await until("it is restarted", 20_000, async () =>
      (await containers()).get("app")?.restarts === 1 ? undefined : "not yet",
    );
    expect(pidOf(2)).toBe(defined(helper));
    await makeReady();
    await untilRunning(1);
    const events = await fleet.text(machine, "events", name);
    expect(events).toContain("liveness probe failed: exited with 1");
  }, 60_000);

  test("an agent that is killed leaves them alone, and its successor takes them over", async () => {
    const before = [pidOf(1), pidOf(2)];
    await fleet.lab("kill-agent", machine);
    await fleet.lab("start-agent", machine);
    await untilRunning(1);
    expect([pidOf(1), pidOf(2)]).toEqual(before);
  }, 60_000);

  test("one whose monitor is killed is replaced, and does not run on beside it", async () => {
    const helper = defined(pidOf(2));
    process.kill(monitorOf(helper), "SIGKILL");
    await until("it is replaced", 60_000, async () =>
      (await containers()).get("helper")?.restarts === 1 ? undefined : "not yet",
    );
    await untilRunning(1);
    expect(fleet.containers(name).length).toBe(2);
    expect(pidOf(2)).not.toBe(helper);
    await until("it has begun", 20_000, async () => (story().at(-1) === "helper" ? undefined : "not yet"));
  }, 90_000);

  test("after a loss of power it begins anew, and its volume has what it had", async () => {
    const before = story().length;
    await fleet.lab("kill", machine);
    await fleet.lab("start", machine);
    await untilStory(before, ["prepare", "app", "helper"]);
    expect(story()[0]).toBe("prepare");
  }, 90_000);

  test("it ends in the reverse order, hook first, and leaves nothing", async () => {
    const before = story().length;
    await fleet.text(machine, "delete", name, "--wait");
    await untilStory(before, ["helper ends", "hook", "app ends"]);
    await until("nothing runs", 20_000, async () =>
      fleet.containers(name).length === 0 ? undefined : "not yet",
    );
    await until("its containers are gone", 20_000, async () => {
      const left = readdirSync(join(fleet.dataDirectory(machine), "containers")).filter((one) =>
        one.startsWith(name),
      );
      return left.length === 0 ? undefined : left.join(", ");
    });
  }, 60_000);
});

function defined(pid: number | undefined): number {
  if (pid === undefined) throw new Error("no process of that container");
  return pid;
}

/** conmon is the parent of what it watches. */
function monitorOf(pid: number): number {
  const parent = /^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  const monitor = Number(parent ?? 0);
  if (!readFileSync(`/proc/${monitor}/cmdline`, "utf8").includes("conmon"))
    throw new Error(`process ${monitor} is no monitor`);
  return monitor;
}
