/** A container's output over the rotation of its files. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { OciRuntime } from "../../src/adapters/runtimes/oci/oci-runtime.ts";
import type { LogOptions } from "../../src/ports/container-runtime.ts";
import { eventually } from "../contract/eventually.ts";
import { canRun, containerPrograms } from "./machine-needs.ts";
import { makeOciRig, type OciRig } from "./oci-rig.ts";

const runsHere = canRun("output of oci containers", containerPrograms);
const lineCount = 3_000;
/** Slow enough for whoever keeps the full files, fast enough for a test. */
const counting = `i=0; while [ $i -lt ${lineCount} ]; do i=$((i+1)); echo line $i; [ $((i % 50)) = 0 ] && busybox usleep 10000; done`;

describe.if(runsHere)("output of oci containers", () => {
  let rig: OciRig;
  let runtime: OciRuntime;

  beforeEach(() => {
    rig = makeOciRig();
    runtime = rig.open();
  });
  afterEach(async () => {
    await runtime.close();
    await rig.dispose();
  });

  const start = async (script: string, logs: { fileBytes: number; files: number }): Promise<void> => {
    await runtime.create({ ...rig.spec("chatty", ["/bin/sh", "-c", script]), logs });
    await runtime.start("chatty");
  };
  const ended = (): Promise<true> =>
    eventually("it ended", async () => {
      const [status] = await runtime.list();
      return status?.phase === "exited" ? true : undefined;
    });
  const textsOf = async (options: Partial<LogOptions> = {}): Promise<string[]> => {
    const texts: string[] = [];
    const all = { follow: false, signal: new AbortController().signal, ...options };
    for await (const line of runtime.logs("chatty", all)) texts.push(line.text);
    return texts;
  };
  const numbered = (first: number, last: number): string[] =>
    Array.from({ length: last - first + 1 }, (_, index) => `line ${first + index}`);
  const files = (): string[] =>
    readdirSync(join(rig.options.root, "containers/chatty")).filter((name) => name.startsWith("log"));
  const bytesOnDisk = (): number =>
    [
      ...new Map(
        files().map((name) => {
          const { ino, size } = statSync(join(rig.options.root, "containers/chatty", name), {
            throwIfNoEntry: false,
          }) ?? { ino: 0, size: 0 };
          return [ino, size];
        }),
      ).values(),
    ].reduce((sum, size) => sum + size, 0);

  test("so many files are kept, without a gap, and read as one; also by the next agent, and from behind", async () => {
    await start(counting, { fileBytes: 20_000, files: 3 });
    await ended();
    await eventually("the last file kept", async () => (files().includes("log.2") ? true : undefined));
    const texts = await textsOf();
    // Two full files and what is in the third; each record is some 53 bytes.
    expect(texts.length).toBeGreaterThan((2 * 20_000) / 60);
    expect(texts).toEqual(numbered(lineCount - texts.length + 1, lineCount));
    expect(files()).not.toContain("log.3");
    await runtime.close();
    runtime = rig.open();
    expect(await textsOf()).toEqual(texts);
    for (const tail of [0, 1, 10, 400, 700])
      expect(await textsOf({ tail })).toEqual(texts.slice(texts.length - tail));
    expect(await textsOf({ tail: 1_000_000 })).toEqual(texts);
  });

  test("a follower sees each line once, over every rotation", async () => {
    const abort = new AbortController();
    await runtime.create({
      ...rig.spec("chatty", ["/bin/sh", "-c", counting]),
      logs: { fileBytes: 20_000, files: 2 },
    });
    const following = (async () => {
      const texts: string[] = [];
      for await (const line of runtime.logs("chatty", { follow: true, signal: abort.signal })) {
        texts.push(line.text);
        if (line.text === `line ${lineCount}`) break;
      }
      return texts;
    })();
    await runtime.start("chatty");
    expect(await following).toEqual(numbered(1, lineCount));
  });

  test("one that fills its log as fast as it can stays within its files, and others are served", async () => {
    const fileBytes = 1024 * 1024;
    await start("exec yes and more and more and more", { fileBytes, files: 3 });
    let most = 0;
    let rounds = 0;
    const end = performance.now() + 3_000;
    let inode = 0;
    let rotations = 0;
    while (performance.now() < end) {
      most = Math.max(most, bytesOnDisk());
      const now =
        statSync(join(rig.options.root, "containers/chatty/log"), { throwIfNoEntry: false })?.ino ?? 0;
      if (now !== inode) rotations += 1;
      inode = now;
      rounds += 1;
      await runtime.list();
      await Bun.sleep(5);
    }
    // For a moment a file that is full stands beside as many as are kept.
    expect(most).toBeLessThanOrEqual(4.1 * fileBytes);
    expect(rotations).toBeGreaterThan(10);
    expect(rounds).toBeGreaterThan(50);
    await runtime.remove("chatty");
  });

  test("without an agent the log grows no further than a file and the one before", async () => {
    const fileBytes = 256 * 1024;
    await start("exec yes again and again", { fileBytes, files: 5 });
    await eventually("one kept", async () => (files().includes("log.kept") ? true : undefined));
    await runtime.close();
    const before = bytesOnDisk();
    await Bun.sleep(500);
    expect(bytesOnDisk()).toBeLessThanOrEqual(before + 2.1 * fileBytes);
    runtime = rig.open();
    await runtime.signal("chatty", 9);
    await ended();
    expect((await textsOf({ tail: 3 })).length).toBe(3);
  });
});
