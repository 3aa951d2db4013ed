/**
 * One node beside Docker and beside the bare runtime, in the same run:
 * `bun bench/node.ts [--binary dist/muster] [--parts weight,run,many,pods,restart] [--count 100] [--rounds 15] [--no-docker]`.
 *
 * Needs root, and docker-registry, umoci, skopeo, runc, conmon, and dockerd unless it is left out. Everything runs in a network and a mount
 * namespace of its own; the daemons are told other directories than the machine's and are ended by their ids.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { removeCgroups } from "../src/lab/cgroups.ts";
import { pushBusyboxImage, startRegistry } from "../test/integration/registry.ts";
import { BareSubject } from "./node/bare-subject.ts";
import { DockerSubject } from "./node/docker-subject.ts";
import { cpuShare, median, programBegins, programsRun, run, until, weightOf } from "./node/measure.ts";
import { MusterSubject } from "./node/muster-subject.ts";

const { values } = parseArgs({
  options: {
    binary: { type: "string", default: join(import.meta.dir, "..", "dist", "muster") },
    parts: { type: "string", default: "weight,run,many,pods,restart" },
    count: { type: "string", default: "100" },
    rounds: { type: "string", default: "15" },
    settle: { type: "string", default: "35" },
    idle: { type: "string", default: "30" },
    "no-docker": { type: "boolean", default: false },
    inside: { type: "boolean", default: false },
  },
});

if (!values.inside) {
  const again = ["unshare", "--net", "--mount", process.execPath, import.meta.path, "--inside"];
  const child = Bun.spawn([...again, ...process.argv.slice(2)], { stdio: ["inherit", "inherit", "inherit"] });
  process.exit(await child.exited);
}

const parts = new Set(values.parts.split(","));
const count = Number(values.count);
const rounds = Number(values.rounds);
const restartCount = 300;
const webPort = 8080;
/** As many at a time as the agent makes. */
const parallel = 2;

await run(["ip", "link", "set", "lo", "up"]);
const root = await mkdtemp(join(tmpdir(), "muster-bench-node-"));
// A fresh file system for everybody: one on which many files were deleted just now makes new ones slowly.
const disk = `${root}.disk`;
await run(["truncate", "-s", "8G", disk]);
await run(["mkfs.ext4", "-q", disk]);
await run(["mount", "-o", "loop", disk, root]);
const registry = await startRegistry();
const muster = new MusterSubject(resolve(values.binary), join(root, "m"));
const docker = values["no-docker"] ? undefined : new DockerSubject(join(root, "d"));
let bareSubject: BareSubject | undefined;
let marks = 1_000_000 + Math.floor(Math.random() * 1_000_000);

try {
  const image = await pushBusyboxImage(registry, "bench", "1", { command: ["/bin/sleep", "1000000000"] });
  await muster.start();
  await docker?.start();
  await docker?.cli("pull", "-q", image);
  // The first one pulls and unpacks; it stays, and lends its root to the bare runtime.
  const first = nextMark();
  await muster.cli("run", image, "--name", "first", "--wait", "--", ...program(first));
  if (parts.has("weight")) await weight(image);
  const bare = (bareSubject = new BareSubject(join(root, "bare"), muster.bundle()));
  if (parts.has("run")) await runOne(image, bare);
  if (parts.has("many")) await many(image, bare);
  if (parts.has("pods")) await pods(image, bare);
  if (parts.has("restart")) await restart(image);
} finally {
  await bareSubject?.close();
  await muster.close();
  await docker?.close();
  await registry.stop();
  await run(["umount", root]);
  await rm(root, { recursive: true, force: true });
  await rm(disk, { force: true });
  for (const group of ["muster-bench-node", "muster-bench-bare"]) await removeCgroups(group);
}

function nextMark(): string {
  marks += 1;
  return String(marks);
}

function print(what: string, value: number, unit: string): void {
  console.log(`${what.padEnd(66)} ${value.toFixed(value < 10 ? 2 : 1).padStart(8)} ${unit}`);
}

/** Ends at once when it is told to; the mark is the last word of the process that sleeps. */
function program(mark: string): readonly string[] {
  return ["/bin/sh", "-c", `trap 'exit 0' TERM; sleep ${mark} & wait`];
}

