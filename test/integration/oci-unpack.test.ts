/** REAL: what is unpacked, mounted by overlayfs, is what `umoci unpack` makes of the same image. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, chownSync, linkSync, lutimesSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Libc, nodeTypes, openFlags } from "../../src/adapters/images/oci/libc.ts";
import type { Image } from "../../src/ports/image-store.ts";
import { eventually } from "../contract/eventually.ts";
import { openOciStore, type OciStoreHarness, unpackCommand } from "./oci-store-harness.ts";
import {
  buildBusyboxImage,
  missingImageTools,
  pushLayout,
  run,
  startRegistry,
  type TestRegistry,
} from "./registry.ts";
import { listTree } from "./tree-listing.ts";

const missing = missingImageTools();
const isSkipped = missing.length > 0 && process.env["CI"] !== "true";
if (isSkipped) console.log(`skipped: comparing with umoci needs ${missing.join(", ")}`);

describe.skipIf(isSkipped)("unpacked layers", () => {
  let directory: string;
  let layout: string;
  let registry: TestRegistry;
  let harness: OciStoreHarness;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "muster-unpack-"));
    layout = join(directory, "oci");
    registry = await startRegistry();
    harness = await openOciStore();
  });
  afterEach(async () => {
    await registry.stop();
    await harness.dispose();
    await rm(directory, { recursive: true, force: true });
  });

  const image = () => `${layout}:1`;

  async function pull(...flags: readonly string[]): Promise<Image> {
    const reference = `${registry.host}/compare/app:1`;
    await pushLayout(layout, "1", reference, flags);
    return harness.store.ensure(reference, { signal: new AbortController().signal });
  }

  /** Our layers, as a container sees them, beside umoci's unpacking. */
  async function expectSameTree(pulled: Image): Promise<void> {
    const bundle = join(directory, "bundle");
    await run("umoci", "unpack", "--keep-dirlinks", "--image", image(), bundle);
    const merged = join(directory, "merged");
    const empty = join(directory, "empty");
    await mkdir(merged);
    await mkdir(empty);
    const stack = [...pulled.layers.toReversed(), empty].join(":");
    await run("mount", "-t", "overlay", "overlay", "-o", `ro,lowerdir=${stack}`, merged);
    try {
      expect(listTree(merged)).toEqual(listTree(join(bundle, "rootfs")));
    } finally {
      await run("umount", merged);
    }
  }

  test("busybox", async () => {
    await buildBusyboxImage(directory, layout, "1");
    await expectSameTree(await pull());
  });

  test("every kind of entry with all its metadata", async () => {
    await buildBusyboxImage(directory, layout, "1");
    const tree = join(directory, "tree");
    makeRichTree(tree);
    await run("umoci", "insert", "--image", image(), tree, "/rich");
    await expectSameTree(await pull());
  });

  test.each(["gnu", "pax", "ustar"])("archives of GNU tar: %s", async (format) => {
    await buildBusyboxImage(directory, layout, "1");
    const tree = join(directory, "tree");
    makeRichTree(tree, format === "ustar" ? 80 : 220);
    const archive = join(directory, "layer.tar");
    const attributes = format === "pax" ? ["--xattrs", "--xattrs-include=*"] : [];
    await run("tar", `--format=${format}`, ...attributes, "-C", tree, "-cf", archive, ".");
    await run("umoci", "raw", "add-layer", "--image", image(), archive);
    await expectSameTree(await pull());
  });

  test("whiteouts and opaque directories hide what is below", async () => {
    await buildBusyboxImage(directory, layout, "1");
    const tree = join(directory, "tree");
    makeRichTree(tree);
    await run("umoci", "insert", "--image", image(), tree, "/rich");
    const upper = join(directory, "upper");
    mkdirSync(upper);
    writeFileSync(join(upper, "only"), "only this is left");
    await run("umoci", "insert", "--image", image(), "--whiteout", "/rich/file");
    await run("umoci", "insert", "--image", image(), "--opaque", upper, "/rich/dir");
    await run("umoci", "insert", "--image", image(), "--whiteout", "/etc");
    await expectSameTree(await pull());
  });

  test.each([
    ["zstd layers", ["--dest-compress-format", "zstd"], "tar+zstd"],
    ["docker's schema 2", ["--format", "v2s2"], "vnd.docker.image.rootfs.diff.tar.gzip"],
  ])("%s", async (_name, flags, layerType) => {
    await buildBusyboxImage(directory, layout, "1");
    const tree = join(directory, "tree");
    makeRichTree(tree);
    await run("umoci", "insert", "--image", image(), tree, "/rich");
    const pulled = await pull(...flags);
    const raw = await run("skopeo", "inspect", "--raw", "--tls-verify=false", `docker://${pulled.reference}`);
    expect(raw).toContain(layerType);
    await expectSameTree(pulled);
  });

  test("layers shared by images are unpacked once", async () => {
    await buildBusyboxImage(directory, layout, "1");
    const first = await pull();
    const tree = join(directory, "tree");
    makeRichTree(tree);
    await run("umoci", "insert", "--image", image(), tree, "/rich");
    const reference = `${registry.host}/compare/other:1`;
    await pushLayout(layout, "1", reference);
    const second = await harness.store.ensure(reference, { signal: new AbortController().signal });
    expect(second.layers[0]).toBe(first.layers[0] ?? "");
    expect(second.layers).toHaveLength(2);
  });
});

