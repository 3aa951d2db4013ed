/**
 * Start and weight of the agent: `bun bench/start.ts [--binary dist/muster] [--reps 15] [--settle 5] [--idle 60] [--json]`.
 *
 * Prints milliseconds from exec until GET /v1/status answers on the socket, on a fresh data directory (which
 * founds a fleet) and on the same directory again, and the memory of each of three agents that form a fleet:
 * when they have found each other, and after `--settle` seconds of nothing to do. Runs in network, mount and
 * control-group surroundings of its own, so that no agent of this machine is disturbed. Needs root.
 */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    binary: { type: "string", default: join(import.meta.dir, "..", "dist", "muster") },
    reps: { type: "string", default: "15" },
    settle: { type: "string", default: "5" },
    idle: { type: "string", default: "60" },
    json: { type: "boolean", default: false },
    inside: { type: "boolean", default: false },
  },
});
const binary = resolve(values.binary);

if (!values.inside) {
  const again = ["unshare", "--net", "--mount", process.execPath, import.meta.path, "--inside"];
  const child = Bun.spawn([...again, ...process.argv.slice(2)], { stdio: ["inherit", "inherit", "inherit"] });
  process.exit(await child.exited);
}

interface AgentProcess {
  readonly child: Bun.Subprocess;
  readonly directory: string;
  readonly readyMs: number;
}

await run(["ip", "link", "set", "lo", "up"]);
const root = await mkdtemp(join(tmpdir(), "muster-bench-"));
const running: AgentProcess[] = [];
try {
  const fresh: number[] = [];
  const again: number[] = [];
  for (let i = 0; i < Number(values.reps); i++) {
    const directory = join(root, `start-${i}`);
    fresh.push(await timed(directory));
    again.push(await timed(directory));
  }
  const fleet = await fleetOfThree();
  const joined = await Promise.all(fleet.map(memoryOf));
  await Bun.sleep(Number(values.settle) * 1_000);
  const cpuBefore = await Promise.all(fleet.map(cpuMsOf));
  const idle = await Promise.all(fleet.map(memoryOf));
  await Bun.sleep(Number(values.idle) * 1_000);
  const cpuAfter = await Promise.all(fleet.map(cpuMsOf));
  const idleCpu = cpuAfter.map((ms, i) => (ms - (cpuBefore[i] ?? 0)) / (Number(values.idle) * 10));
  report({ fresh, again, joined, idle, idleCpu });
} finally {
  for (const { child } of running) child.kill("SIGKILL");
  await Promise.all(running.map(({ child }) => child.exited));
  await rm(root, { recursive: true, force: true });
}

async function timed(directory: string): Promise<number> {
  const agent = await start(directory, ["--listen", "127.0.0.1:7440"]);
  await stop(agent);
  return agent.readyMs;
}

async function start(directory: string, extra: readonly string[]): Promise<AgentProcess> {
  const startedAt = performance.now();
  const child = Bun.spawn(
    [binary, "up", "--data-dir", directory, "--cgroup-parent", "/muster-bench", ...extra],
    {
      stdio: ["ignore", "ignore", Bun.file(`${directory}.log`)],
    },
  );
  while (!(await answers(join(directory, "muster.sock")))) {
    if (child.exitCode !== null) throw new Error(await Bun.file(`${directory}.log`).text());
    await Bun.sleep(0.5);
  }
  const agent = { child, directory, readyMs: performance.now() - startedAt };
  running.push(agent);
  return agent;
}

async function stop(agent: AgentProcess): Promise<void> {
  agent.child.kill("SIGTERM");
  await agent.child.exited;
  running.splice(running.indexOf(agent), 1);
}

async function answers(unix: string): Promise<boolean> {
  try {
    return (await fetch("http://muster/v1/status", { unix, keepalive: false })).ok;
  } catch {
    return false;
  }
}

async function fleetOfThree(): Promise<readonly AgentProcess[]> {
  const first = await start(join(root, "a"), ["--name", "a", "--listen", "127.0.0.1:7441"]);
  const socket = join(first.directory, "muster.sock");
  const token = (await run([binary, "--socket", socket, "--json", "invite"])).trim();
  const invite: { token: string } = JSON.parse(token);
  const join_ = ["--join", "127.0.0.1:7441", "--invite", invite.token];
  const others = [
    await start(join(root, "b"), ["--name", "b", "--listen", "127.0.0.1:7442", ...join_]),
    await start(join(root, "c"), ["--name", "c", "--listen", "127.0.0.1:7443", ...join_]),
  ];
  for (const { directory } of [first, ...others]) {
    const unix = join(directory, "muster.sock");
    for (;;) {
      const status = await (await fetch("http://muster/v1/status", { unix })).text();
      if (/"alive":\s*3\b/.test(status)) break;
      await Bun.sleep(5);
    }
  }
  return [first, ...others];
}

interface Memory {
  readonly rss: number;
  readonly pss: number;
  readonly anonymous: number;
}

/** MiB. */
async function memoryOf({ child }: AgentProcess): Promise<Memory> {
  const text = await readFile(`/proc/${child.pid}/smaps_rollup`, "utf8");
  const of = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1]) / 1024;
  return { rss: of("Rss"), pss: of("Pss"), anonymous: of("Anonymous") };
}

/** CPU milliseconds since the process began, all threads that live. */
async function cpuMsOf({ child }: AgentProcess): Promise<number> {
  const threads = await readdir(`/proc/${child.pid}/task`);
  const read = async (thread: string): Promise<number> =>
    Number((await readFile(`/proc/${child.pid}/task/${thread}/schedstat`, "utf8")).split(" ")[0]) / 1e6;
  return (await Promise.all(threads.map(read))).reduce((sum, ms) => sum + ms, 0);
}

function report(figures: {
  readonly fresh: readonly number[];
  readonly again: readonly number[];
  readonly joined: readonly Memory[];
  readonly idle: readonly Memory[];
  readonly idleCpu: readonly number[];
}): void {
  if (values.json) {
    console.log(JSON.stringify(figures));
    return;
  }
  const { fresh, again, joined, idle, idleCpu } = figures;
  console.log(`exec to API ready, existing directory: ${spread(again)} ms`);
  console.log(`exec to API ready, fresh directory:    ${spread(fresh)} ms`);
  const memory = (list: readonly Memory[]): string =>
    list
      .map(
        ({ rss, pss, anonymous }) =>
          `${rss.toFixed(1)} (pss ${pss.toFixed(1)}, anonymous ${anonymous.toFixed(1)})`,
      )
      .join("; ");
  console.log(`RSS MiB of each of three, once joined: ${memory(joined)}`);
  console.log(`RSS MiB after ${values.settle} s of nothing:     ${memory(idle)}`);
  console.log(
    `idle CPU, % of one core over ${values.idle} s:     ${idleCpu.map((share) => share.toFixed(2)).join("; ")}`,
  );
}

function spread(list: readonly number[]): string {
  const sorted = list.toSorted((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.floor(share * (sorted.length - 1))] ?? NaN).toFixed(1);
  return `median ${at(0.5)}, best ${at(0)}, worst ${at(1)} of ${sorted.length}`;
}

async function run(command: readonly string[]): Promise<string> {
  const child = Bun.spawn([...command], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const out = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")} failed`);
  return out;
}
