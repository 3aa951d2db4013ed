/**
 * What a container and its network cost, against the bare programs on the same bundle, back to back:
 * `bun bench/runtime.ts [rounds]`, as root. Prints medians; CPU is that of all processes involved.
 */
import { mkdirSync, readFileSync, rmdirSync, writeFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { bundlePaths, runtimeDirectories, type BundlePaths } from "../src/adapters/runtimes/oci/bundle.ts";
import { runConmon } from "../src/adapters/runtimes/oci/conmon.ts";
import { openMachine, type Machine } from "../src/adapters/runtimes/oci/machine.ts";
import { makeBundle } from "../src/adapters/runtimes/oci/make-bundle.ts";
import { Sandboxes } from "../src/adapters/runtimes/oci/sandbox.ts";
import { defined } from "../src/model/assert.ts";
import type { Fabric } from "../src/ports/fabric.ts";
import { makeFabricRig } from "../test/integration/fabric-rig.ts";
import { canRun, containerPrograms, networkPrograms } from "../test/integration/machine-needs.ts";
import { makeOciRig, type OciRig } from "../test/integration/oci-rig.ts";

const rounds = Number(process.argv[2] ?? 30);
const adopted = 50;
const sleep = ["/bin/sleep", "100000"];

function median(values: readonly number[]): number {
  return defined(values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)], "a measurement");
}

/** CPU of this process, all it spawns and all containers, by the kernel's account of one control group. */
class CpuMeter {
  readonly #group: string;
  readonly #home: string;