test.skipIf(isSkipped)("the unpacking child ends with the agent that started it", async () => {
  const directory = await mkdtemp(join(tmpdir(), "muster-orphan-"));
  try {
    // Nobody writes to the pipe, so the child waits in it for ever.
    const blobPath = join(directory, "blob");
    await run("mkfifo", blobPath);
    const request = { blobPath, directory, diffId: "", bytesMax: 1, entriesMax: 1 };
    const command = JSON.stringify([...unpackCommand, JSON.stringify(request)]);
    const source = `console.log(Bun.spawn(${command}).pid); setInterval(() => {}, 1000);`;
    const agent = Bun.spawn([process.execPath, "-e", source], { stdout: "pipe" });
    const { value } = await agent.stdout.getReader().read();
    const pid = Number(new TextDecoder().decode(value).trim());
    const status = () => readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    // Its niceness is set after its tie to the agent.
    await eventually("the child is on its way", async () =>
      (await status()).split(" ")[18] === "5" ? true : undefined,
    );
    agent.kill("SIGKILL");
    await agent.exited;
    await eventually("the child is gone", async () => (/\) [^ZX] /.test(await status()) ? undefined : true));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

function makeRichTree(root: string, longNameBytes = 220): void {
  const libc = new Libc();
  // Setting attributes changes the working directory, which goes away with the tree.
  const here = process.cwd();
  mkdirSync(join(root, "dir/sub"), { recursive: true });
  const fd = libc.openAt(-1, root, openFlags.directoryOnly, 0);
  const file = (name: string, content: string | Uint8Array, mode = 0o644) => {
    writeFileSync(join(root, name), content);
    chmodSync(join(root, name), mode);
  };
  file("file", "content");
  file("empty", "");
  file("big", Buffer.alloc(3_000_000, "0123456789abcdef"), 0o600);
  file("setuid", "#!", 0o4755);
  file("setgid", "#!", 0o2711);
  file("dir/owned", "someone else's", 0o440);
  file("capable", "#!", 0o755);
  // cap_net_bind_service in effect; its bytes are no UTF-8.
  const capability = Buffer.from("0100000200040000000000000000000000000000", "hex");
  libc.setAttribute(fd, "capable", { name: "security.capability", value: capability });
  const bytes = Buffer.from([0xff, 0x3d, 0x0a, 0xfe]);
  libc.setAttribute(fd, "file", { name: "user.bytes", value: bytes });
  linkSync(join(root, "file"), join(root, "dir/hard-link"));
  symlinkSync("../file", join(root, "dir/symlink"));
  symlinkSync("/etc/shadow", join(root, "absolute"));
  symlinkSync("nowhere", join(root, "dangling"));
  libc.makeNode(fd, "fifo", { type: nodeTypes.fifo, major: 0, minor: 0 });
  libc.makeNode(fd, "null", { type: nodeTypes.characterDevice, major: 1, minor: 3 });
  libc.makeNode(fd, "block", { type: nodeTypes.blockDevice, major: 259, minor: 70_000 % 1000 });
  libc.changeMode(fd, "null", 0o666);
  file("n".repeat(longNameBytes), "a long name");
  mkdirSync(join(root, "deep", ..."abcdefghij".split("").map((c) => c.repeat(9))), { recursive: true });
  file("deep/aaaaaaaaa/bbbbbbbbb/ccccccccc/ddddddddd/eeeeeeeee/fffffffff/leaf", "deep");
  file("späße", "not ASCII");
  chmodSync(join(root, "dir"), 0o1777);
  chownSync(join(root, "dir/owned"), 1000, 65_534);
  chownSync(join(root, "setuid"), 12, 34);
  chmodSync(join(root, "setuid"), 0o4755);
  for (const [at, name] of ["file", "absolute", "dir/sub", "dir", "fifo"].entries())
    lutimesSync(join(root, name), 1_000_000_000 + at, 1_000_000_000 + at);
  libc.close(fd);
  process.chdir(here);
}
