/** What every runtime keeps to when somebody joins a container, copies in or out of it, or asks what it uses. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { defined } from "../../src/model/assert.ts";
import {
  RuntimeError,
  type ContainerRuntime,
  type ContainerSpec,
  type ExecSession,
} from "../../src/ports/container-runtime.ts";
import type { RuntimeHarness, SuiteProgram } from "./container-runtime-suite.ts";
import { eventually } from "./eventually.ts";

const killSignal = 9;

export function runContainerStreamsSuite(
  name: string,
  setup: () => Promise<RuntimeHarness>,
  /** A runtime whose containers have no file tree of their own says so. */
  options: { readonly hasTree: boolean },
): void {
  describe(`container streams contract: ${name}`, () => {
    let harness: RuntimeHarness;
    let runtime: ContainerRuntime;
    beforeEach(async () => {
      harness = await setup();
      runtime = harness.runtime;
    });
    afterEach(async () => {
      await harness.dispose();
    });

    const run = async (id: string, program: SuiteProgram, changes: Partial<ContainerSpec> = {}) => {
      await runtime.create({
        id,
        labels: { promise: "g/1" },
        layers: harness.layers,
        args: harness.argsOf(program),
        env: ["PATH=/bin:/usr/bin:/sbin:/usr/sbin"],
        workingDirectory: "/",
        user: "",
        hostname: "suite",
        cpuMillis: 0,
        memoryBytes: 0,
        ...changes,
      });
      await runtime.start(id);
      await eventually(`${id} runs`, async () =>
        (await runtime.list()).find((status) => status.id === id && status.phase === "running"),
      );
    };

    test("input reaches the program, its output comes back, and letting go leaves it running", async () => {
      await run("a-0", { kind: "cat" }, { stdin: true });
      const first = await runtime.attach("a-0");
      await first.write(Buffer.from("over there\n"));
      expect(await read(first, 11)).toBe("over there\n");
      first.kill();
      await first.exitCode;
      expect((await runtime.list())[0]?.phase).toBe("running");
      const second = await runtime.attach("a-0");
      await second.write(Buffer.from("and back\n"));
      expect(await read(second, 9)).toBe("and back\n");
      second.kill();
    });

    test("an attached session ends with the program, and with its exit code", async () => {
      await run("b-0", { kind: "wait" });
      const session = await runtime.attach("b-0");
      await runtime.signal("b-0", killSignal);
      for await (const _chunk of session.output);
      expect(await session.exitCode).toBe(137);
    });

    test("only to what runs", async () => {
      expect((await rejection(runtime.attach("c-0"))).info.code).toBe("no-such-container");
      await run("c-1", { kind: "wait" });
      await runtime.signal("c-1", killSignal);
      await eventually("c-1 ended", async () =>
        (await runtime.list()).find(({ phase }) => phase === "exited"),
      );
      expect((await rejection(runtime.attach("c-1"))).info.code).toBe("not-running");
    });

    test("usage is told of what runs, and of nothing else", async () => {
      await run("d-0", { kind: "wait" }, { memoryBytes: 64 * 1024 * 1024 });
      await run("d-1", { kind: "wait" });
      await runtime.signal("d-1", killSignal);
      const usages = await eventually("one usage", async () => {
        const now = await runtime.usage();
        return now.length === 1 ? now : undefined;
      });
      const usage = defined(usages[0], "the usage of d-0");
      expect(usage.id).toBe("d-0");
      expect(usage.labels).toEqual({ promise: "g/1" });
      expect(usage.memoryLimitBytes).toBe(64 * 1024 * 1024);
      expect(usage.pids).toBeGreaterThan(0);
      expect(usage.atMs).toBeGreaterThanOrEqual(0);
    });

    test("lines since a time", async () => {
      const linesSince = async (id: string, sinceMs: number): Promise<number> => {
        let count = 0;
        const signal = new AbortController().signal;
        for await (const _line of runtime.logs(id, { follow: false, sinceMs, signal })) count += 1;
        return count;
      };
      await run("e-0", { kind: "print", lines: ["one", "two"], errors: [] });
      await eventually("both lines", async () => ((await linesSince("e-0", 0)) === 2 ? true : undefined));
      expect(await linesSince("e-0", Date.now() + 60_000)).toBe(0);
    });

    if (!options.hasTree) {
      test("there is no tree to copy from or to", async () => {
        await run("f-0", { kind: "wait" });
        expect((await rejection(runtime.copyOut("f-0", "/etc/passwd"))).info.code).toBe("bad-path");
        expect((await rejection(runtime.copyIn("f-0", "/tmp", nothing()))).info.code).toBe("bad-path");
        expect((await rejection(runtime.copyOut("f-1", "/etc/passwd"))).info.code).toBe("no-such-container");
      });
      return;
    }

    test("what is copied in comes out again", async () => {
      await run("g-0", { kind: "wait" });
      const archive = await new Bun.Archive({ "note.txt": "what it says\n" }).bytes();
      await runtime.copyIn("g-0", "/note.txt", pieces(archive));
      const out = await new Bun.Archive(await gather(await runtime.copyOut("g-0", "/note.txt"))).files();
      expect(await out.get("note.txt")?.text()).toBe("what it says\n");
    });

    test("what is not there is refused by name", async () => {
      await run("h-0", { kind: "wait" });
      const error = await rejection(runtime.copyOut("h-0", "/no/such/file"));
      expect(error.info.code).toBe("bad-path");
      expect(error.message).toContain("/no/such/file");
      expect((await rejection(runtime.copyOut("h-1", "/etc"))).info.code).toBe("no-such-container");
    });
  });
}

async function read(session: ExecSession, bytes: number): Promise<string> {
  const output = session.output[Symbol.asyncIterator]();
  let text = "";
  while (text.length < bytes) {
    const next = await output.next();
    if (next.done === true) break;
    text += new TextDecoder().decode(next.value.data);
  }
  return text;
}

export async function gather(source: AsyncIterable<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk.slice());
  return new Uint8Array(Buffer.concat(chunks));
}

/** In pieces that fit no block. */
export async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += 700) yield bytes.subarray(start, start + 700);
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

async function rejection(attempt: Promise<unknown>): Promise<RuntimeError> {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof RuntimeError) return error;
    throw error;
  }
  throw new Error("expected a RuntimeError, and it succeeded");
}
