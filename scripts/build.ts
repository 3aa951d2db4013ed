/**
 * Builds the one binary: `bun run scripts/build.ts [--target x64|arm64]`. The result holds all it needs; the
 * last step runs it where no node_modules can be seen.
 */
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import manifest from "../package.json" with { type: "json" };

const root = join(import.meta.dir, "..");
const { values } = parseArgs({ options: { target: { type: "string", default: process.arch } } });

const { target } = values;
if (target !== "x64" && target !== "arm64") throw new Error(`--target is x64 or arm64, not ${target}`);
const outfile = join(root, "dist", target === "x64" ? "muster" : "muster-arm64");
// Built aside and renamed: who runs the old file goes on, who starts one gets a whole one, and the source maps that
// are written beside the program (which holds them, too) go away.
const aside = join(root, "dist", `.build-${process.pid}`);
const built = join(aside, "muster");

await mkdir(aside, { recursive: true });
let said: string | undefined;
try {
  const commit = await commitOf(root);
  await run([
    process.execPath,
    "build",
    "--compile",
    "--bytecode",
    "--minify",
    "--sourcemap",
    "--format=esm",
    "--splitting",
    // A daemon that runs as root must not take settings or code from the directory it was started in.
    "--no-compile-autoload-dotenv",
    "--no-compile-autoload-bunfig",
    "--reject-unresolved",
    "--compile-exec-argv=--disallow-code-generation-from-strings=strict",
    "--define",
    `process.env.NODE_ENV="production"`,
    "--define",
    `MUSTER_VERSION=${JSON.stringify(manifest.version)}`,
    "--define",
    `MUSTER_COMMIT=${JSON.stringify(commit)}`,
    `--target=bun-linux-${target}`,
    "src/main.ts",
    "--outfile",
    built,
  ]);

  said = await check(built, target);
  if (said !== undefined && said !== `${manifest.version} (${commit})`)
    throw new Error(`${outfile} does not say its version: ${said}`);
  await rename(built, outfile);
} finally {
  await rm(aside, { recursive: true });
}
const { size } = await Bun.file(outfile).stat();
console.log(
  `${outfile}: ${(size / 2 ** 20).toFixed(1)} MiB, ${said === undefined ? "not run: nothing here can run it" : said}`,
);

/** What the binary says to --version, in an empty directory with node_modules hidden where the system lets us. */
async function check(binary: string, architecture: "x64" | "arm64"): Promise<string | undefined> {
  const machine = architecture === "x64" ? "x86_64" : "aarch64";
  const emulator =
    architecture === process.arch
      ? undefined
      : (Bun.which(`qemu-${machine}`) ?? Bun.which(`qemu-${machine}-static`));
  if (emulator === null) return undefined;
  const command = [...(emulator === undefined ? [] : [emulator]), binary, "--version"];
  const hidden = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs none "$0" && cd / && exec "$@"',
    join(root, "node_modules"),
    ...command,
  ];
  const isRoot = process.getuid?.() === 0 && Bun.which("unshare") !== null;
  try {
    return (await run(isRoot ? hidden : command)).trim();
  } catch (error) {
    // An emulator without the other architecture's C library cannot run anything.
    if (emulator !== undefined && String(error).includes("ld-linux")) return undefined;
    throw error;
  }
}

/** Short hash of the sources, with a mark when they differ from it. */
async function commitOf(directory: string): Promise<string> {
  const git = (...args: string[]) => run(["git", "-C", directory, ...args]);
  try {
    const hash = (await git("rev-parse", "--short=12", "HEAD")).trim();
    const changes = (await git("status", "--porcelain", "--untracked-files=no")).trim();
    return changes === "" ? hash : `${hash}-dirty`;
  } catch {
    return "unknown";
  }
}

/** Standard output; throws with all that the command said when it fails. */
async function run(command: readonly string[]): Promise<string> {
  const child = Bun.spawn([...command], { cwd: root, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, errors, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${command[0]} ${command[1]} ended with ${code}:\n${out}${errors}`);
  return out;
}
