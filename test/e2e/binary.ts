/** The compiled binary as users run it, built when it is older than its sources. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");
export const binaryPath = join(root, "dist/muster");

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly errors: string;
}

/** Why these tests cannot run here; empty when they can. */
export function missingTools(): readonly string[] {
  const tools = ["runc", "conmon", "nft", "ip", "nsenter", "unshare", "docker-registry", "umoci", "skopeo"];
  const missing = tools.filter((tool) => Bun.which(tool) === null);
  if (!existsSync("/bin/busybox")) missing.push("/bin/busybox");
  if (process.getuid?.() !== 0) missing.push("root");
  return missing;
}

export async function buildIfOld(): Promise<void> {
  const sources = ["src", "scripts", "package.json"].map((path) => newest(join(root, path)));
  if (existsSync(binaryPath) && statSync(binaryPath).mtimeMs > Math.max(...sources)) return;
  const built = await run([process.execPath, "run", join(root, "scripts/build.ts")]);
  if (built.code !== 0) throw new Error(`build: ${built.out}${built.errors}`);
}

function newest(path: string): number {
  const stat = statSync(path);
  if (!stat.isDirectory()) return /\.test\.ts$/.test(path) ? 0 : stat.mtimeMs;
  return Math.max(0, ...readdirSync(path).map((name) => newest(join(path, name))));
}

export async function run(
  words: readonly string[],
  env: Readonly<Record<string, string>> = {},
  input?: string,
): Promise<Ran> {
  const child = Bun.spawn([...words], {
    env: { ...process.env, ...env },
    stdin: input === undefined ? "ignore" : new Blob([input]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, out, errors };
}

/** Runs the binary; rejects when it does not end well. */
export async function mustRun(
  words: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { code, out, errors } = await run(words, env);
  if (code !== 0) throw new Error(`${words.join(" ")}: exit code ${code}\n${out}${errors}`);
  return out;
}

/** Asks again until `probe` says undefined: nothing is missing. The last reason is in the error. */
export async function until(
  what: string,
  timeoutMs: number,
  probe: () => Promise<string | undefined>,
): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  for (;;) {
    const missing = await probe();
    if (missing === undefined) return;
    if (performance.now() > giveUpAt)
      throw new Error(`still not so after ${timeoutMs} ms: ${what}: ${missing}`);
    await Bun.sleep(20);
  }
}
