import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
  openSync,
  closeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SqliteStore, storeFileName } from "../../src/adapters/stores/sqlite-store.ts";
import { StoreError } from "../../src/ports/store.ts";
import { runStoreSuite } from "./store-suite.ts";

const root = mkdtempSync(join(tmpdir(), "muster-store-"));
const disk = join(root, "disk");
let isMounted = false;
let directories = 0;

beforeAll(() => {
  mkdirSync(disk);
  isMounted = run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk]);
  if (!isMounted && process.env["CI"] === "true")
    throw new Error("no tmpfs can be mounted, which CI must be able to");
});

afterAll(() => {
  if (isMounted) run(["umount", disk]);
  rmSync(root, { recursive: true, force: true });
});

function run(command: readonly string[]): boolean {
  return Bun.spawnSync([...command], { stderr: "inherit" }).success;
}

function newDirectory(): string {
  return join(disk, String(directories++));
}

/** Writes until the disk takes no more; the answer makes room again. */
async function fillDisk(): Promise<() => Promise<void>> {
  const path = join(disk, "filler");
  const descriptor = openSync(path, "w");
  const block = new Uint8Array(64 * 1024);
  try {
    while (writeSync(descriptor, block) === block.length);
  } catch (error) {
    expect(error).toMatchObject({ code: "ENOSPC" });
  } finally {
    closeSync(descriptor);
  }
  return async () => rmSync(path);
}

runStoreSuite("sqlite", async () => {
  const directory = newDirectory();
  return {
    store: SqliteStore.open(directory),
    open: async () => SqliteStore.open(directory),
    fill: isMounted ? fillDisk : undefined,
    dispose: async () => rmSync(directory, { recursive: true, force: true }),
  };
});

describe("sqlite store", () => {
  test("its files are for their owner only, in whatever directory", async () => {
    const directory = newDirectory();
    mkdirSync(directory, { mode: 0o755 });
    const store = SqliteStore.open(directory);
    await store.commit([{ kind: "put", table: "node", key: "a", value: new Uint8Array(1) }]);
    for (const name of [storeFileName, `${storeFileName}-wal`])
      expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);
    await store.close();
  });

  const refusal = (directory: string): StoreError => {
    try {
      SqliteStore.open(directory);
    } catch (error) {
      if (error instanceof StoreError) return error;
      throw error;
    }
    throw new Error("expected a StoreError, and it opened");
  };

  test("a second process is told who holds the store", async () => {
    const directory = newDirectory();
    const writer = Bun.spawn([process.execPath, writerPath, directory], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    const first = await firstLine(writer.stdout);
    expect(first).toBe("1");
    const error = refusal(directory);
    expect(error.info).toMatchObject({ code: "locked", holderPid: writer.pid });
    expect(error.message).toContain(String(writer.pid));
    writer.kill("SIGKILL");
    await writer.exited;
    await SqliteStore.open(directory).close();
  });

  test("a file that is no store is corrupt", () => {
    const directory = newDirectory();
    mkdirSync(directory);
    writeFileSync(
      join(directory, storeFileName),
      "not a database, and long enough to be seen as none".repeat(100),
    );
    expect(refusal(directory).info.code).toBe("corrupt");
  });

  test("a store that lost its tail is corrupt, not empty", async () => {
    const directory = newDirectory();
    const store = SqliteStore.open(directory);
    const value = new Uint8Array(200_000).fill(1);
    await store.commit([{ kind: "put", table: "node", key: "a", value }]);
    await store.close();
    truncateSync(join(directory, storeFileName), 20_000);
    const codes: string[] = [];
    try {
      const damaged = SqliteStore.open(directory);
      await damaged.get("node", "a").catch((error: unknown) => {
        if (error instanceof StoreError) codes.push(error.info.code);
      });
      await damaged.close();
    } catch (error) {
      if (error instanceof StoreError) codes.push(error.info.code);
    }
    expect(codes).toEqual(["corrupt"]);
  });

  test("what was acknowledged before kill -9 is there, 100 times", async () => {
    const directory = join(root, "killed");
    let acknowledged = 0;
    for (let round = 0; round < 100; round++) {
      const writer = Bun.spawn([process.execPath, writerPath, directory], {
        stdin: "pipe",
        stdout: "pipe",
        stderr: "inherit",
      });
      const least = acknowledged + 1 + (round % 7);
      acknowledged = await killAfter(writer, least);
      const store = SqliteStore.open(directory);
      const last = Number(new TextDecoder().decode(await store.get("node", "counter")));
      const entries = await store.readLog("g");
      await store.close();
      expect(last).toBeGreaterThanOrEqual(acknowledged);
      // The record and the entry were written in one commit, so they say the same.
      expect(entries.at(-1)?.index).toBe(last);
      expect(entries.length).toBe(last);
    }
  }, 60_000);
});

const writerPath = join(import.meta.dir, "store.sqlite-writer.ts");

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  for await (const chunk of stream) return new TextDecoder().decode(chunk).split("\n")[0] ?? "";
  return "";
}

/** Kills the writer once it has acknowledged `least`; the answer is the last number it acknowledged. */
async function killAfter(writer: Bun.Subprocess<"pipe", "pipe", "inherit">, least: number): Promise<number> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of writer.stdout) {
    text += decoder.decode(chunk);
    if (lastNumber(text) >= least) writer.kill("SIGKILL");
  }
  await writer.exited;
  return lastNumber(text);
}

function lastNumber(text: string): number {
  return Number(text.slice(0, text.lastIndexOf("\n")).split("\n").at(-1));
}