/** At rest, empty and with many containers. */
async function weight(image: string): Promise<void> {
  const mark = nextMark();
  await muster.cli("delete", "first", "--wait");
  await Bun.sleep(Number(values.settle) * 1_000);
  const empty = weightOf(muster.daemons());
  print("muster: agent alone, RSS", empty.rssMiB, "MiB");
  print("muster: agent alone, CPU", await cpuShare(muster.daemons(), Number(values.idle)), "% of a core");
  await muster.cli("run", image, "--name", "weight", "-r", String(count), "--wait", "--", ...program(mark));
  await programsRun(mark, count);
  await Bun.sleep(Number(values.settle) * 1_000);
  const agent = weightOf(muster.daemons());
  const monitors = weightOf(muster.monitors());
  print(`muster: agent with ${count} containers, RSS`, agent.rssMiB, "MiB");
  print(`muster: ${count} monitors, RSS`, monitors.rssMiB, "MiB");
  print(`muster: ${count} monitors, PSS`, monitors.pssMiB, "MiB");
  print("muster: each container adds, RSS", (agent.rssMiB + monitors.rssMiB - empty.rssMiB) / count, "MiB");
  print("muster: each container adds, PSS", (agent.pssMiB + monitors.pssMiB - empty.pssMiB) / count, "MiB");
  const all = [...muster.daemons(), ...muster.monitors()];
  print(
    `muster: agent with ${count} containers, CPU`,
    await cpuShare(muster.daemons(), Number(values.idle)),
    "% of a core",
  );
  print(`muster: agent and ${count} monitors, CPU`, await cpuShare(all, Number(values.idle)), "% of a core");
  await muster.removeOne("weight");
  await muster.cli("run", image, "--name", "first", "--wait", "--", ...program(nextMark()));
  if (docker === undefined) return;
  const before = weightOf(docker.daemons());
  const dockerMark = nextMark();
  for (let i = 0; i < count; i++) await docker.runOne(image, `weight-${i}`, program(dockerMark));
  await Bun.sleep(Number(values.settle) * 1_000);
  const daemons = weightOf(docker.daemons());
  const shims = weightOf(docker.monitors());
  print("docker: daemons alone, RSS", before.rssMiB, "MiB");
  print(`docker: daemons with ${count} containers, RSS`, daemons.rssMiB, "MiB");
  print("docker: each container adds, RSS", (daemons.rssMiB + shims.rssMiB - before.rssMiB) / count, "MiB");
  print("docker: each container adds, PSS", (daemons.pssMiB + shims.pssMiB - before.pssMiB) / count, "MiB");
  const both = [...docker.daemons(), ...docker.monitors()];
  print(`docker: daemons and ${count} shims, CPU`, await cpuShare(both, Number(values.idle)), "% of a core");
  for (let i = 0; i < count; i++) await docker.removeOne(`weight-${i}`);
}

/** From the command to the first instruction of its program, one after the other, in turns. */
async function runOne(image: string, bare: BareSubject): Promise<void> {
  const samples = { bare: [] as number[], muster: [] as number[], docker: [] as number[] };
  const timed = async (mark: string, begin: () => Promise<unknown>): Promise<number> => {
    const begun = programBegins(mark);
    const startedAt = performance.now();
    const [at] = await Promise.all([begun, begin()]);
    return at - startedAt;
  };
  // The first two rounds warm the caches.
  for (let round = -2; round < rounds; round++) {
    const name = `one-${round + 2}`;
    const mark = nextMark();
    const runBare = bare.prepared(name, program(mark));
    const alone = await timed(mark, runBare);
    const own = nextMark();
    const ours = await timed(own, () => muster.runOne(image, name, program(own)));
    const other = nextMark();
    const theirs = docker && (await timed(other, () => docker.runOne(image, name, program(other))));
    if (round >= 0) {
      samples.bare.push(alone);
      samples.muster.push(ours);
      if (theirs !== undefined) samples.docker.push(theirs);
    }
    await bare.remove(name);
    await muster.removeOne(name);
    await docker?.removeOne(name);
  }
  print("runc run --detach: command to program begun, median", median(samples.bare), "ms");
  print("muster run: command to program begun, median", median(samples.muster), "ms");
  print("muster run, over runc run", median(samples.muster) - median(samples.bare), "ms");
  if (docker !== undefined)
    print("docker run -d: command to program begun, median", median(samples.docker), "ms");
}

function podManifest(image: string, mark: string): string {
  return JSON.stringify({
    name: "pods",
    replicas: count,
    containers: [
      {
        name: "web",
        image,
        entrypoint: ["/bin/httpd"],
        command: ["-f", "-p", String(webPort), "-h", "/tmp"],
      },
      { name: "left", image, command: [...program(mark)] },
      { name: "right", image, command: [...program(mark)] },
    ],
  });
}