  constructor(name: string) {
    const unified = "/sys/fs/cgroup/unified";
    this.#home = existsSync(unified) ? unified : "/sys/fs/cgroup";
    this.#group = join(this.#home, name);
    mkdirSync(join(this.#group, "bench"), { recursive: true });
    writeFileSync(join(this.#group, "bench/cgroup.procs"), String(process.pid));
  }

  usedMs(): number {
    const text = readFileSync(join(this.#group, "cpu.stat"), "utf8");
    return Number(/^usage_usec (\d+)$/m.exec(text)?.[1] ?? 0) / 1000;
  }

  close(): void {
    writeFileSync(join(this.#home, "cgroup.procs"), String(process.pid));
    rmdirSync(join(this.#group, "bench"));
    rmdirSync(this.#group);
  }
}

interface Sample {
  readonly wallMs: number;
  readonly cpuMs: number;
}

async function measure(meter: CpuMeter, work: () => Promise<void>): Promise<Sample> {
  const cpu = meter.usedMs();
  const begin = performance.now();
  await work();
  return { wallMs: performance.now() - begin, cpuMs: meter.usedMs() - cpu };
}

function print(what: string, samples: readonly Sample[]): void {
  const wall = median(samples.map((sample) => sample.wallMs)).toFixed(1);
  const cpu = (samples.reduce((sum, sample) => sum + sample.cpuMs, 0) / samples.length).toFixed(1);
  console.log(`${what.padEnd(44)} ${wall.padStart(7)} ms   ${cpu.padStart(6)} ms CPU`);
}

/** The same bundle as the runtime makes, mounted and configured, so that only conmon and runc are timed. */
async function bareBundle(rig: OciRig, machine: Machine, id: string): Promise<BundlePaths> {
  const directories = runtimeDirectories(rig.options.root);
  for (const directory of Object.values(directories)) mkdirSync(directory, { recursive: true });
  const paths = bundlePaths(directories, id);
  const sandboxes = new Sandboxes(
    { mounts: machine.mounts, isUsed: () => true },
    { directory: directories.sandboxes },
  );
  await makeBundle(
    rig.spec(id, sleep),
    paths,
    { machine, sandboxes, idsOf: () => ({ sandbox: undefined, all: new Set() }) },
    {
      program: machine.program(rig.options.runtimePath),
      cgroup: `${rig.options.cgroupParent}/${id}`,
      pidsMax: rig.options.pidsMax,
      logs: { fileBytes: rig.options.logBytesMax, files: 1 },
    },
  );
  return paths;
}

async function runBare(rig: OciRig, id: string, paths: BundlePaths): Promise<void> {
  const directories = runtimeDirectories(rig.options.root);
  const runtimePath = defined(Bun.which(rig.options.runtimePath), "the OCI runtime");
  const conmonPath = defined(Bun.which(rig.options.conmonPath), "conmon");
  const answer = await runConmon(id, paths, directories, { ...rig.options, runtimePath, conmonPath });
  if (!answer.ok) throw new Error(answer.detail);
  const start = Bun.spawn([runtimePath, `--root=${directories.runtime}`, "start", id], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  if ((await start.exited) !== 0) throw new Error("start failed");
}

async function benchContainers(): Promise<void> {
  const base = makeOciRig();
  const meter = new CpuMeter(base.options.cgroupParent.slice(1));
  const runtime = base.open();
  const machine = openMachine(base.options);
  try {
    const samples = { ours: [] as Sample[], bare: [] as Sample[], removed: [] as Sample[] };
    await runtime.list();
    for (let round = -2; round < rounds; round += 1) {
      const ours = await measure(meter, async () => {
        await runtime.create(base.spec(`ours-${round + 2}`, sleep));
        await runtime.start(`ours-${round + 2}`);
      });
      const bareId = `bare-${round + 2}`;
      const paths = await bareBundle(base, machine, bareId);
      const bare = await measure(meter, () => runBare(base, bareId, paths));
      await runtime.remove(bareId);
      const removed = await measure(meter, () => runtime.remove(`ours-${round + 2}`));
      // The first rounds warm the caches.
      if (round < 0) continue;
      samples.ours.push(ours);
      samples.bare.push(bare);
      samples.removed.push(removed);
    }
    print("create + start", samples.ours);
    print("the same by bare conmon and runc", samples.bare);
    print("remove a running container", samples.removed);

    const together = await measure(meter, async () => {
      const ids = Array.from({ length: adopted }, (_, index) => `many-${index}`);
      await Promise.all(ids.map((id) => runtime.create(base.spec(id, sleep)).then(() => runtime.start(id))));
    });
    print(`${adopted} containers at once, each`, [
      { wallMs: together.wallMs / adopted, cpuMs: together.cpuMs / adopted },
    ]);
    const next = base.open();
    print(`a new agent finds ${adopted} containers`, [
      await measure(meter, async () => void (await next.list())),
    ]);
    await next.close();
  } finally {
    machine.mounts.close();
    await runtime.close();
    await base.dispose();
    meter.close();
  }
}

async function benchFabric(): Promise<void> {
  const rig = await makeFabricRig();
  const meter = new CpuMeter("muster-bench-fabric");
  try {
    const fabric: Fabric = rig.fabric;
    const standing = { id: "standing", owner: "bench", ipv6: "fd00::ffff", ports: [] };
    // The first endpoint of a node brings the table with it, the last one takes it away.
    for (const { name, published, isFirst } of [
      { name: "the only endpoint", published: false, isFirst: true },
      { name: "without published ports", published: false, isFirst: false },
      { name: "with a published port", published: true, isFirst: false },
    ]) {
      if (!isFirst) await fabric.attach(standing);
      const samples = { attach: [] as Sample[], detach: [] as Sample[] };
      for (let round = 0; round < rounds; round += 1) {
        const ports = [
          { container: 80, protocol: "tcp" as const, ...(published ? { published: 20_000 + round } : {}) },
        ];
        const id = `e-${round}`;
        const spec = { id, owner: `bench/${id}`, ipv6: `fd00::${(round + 1).toString(16)}`, ports };
        samples.attach.push(await measure(meter, async () => void (await fabric.attach(spec))));
        samples.detach.push(await measure(meter, () => fabric.detach(spec.id)));
      }
      print(`attach ${name}`, samples.attach);
      print(`detach ${name}`, samples.detach);
    }
  } finally {
    meter.close();
    await rig.dispose();
  }
}

if (canRun("runtime benchmark", [...containerPrograms, ...networkPrograms])) {
  await benchContainers();
  await benchFabric();
}
