/** What the kernel says of processes: when one began, what several weigh and use. */
import { readdirSync, readFileSync } from "node:fs";

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // The process has ended.
    return "";
  }
}

function argumentsOf(pid: number): readonly string[] {
  return read(`/proc/${pid}/cmdline`).split("\0").slice(0, -1);
}

function allPids(): readonly number[] {
  return readdirSync("/proc").map(Number).filter(Number.isInteger);
}

/** Processes with `text` somewhere in their command lines, this one and its parents' shells not counted. */
export function processesNaming(text: string): readonly number[] {
  const own = new Set([process.pid, process.ppid]);
  return allPids().filter((pid) => !own.has(pid) && argumentsOf(pid).some((word) => word.includes(text)));
}

/** Processes whose last word is `word`. */
export function processesEndingWith(word: string): readonly number[] {
  return allPids().filter((pid) => argumentsOf(pid).at(-1) === word);
}

/** Resolves as soon as a process begun after the call sleeps with `mark` as its last word. */
export async function programBegins(mark: string, timeoutMs = 30_000): Promise<number> {
  const older = new Set(allPids());
  const giveUpAt = performance.now() + timeoutMs;
  for (;;) {
    for (const pid of allPids()) {
      if (older.has(pid)) continue;
      // The runtimes have the mark in their own command lines, too; the program is busybox.
      const words = argumentsOf(pid);
      if (words.at(-1) === mark && words[0]?.endsWith("sleep") === true) return performance.now();
    }
    if (performance.now() > giveUpAt) throw new Error(`no program with ${mark} after ${timeoutMs} ms`);
    await Bun.sleep(0.2);
  }
}

/** Resolves once `count` processes run `sleep MARK`. */
export async function programsRun(mark: string, count: number, timeoutMs = 180_000): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  for (;;) {
    const running = processesEndingWith(mark).filter(
      (pid) => argumentsOf(pid)[0]?.endsWith("sleep") === true,
    );
    if (running.length === count) return;
    if (performance.now() > giveUpAt)
      throw new Error(`${running.length} of ${count} programs run after ${timeoutMs} ms`);
    await Bun.sleep(20);
  }
}

export interface Weight {
  readonly rssMiB: number;
  /** Shared pages shared out. */
  readonly pssMiB: number;
}

export function weightOf(pids: readonly number[]): Weight {
  let rss = 0;
  let pss = 0;
  for (const pid of pids) {
    const text = read(`/proc/${pid}/smaps_rollup`);
    rss += Number(/^Rss:\s+(\d+)/m.exec(text)?.[1] ?? 0);
    pss += Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0);
  }
  return { rssMiB: rss / 1024, pssMiB: pss / 1024 };
}

/** CPU milliseconds so far, of all threads that live. */
function cpuMsOf(pids: readonly number[]): number {
  let total = 0;
  for (const pid of pids) {
    let threads: readonly string[] = [];
    try {
      threads = readdirSync(`/proc/${pid}/task`);
    } catch {
      continue;
    }
    for (const thread of threads)
      total += Number(read(`/proc/${pid}/task/${thread}/schedstat`).split(" ")[0] ?? 0) / 1e6;
  }
  return total;
}

/** Percent of one core. */
export async function cpuShare(pids: readonly number[], seconds: number): Promise<number> {
  const before = cpuMsOf(pids);
  await Bun.sleep(seconds * 1_000);
  return (cpuMsOf(pids) - before) / (seconds * 10);
}

export async function run(
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const child = Bun.spawn([...command], {
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, complaint, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${command.join(" ")}: exit code ${code}\n${out}${complaint}`);
  return out;
}

export async function until(what: string, timeoutMs: number, holds: () => Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > giveUpAt) throw new Error(`still not so after ${timeoutMs} ms: ${what}`);
    await Bun.sleep(2);
  }
}
