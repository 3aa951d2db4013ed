import { beforeEach, expect, test } from "bun:test";
import type { ContainerSpec, ContainerStatus } from "../../src/ports/container-runtime.ts";
import { SystemClock } from "../../src/adapters/system/system-clock.ts";
import { MemoryMachine, waitingProgram } from "../../src/adapters/runtimes/memory-machine.ts";
import { MemoryRuntime } from "../../src/adapters/runtimes/memory-runtime.ts";
import { RuntimeRouter } from "../../src/adapters/runtimes/runtime-router.ts";

const program = { ...waitingProgram, output: [{ stream: "stdout" as const, text: "here" }] };
let images: MemoryMachine;
let programs: MemoryMachine;
const open = (): RuntimeRouter =>
  new RuntimeRouter({
    oci: new MemoryRuntime({ machine: images }),
    process: new MemoryRuntime({ machine: programs }),
  });

beforeEach(() => {
  const clock = new SystemClock();
  images = new MemoryMachine({ clock }, { programOf: () => program });
  programs = new MemoryMachine({ clock }, { programOf: () => program });
});

const spec = (id: string, runtime?: string): ContainerSpec => ({
  id,
  labels: {},
  layers: [],
  args: ["x"],
  env: [],
  workingDirectory: "/",
  user: "",
  hostname: "h",
  cpuMillis: 0,
  memoryBytes: 0,
  ...(runtime === undefined ? {} : { runtime }),
});
const ids = (machine: MemoryMachine): readonly string[] => machine.all().map((one) => one.spec.id);

test("the spec names the runtime, and one list shows all", async () => {
  const router = open();
  await router.create(spec("a"));
  await router.create(spec("b", "process"));
  await router.create(spec("c", "crun"));
  await router.create(spec("d", "/opt/bin/runc"));
  expect(ids(images)).toEqual(["a", "c", "d"]);
  expect(ids(programs)).toEqual(["b"]);
  expect((await router.list()).map(({ id }) => id).toSorted()).toEqual(["a", "b", "c", "d"]);
});

test("everything afterwards goes to the one that has it, for a new agent too", async () => {
  const first = open();
  for (const [id, runtime] of [["a"], ["b", "process"]] as const) await first.create(spec(id, runtime));
  await first.close();
  const router = open();
  const ended: ContainerStatus[] = [];
  const stop = router.watch((status) => ended.push(status));
  for (const id of ["a", "b"]) {
    await router.start(id);
    const lines: string[] = [];
    for await (const { text } of router.logs(id, { follow: false, signal: new AbortController().signal }))
      lines.push(text);
    expect(lines).toEqual(["here"]);
    (await router.exec(id, { args: ["y"], env: [] })).kill();
    (await router.attach(id)).kill();
    await router.copyIn(id, "/x", nothing());
    await router.copyOut(id, "/x");
  }
  expect((await router.usage()).map(({ id }) => id).toSorted()).toEqual(["a", "b"]);
  for (const id of ["a", "b"]) await router.signal(id, 9);
  expect(ended.map(({ id }) => id).toSorted()).toEqual(["a", "b"]);
  stop();
  for (const id of ["a", "b", "a"]) await router.remove(id);
  expect(await router.list()).toEqual([]);
});

test("what nobody has is told as the one runtime would tell it", async () => {
  await expect(open().start("none")).rejects.toMatchObject({ info: { code: "no-such-container" } });
});

async function* nothing(): AsyncGenerator<Uint8Array> {}
