/** A real registry (Debian's docker-registry) on loopback, and images made without a network (umoci, busybox). */
import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../contract/eventually.ts";

export interface TestRegistry {
  /** `127.0.0.1:port`, as references name it. */
  readonly host: string;
  /** Ends the registry and removes its storage. Twice is harmless. */
  stop(): Promise<void>;
}

export interface ImageSettings {
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly env?: readonly string[];
  readonly workingDirectory?: string;
  readonly user?: string;
  readonly stopSignal?: string;
}

const busyboxPath = "/bin/busybox";

/** The programs named that are not here; images cannot be made or served without them. */
export function missingImageTools(): readonly string[] {
  const tools = ["docker-registry", "umoci", "skopeo"];
  const missing = tools.filter((tool) => Bun.which(tool) === null);
  if (!existsSync(busyboxPath)) missing.push(busyboxPath);
  if (process.getuid?.() !== 0) missing.push("root");
  return missing;
}

/** Runs a program to its end; rejects with what it printed when it fails. */
export async function run(...command: readonly string[]): Promise<string> {
  const child = Bun.spawn([...command], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [output, complaint] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0)
    throw new Error(`${command.join(" ")}: ${complaint.trim() || output.trim()}`);
  return output;
}

/** Serves until stopped. `address` is where it listens: another than loopback for a fleet of network namespaces. */
export async function startRegistry(address = "127.0.0.1"): Promise<TestRegistry> {
  const directory = await mkdtemp(join(tmpdir(), "muster-registry-"));
  const port = await freePort(address);
  const shown = address.includes(":") ? `[${address}]` : address;
  const host = `${shown}:${port}`;
  const config = {
    version: 0.1,
    log: { level: "error" },
    storage: { filesystem: { rootdirectory: join(directory, "storage") }, delete: { enabled: true } },
    http: { addr: host },
  };
  const configPath = join(directory, "registry.yml");
  // JSON is YAML.
  await writeFile(configPath, JSON.stringify(config));
  const child = Bun.spawn(["docker-registry", "serve", configPath], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
  });
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    await child.exited;
    await rm(directory, { recursive: true, force: true });
  };
  try {
    await eventually(`registry at ${host}`, async () => {
      if (child.exitCode !== null) throw new Error("docker-registry ended at once");
      const response = await fetch(`http://${host}/v2/`).catch(() => undefined);
      return response?.status === 200 ? true : undefined;
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { host, stop };
}

/**
 * Builds an image around busybox and pushes it; the answer is its reference. `files` is a directory whose
 * content goes into a second layer.
 */
export async function pushBusyboxImage(
  registry: TestRegistry,
  name: string,
  tag: string,
  settings: ImageSettings & { readonly files?: string } = {},
): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "muster-image-"));
  try {
    const layout = join(directory, "oci");
    const image = `${layout}:${tag}`;
    await buildBusyboxImage(directory, layout, tag);
    if (settings.files !== undefined) await run("umoci", "insert", "--image", image, settings.files, "/");
    await run("umoci", "config", "--image", image, ...configFlags(settings));
    const reference = `${registry.host}/${name}:${tag}`;
    await pushLayout(layout, tag, reference);
    return reference;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** `flags` are skopeo's. */
export async function pushLayout(
  layout: string,
  tag: string,
  reference: string,
  flags: readonly string[] = [],
): Promise<void> {
  await run(
    "skopeo",
    "copy",
    "--quiet",
    "--dest-tls-verify=false",
    ...flags,
    `oci:${layout}:${tag}`,
    `docker://${reference}`,
  );
}

/** A layout with one image of one layer: /bin/busybox and links to it by every name it goes by. */
export async function buildBusyboxImage(directory: string, layout: string, tag: string): Promise<void> {
  const rootfs = join(directory, "rootfs");
  await mkdir(join(rootfs, "bin"), { recursive: true });
  await mkdir(join(rootfs, "etc"));
  await mkdir(join(rootfs, "tmp"), { mode: 0o1777 });
  await copyFile(busyboxPath, join(rootfs, "bin/busybox"));
  for (const applet of (await run(busyboxPath, "--list")).trim().split("\n"))
    if (applet !== "busybox") await symlink("busybox", join(rootfs, "bin", applet));
  await writeFile(join(rootfs, "etc/passwd"), "root:x:0:0:root:/:/bin/sh\napp:x:1000:1000:app:/:/bin/sh\n");
  await writeFile(join(rootfs, "etc/group"), "root:x:0:\napp:x:1000:\n");
  await run("umoci", "init", "--layout", layout);
  await run("umoci", "new", "--image", `${layout}:${tag}`);
  await run("umoci", "insert", "--image", `${layout}:${tag}`, rootfs, "/");
}

function configFlags(settings: ImageSettings): readonly string[] {
  const many = (flag: string, values: readonly string[]) =>
    values.map((value) => `--config.${flag}=${value}`);
  const one = (flag: string, value: string | undefined) =>
    value === undefined ? [] : [`--config.${flag}=${value}`];
  return [
    ...many("entrypoint", settings.entrypoint ?? []),
    ...many("cmd", settings.command ?? []),
    ...many("env", settings.env ?? ["PATH=/bin"]),
    ...one("workingdir", settings.workingDirectory),
    ...one("user", settings.user),
    ...one("stopsignal", settings.stopSignal),
  ];
}

/** A port nobody listens on; taken between now and its use only by bad luck. */
async function freePort(address: string): Promise<number> {
  const server = createServer();
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.once("error", reject);
  server.listen(0, address, () => {
    const bound = server.address();
    server.close(() => {
      if (bound !== null && typeof bound === "object") resolve(bound.port);
      else reject(new Error("no port"));
    });
  });
  return promise;
}