/** Many replicas of three containers, until each answers; beside as many bare containers. */
async function pods(image: string, bare: BareSubject): Promise<void> {
  const mark = nextMark();
  const ids = Array.from({ length: 3 * count }, (_, index) => `pod-${index}`);
  const steps = ids.map((id) => bare.preparedMonitored(id, program(mark)));
  const bareUp = await timeOf(() => eachInParallel(steps));
  const bareDown = await timeOf(() => eachInParallel(ids.map((id) => () => bare.remove(id))));
  const ourMark = nextMark();
  const manifest = join(root, "pods.json");
  await Bun.write(manifest, podManifest(image, ourMark));
  const up = await timeOf(async () => {
    await muster.cli("apply", "-f", manifest);
    await programsRun(ourMark, 2 * count);
    await untilRunning("pods", count);
    for (const { address } of (await muster.view("pods")).replicas) await untilAnswers(address);
  });
  const down = await timeOf(() => muster.removeOne("pods"));
  print(`conmon and runc alone, ${3 * count} containers up`, bareUp / 1_000, "s");
  print(`muster, ${count} replicas of 3 containers up and answering`, up / 1_000, "s");
  print("  ratio", up / bareUp, "");
  print(`runc alone, ${3 * count} containers down`, bareDown / 1_000, "s");
  print(`muster, ${count} replicas of 3 containers down`, down / 1_000, "s");
  print("  ratio", down / bareDown, "");
}

/** Any answer of the web server counts. */
async function untilAnswers(address: string): Promise<void> {
  await until(`${address} answers`, 30_000, async () =>
    fetch(`http://[${address}]:${webPort}/`).then(
      () => true,
      () => false,
    ),
  );
}

/** Many at once, up and down, beside conmon and runc alone with as many at a time. */
async function many(image: string, bare: BareSubject): Promise<void> {
  const mark = nextMark();
  const ids = Array.from({ length: count }, (_, index) => `many-${index}`);
  const steps = ids.map((id) => bare.preparedMonitored(id, program(mark)));
  const bareUp = await timeOf(() => eachInParallel(steps));
  const bareDown = await timeOf(() => eachInParallel(ids.map((id) => () => bare.remove(id))));
  const ourMark = nextMark();
  const up = await timeOf(async () => {
    await muster.cli("run", image, "--name", "many", "-r", String(count), "--", ...program(ourMark));
    await programsRun(ourMark, count);
  });
  const said = await timeOf(() => muster.cli("wait", "many").catch(() => untilRunning("many", count)));
  const down = await timeOf(() => muster.removeOne("many"));
  print(`conmon and runc alone, ${count} containers up`, bareUp / 1_000, "s");
  print(`muster, ${count} replicas up`, up / 1_000, "s");
  print("  and all reported running after another", said / 1_000, "s");
  print("  ratio", up / bareUp, "");
  print(`runc alone, ${count} containers down`, bareDown / 1_000, "s");
  print(`muster, ${count} replicas down`, down / 1_000, "s");
  print("  ratio", down / bareDown, "");
}

async function untilRunning(name: string, replicas: number): Promise<void> {
  while ((await muster.view(name)).running !== replicas) await Bun.sleep(10);
}

async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

async function eachInParallel(steps: readonly (() => Promise<void>)[]): Promise<void> {
  const waiting = [...steps];
  const work = async (): Promise<void> => {
    for (let step = waiting.shift(); step !== undefined; step = waiting.shift()) await step();
  };
  await Promise.all(Array.from({ length: parallel }, work));
}

/** The agent is killed and started again while its containers go on. */
async function restart(image: string): Promise<void> {
  const mark = nextMark();
  await muster.cli(
    "run",
    image,
    "--name",
    "rest",
    "-r",
    String(restartCount),
    "--wait",
    "--timeout",
    "5m",
    "--",
    ...program(mark),
  );
  await programsRun(mark, restartCount);
  const samples: { ready: number; adopted: number }[] = [];
  for (let round = 0; round < 5; round++) {
    await muster.killAgent();
    const startedAt = performance.now();
    const ready = await muster.start();
    for (;;) {
      if (((await muster.view("rest").catch(() => undefined))?.running ?? 0) === restartCount) break;
      await Bun.sleep(2);
    }
    samples.push({ ready, adopted: performance.now() - startedAt });
  }
  const restarts = (await muster.view("rest")).replicas.reduce((sum, one) => sum + one.restarts, 0);
  await programsRun(mark, restartCount);
  print(
    `muster: exec to API ready with ${restartCount} containers, median`,
    median(samples.map(({ ready }) => ready)),
    "ms",
  );
  print("  and until all are said to run, median", median(samples.map(({ adopted }) => adopted)), "ms");
  print("  containers restarted", restarts, "");
  await muster.removeOne("rest");
}
