/** What tests on the real machine need. Where CI is set, a need that is not met is a failure, never a skip. */
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const containerPrograms = ["runc", "conmon", "busybox"];
/** The OCI runtimes that are tested. gVisor is not packaged everywhere, so it may be missing, even where CI is set. */
export function ociPrograms(): readonly string[] {
  const always = ["runc", "crun"];
  if (Bun.which("runsc") !== null) return [...always, "runsc"];
  console.warn("skipped runsc (gVisor): it is not installed");
  return always;
}

export const networkPrograms = ["ip", "nft", "nsenter", "busybox"];

/** True when all is there; else prints why the tests of `what` are skipped. Throws instead where CI is set. */
export function canRun(what: string, programs: readonly string[]): boolean {
  const missing = programs.filter((program) => Bun.which(program) === null);
  const reasons = [
    ...(process.getuid?.() === 0 ? [] : ["they need root"]),
    ...(missing.length === 0 ? [] : [`not installed: ${missing.join(", ")}`]),
  ];
  if (reasons.length === 0) return true;
  if (process.env["CI"] === "true") throw new Error(`${what}: ${reasons.join("; ")}`);
  console.warn(`skipped ${what}: ${reasons.join("; ")}`);
  return false;
}

const applets = [
  "awk",
  "cat",
  "dd",
  "echo",
  "env",
  "head",
  "hostname",
  "httpd",
  "id",
  "ip",
  "ls",
  "mount",
  "nc",
];
const moreApplets = [
  "ping",
  "pwd",
  "seq",
  "sh",
  "sleep",
  "stty",
  "tail",
  "true",
  "tty",
  "ulimit",
  "wget",
  "yes",
];

/** A layer directory with a static busybox and two users; enough of an image for every test. */
export function makeBusyboxLayer(directory: string): string {
  const source = Bun.which("busybox");
  if (source === null) throw new Error("busybox is not installed");
  if (!isStatic(source)) throw new Error(`${source} is not static; install busybox-static`);
  for (const name of ["bin", "etc", "proc", "sys", "dev", "tmp", "root"])
    mkdirSync(join(directory, name), { recursive: true });
  copyFileSync(source, join(directory, "bin/busybox"));
  for (const name of [...applets, ...moreApplets]) symlinkSync("busybox", join(directory, "bin", name));
  writeFileSync(
    join(directory, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001:Alice:/home/alice:/bin/sh\n",
  );
  writeFileSync(join(directory, "etc/group"), "root:x:0:\nalice:x:1001:\naudio:x:29:bob,alice\n");
  return directory;
}

/** A dynamic program names its interpreter near the start of the file. */
function isStatic(path: string): boolean {
  return !readFileSync(path).subarray(0, 4096).includes("ld-linux");
}
