/**
 * Pull and unpack of a generated image, ours beside `skopeo copy` + `umoci unpack`: median of some rounds,
 * back to back, from the same registry on loopback. Also how long the event loop stood still meanwhile, and how long
 * it takes to read and hash the same bytes once: compressed, as they came, and unpacked, as they are checked.
 * Layers are unpacked by the built program when there is one. Prints human lines, or one JSON object with --json.
 * Needs root and the tools of test/integration/registry.ts.
 *
 *     bun bench/images.ts [--json] [--megabytes 200] [--layers 10] [--rounds 3]
 */
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openOciStore } from "../test/integration/oci-store-harness.ts";
import {
  buildBusyboxImage,
  pushLayout,
  run,
  startRegistry,
  type TestRegistry,
} from "../test/integration/registry.ts";

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    megabytes: { type: "string", default: "200" },
    layers: { type: "string", default: "10" },
    rounds: { type: "string", default: "3" },
  },
});
const megabytes = Number(values.megabytes);
const layers = Number(values.layers);
const rounds = Number(values.rounds);

const binary = join(import.meta.dir, "../dist/muster");
const unpacker = existsSync(binary) ? { unpackCommand: [binary, "internal-unpack"] } : {};
const directory = await mkdtemp(join(tmpdir(), "muster-bench-images-"));
let registry: TestRegistry | undefined;
try {
  registry = await startRegistry();
  const reference = `${registry.host}/bench/app:1`;
  await pushGenerated(reference);
  const ours: number[] = [];
  const theirs: number[] = [];
  const hashes: number[] = [];
  let stallMs = 0;
  for (let round = 0; round < rounds; round += 1) {
    const measured = await measureOurs(reference);
    ours.push(measured.ms);
    hashes.push(measured.hashMs);
    stallMs = Math.max(stallMs, measured.stallMs);
    theirs.push(await measureTheirs(reference));
  }
  const result = {
    megabytes,
    layers,
    rounds,
    musterMs: median(ours),
    skopeoUmociMs: median(theirs),
    ratio: median(ours) / median(theirs),
    readAndHashMs: median(hashes),
    loopStallMsMax: stallMs,
  };
  if (values.json) console.log(JSON.stringify(result));
  else {
    const by = "unpackCommand" in unpacker ? "the built program" : "the sources";
    console.log(`${megabytes} MB in ${layers} layers, median of ${rounds}, unpacked by ${by}`);
    console.log(`  muster                       ${result.musterMs.toFixed(0)} ms`);
    console.log(`  skopeo copy + umoci unpack   ${result.skopeoUmociMs.toFixed(0)} ms`);
    console.log(`  ratio                        ${result.ratio.toFixed(2)}`);
    console.log(`  reading and hashing          ${result.readAndHashMs.toFixed(0)} ms`);
    console.log(`  longest stall of the loop    ${stallMs.toFixed(1)} ms`);
  }
} finally {
  await registry?.stop();
  await rm(directory, { recursive: true, force: true });
}

/** Layers of 200 files each, half noise and half text, so that compression has something to do. */
async function pushGenerated(reference: string): Promise<void> {
  const layout = join(directory, "oci");
  await buildBusyboxImage(directory, layout, "1");
  const filesPerLayer = 200;
  const fileBytes = Math.round((megabytes * 1e6) / layers / filesPerLayer);
  for (let layer = 1; layer < layers; layer += 1) {
    const tree = join(directory, `tree-${layer}`);
    for (let at = 0; at < filesPerLayer; at += 1) {
      const folder = join(tree, `d${at % 10}`);
      await mkdir(folder, { recursive: true });
      const content = Buffer.alloc(fileBytes, `some text ${layer} ${at}\n`);
      for (let offset = 0; offset < fileBytes / 2; offset += 65_536)
        crypto.getRandomValues(content.subarray(offset, Math.min(offset + 65_536, fileBytes / 2)));
      await Bun.write(join(folder, `f${at}`), content);
    }
    await run("umoci", "insert", "--image", `${layout}:1`, tree, `/data${layer}`);
  }
  await pushLayout(layout, "1", reference);
}

async function measureOurs(reference: string): Promise<{ ms: number; stallMs: number; hashMs: number }> {
  const harness = await openOciStore(unpacker);
  // The garbage of making the image is not the pull's.
  Bun.gc(true);
  const loop = watchLoop();
  try {
    const from = performance.now();
    const { layers } = await harness.store.ensure(reference, { signal: new AbortController().signal });
    const ms = performance.now() - from;
    const stallMs = loop.stop();
    return { ms, stallMs, hashMs: await measureHashing([join(harness.root, "blobs"), ...layers]) };
  } finally {
    loop.stop();
    await harness.dispose();
  }
}

/** Every file below the directories, read and hashed one after the other. */
async function measureHashing(directories: readonly string[]): Promise<number> {
  const from = performance.now();
  for (const directory of directories)
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true }))
      if (entry.isFile()) {
        const hasher = new Bun.CryptoHasher("sha256");
        for await (const chunk of Bun.file(join(entry.parentPath, entry.name)).stream()) hasher.update(chunk);
        hasher.digest();
      }
  return performance.now() - from;
}

async function measureTheirs(reference: string): Promise<number> {
  const target = await mkdtemp(join(directory, "theirs-"));
  const layout = join(target, "oci");
  const from = performance.now();
  const source = `docker://${reference}`;
  await run("skopeo", "copy", "--quiet", "--src-tls-verify=false", source, `oci:${layout}:1`);
  await run("umoci", "unpack", "--image", `${layout}:1`, join(target, "bundle"));
  const ms = performance.now() - from;
  await rm(target, { recursive: true });
  return ms;
}

/** A timer that should fire each millisecond; the longest it was late. */
function watchLoop(): { stop(): number } {
  let last = performance.now();
  let longest = 0;
  const look = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last - 1);
    last = now;
  };
  const timer = setInterval(look, 1);
  return {
    stop: () => {
      look();
      clearInterval(timer);
      return longest;
    },
  };
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
