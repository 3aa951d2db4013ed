/**
 * What every container runtime keeps to, memory and real ones alike. An adapter's test file gives
 * `runContainerRuntimeSuite` a setup and nothing else.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { defined } from "../../src/model/assert.ts";
import {
  RuntimeError,
  type ContainerRuntime,
  type ContainerSpec,
  type ContainerStatus,
  type ExecSession,
} from "../../src/ports/container-runtime.ts";
import { eventually } from "./eventually.ts";

/** What a container of the suite, or a process in it, is to do. Each harness turns it into arguments. */
export type SuiteProgram =
  /** Runs until it is told to end; SIGTERM ends it at once with 143. */
  | { readonly kind: "wait" }
  /** Runs until SIGKILL. */
  | { readonly kind: "ignore-term" }
  | { readonly kind: "exit"; readonly code: number }
  /** Prints the lines, to standard error those of `errors`, and runs on. */
  | {
      readonly kind: "print";
      readonly lines: readonly string[];
      readonly errors: readonly string[];
    }
  /** Prints the lines and ends with 0. */
  | { readonly kind: "print-and-exit"; readonly lines: readonly string[] }
  /** Copies standard input to standard output until it ends, then ends with 0. */
  | { readonly kind: "cat" }
  /** Not in the image. */
  | { readonly kind: "missing" };

export interface RuntimeHarness {
  readonly runtime: ContainerRuntime;
  argsOf(program: SuiteProgram): readonly string[];
  /** Resolves when the program ignores SIGTERM, for a runtime under which a signal could arrive before. */
  ignoresTerm?(id: string): Promise<void>;
  /** Unpacked layers that hold what `argsOf` names. */
  readonly layers: readonly string[];
  /** What an agent that starts after a crash opens: another runtime over the same containers. The old one is not used again. */
  reopen(): Promise<ContainerRuntime>;
  /** Removes all that was made. */
  dispose(): Promise<void>;
}

/** Arguments for images that hold a busybox shell at /bin/sh. */
export function shellArgs(program: SuiteProgram): readonly string[] {
  const quote = (line: string): string => `'${line.replaceAll("'", `'\\''`)}'`;
  const print = (lines: readonly string[], suffix: string): string =>
    lines.map((line) => `echo ${quote(line)}${suffix};`).join(" ");
  const sh = (script: string): readonly string[] => ["/bin/sh", "-c", script];
  const wait = "trap 'exit 143' TERM; while :; do sleep 1000 & wait $!; done";
  switch (program.kind) {
    case "wait":
      return sh(wait);
    case "ignore-term":
      // An ignored signal stays ignored through exec; a child of the shell would outlive it and keep its output open.
      return sh("trap '' TERM; echo ignoring; exec sleep 1000");
    case "exit":
      return sh(`exit ${program.code}`);
    case "print":
      return sh(`${print(program.lines, "")} ${print(program.errors, " >&2")} ${wait}`);
    case "print-and-exit":
      return sh(`${print(program.lines, "")} exit 0`);
    case "cat":
      return sh("exec cat");
    case "missing":
      return ["/no/such/program"];
  }
}

const terminateSignal = 15;
const killSignal = 9;

export function runContainerRuntimeSuite(name: string, setup: () => Promise<RuntimeHarness>): void {
  describe(`container runtime contract: ${name}`, () => {
    let harness: RuntimeHarness;
    let runtime: ContainerRuntime;

    beforeEach(async () => {
      harness = await setup();
      runtime = harness.runtime;
    });
    afterEach(async () => {
      await harness.dispose();
    });

    const spec = (
      id: string,
      program: SuiteProgram,
      labels: Readonly<Record<string, string>> = {},
    ): ContainerSpec => ({
      id,
      labels,
      layers: harness.layers,
      args: harness.argsOf(program),
      env: ["PATH=/bin:/usr/bin:/sbin:/usr/sbin"],
      workingDirectory: "/",
      user: "",
      hostname: "suite",
      cpuMillis: 0,
      memoryBytes: 0,
    });
    const run = async (id: string, program: SuiteProgram): Promise<void> => {
      await runtime.create(spec(id, program));
      await runtime.start(id);
    };
    const statusOf = async (id: string): Promise<ContainerStatus | undefined> =>
      (await runtime.list()).find((status) => status.id === id);
    const phase = (id: string, wanted: ContainerStatus["phase"]) =>
      eventually(`${id} ${wanted}`, async () => {
        const status = await statusOf(id);
        return status?.phase === wanted ? status : undefined;
      });

    test("nothing is listed at first", async () => {
      expect(await runtime.list()).toEqual([]);
    });

    test("created, started, ended by signal, removed", async () => {
      await runtime.create(spec("a-0", { kind: "wait" }, { promise: "g/1" }));
      const created = defined(await statusOf("a-0"), "the new container");
      expect(created.phase).toBe("created");
      expect(created.labels).toEqual({ promise: "g/1" });
      await runtime.start("a-0");
      const running = await phase("a-0", "running");
      expect(running.exitCode).toBeUndefined();
      // A signal that arrives before the program has its handler is lost on a real machine.
      const ended = await eventually("a-0 exited", async () => {
        await runtime.signal("a-0", terminateSignal);
        const status = await statusOf("a-0");
        return status?.phase === "exited" ? status : undefined;
      });
      expect(ended.exitCode).toBe(143);
      await runtime.remove("a-0");
      expect(await runtime.list()).toEqual([]);
    });

    test("every call may be repeated", async () => {
      const twice = spec("b-0", { kind: "wait" });
      await runtime.create(twice);
      await runtime.create(twice);
      await runtime.start("b-0");
      const pid = (await phase("b-0", "running")).pid;
      await runtime.start("b-0");
      await runtime.create(twice);
      expect((await phase("b-0", "running")).pid).toBe(pid);
      await runtime.signal("b-0", killSignal);
      expect((await phase("b-0", "exited")).exitCode).toBe(137);
      await runtime.signal("b-0", killSignal);
      await runtime.remove("b-0");
      await runtime.remove("b-0");
      await runtime.remove("never-was");
      expect(await runtime.list()).toEqual([]);
    });

    test("an exit code is told to watchers and kept for the list", async () => {
      const seen: ContainerStatus[] = [];
      const stop = runtime.watch((status) => seen.push(status));
      await run("c-0", { kind: "exit", code: 7 });
      expect((await phase("c-0", "exited")).exitCode).toBe(7);
      const told = await eventually("the end told", async () => seen.find((status) => status.id === "c-0"));
      expect(told.phase).toBe("exited");
      expect(told.exitCode).toBe(7);
      stop();
      const before = seen.length;
      await run("c-1", { kind: "exit", code: 1 });
      await phase("c-1", "exited");
      expect(seen.filter((status) => status.id === "c-1")).toEqual([]);
      expect(seen.length).toBe(before);
    });

    test("a program may ignore SIGTERM, none ignores SIGKILL", async () => {
      await run("d-0", { kind: "ignore-term" });
      await harness.ignoresTerm?.("d-0");
      await runtime.signal("d-0", terminateSignal);
      expect((await statusOf("d-0"))?.phase).toBe("running");
      await runtime.signal("d-0", killSignal);
      expect((await phase("d-0", "exited")).exitCode).toBe(137);
    });

    test("removing what runs kills it", async () => {
      await run("e-0", { kind: "ignore-term" });
      await runtime.remove("e-0");
      expect(await runtime.list()).toEqual([]);
    });

    test("a created container that never ran can be removed", async () => {
      await runtime.create(spec("f-0", { kind: "wait" }));
      await runtime.remove("f-0");
      expect(await runtime.list()).toEqual([]);
    });

    test("starting what is not there is refused", async () => {
      const error = await rejection(runtime.start("g-0"));
      expect(error.info.code).toBe("no-such-container");
    });

    test("a program that is not in the image is a bad command, and nothing runs", async () => {
      const error = await rejection(run("h-0", { kind: "missing" }));
      expect(error.info.code).toBe("bad-command");
      expect((await statusOf("h-0"))?.phase).not.toBe("running");
      await runtime.remove("h-0");
      expect(await runtime.list()).toEqual([]);
    });

    test("an ended container is not run again by a repeated start", async () => {
      await run("i-0", { kind: "exit", code: 4 });
      await phase("i-0", "exited");
      await runtime.start("i-0").catch((error: unknown) => {
        expect(error).toBeInstanceOf(RuntimeError);
      });
      expect(await statusOf("i-0")).toMatchObject({
        phase: "exited",
        exitCode: 4,
      });
    });

    test("containers and their ends survive the agent", async () => {
      await runtime.create(spec("j-0", { kind: "wait" }, { promise: "g/9" }));
      await runtime.start("j-0");
      await run("j-1", { kind: "exit", code: 3 });
      await runtime.create(spec("j-2", { kind: "wait" }));
      const pid = (await phase("j-0", "running")).pid;
      runtime = await harness.reopen();
      const again = await phase("j-0", "running");
      expect(again.pid).toBe(pid);
      expect(again.labels).toEqual({ promise: "g/9" });
      expect((await phase("j-1", "exited")).exitCode).toBe(3);
      expect((await statusOf("j-2"))?.phase).toBe("created");
      await runtime.start("j-2");
      await phase("j-2", "running");
    });

    test("a new agent is told when an adopted container ends", async () => {
      await run("k-0", { kind: "wait" });
      runtime = await harness.reopen();
      const seen: ContainerStatus[] = [];
      runtime.watch((status) => seen.push(status));
      await runtime.signal("k-0", killSignal);
      const told = await eventually("the end told", async () => seen.find((status) => status.id === "k-0"));
      expect(told).toMatchObject({ phase: "exited", exitCode: 137 });
    });

    test("different containers are handled at the same time", async () => {
      const ids = Array.from({ length: 6 }, (_, i) => `l-${i}`);
      await Promise.all(ids.map((id) => run(id, { kind: "wait" })));
      await Promise.all(ids.map((id) => phase(id, "running")));
      expect(new Set((await runtime.list()).map((s) => s.id)).size).toBe(6);
      await Promise.all(ids.map((id) => runtime.remove(id)));
      expect(await runtime.list()).toEqual([]);
    });

    describe("logs", () => {
      const read = async (id: string, tail?: number): Promise<string[]> => {
        const lines: string[] = [];
        const options = { follow: false, signal: new AbortController().signal };
        const source = runtime.logs(id, tail === undefined ? options : { ...options, tail });
        for await (const line of source) lines.push(`${line.stream}: ${line.text}`);
        return lines;
      };

      test("both streams are kept, also after the end and for a new agent", async () => {
        await run("m-0", {
          kind: "print",
          lines: ["one", "two"],
          errors: ["oh"],
        });
        const lines = await eventually("three lines", async () => {
          const now = await read("m-0");
          return now.length === 3 ? now : undefined;
        });
        expect(lines.toSorted()).toEqual(["stderr: oh", "stdout: one", "stdout: two"]);
        await runtime.signal("m-0", killSignal);
        await phase("m-0", "exited");
        runtime = await harness.reopen();
        expect((await read("m-0")).length).toBe(3);
      });

      test("the last lines only", async () => {
        await run("n-0", {
          kind: "print-and-exit",
          lines: ["1", "2", "3", "4"],
        });
        await phase("n-0", "exited");
        await eventually("all lines", async () => ((await read("n-0")).length === 4 ? true : undefined));
        expect(await read("n-0", 2)).toEqual(["stdout: 3", "stdout: 4"]);
      });

      test("following ends with the signal", async () => {
        await run("o-0", { kind: "print", lines: ["hello"], errors: [] });
        const abort = new AbortController();
        const lines: string[] = [];
        for await (const line of runtime.logs("o-0", {
          follow: true,
          signal: abort.signal,
        })) {
          expect(line.atMs).toBeGreaterThan(0);
          lines.push(line.text);
          abort.abort();
        }
        expect(lines).toEqual(["hello"]);
      });

      test("following ends when the container is removed", async () => {
        await run("p-0", { kind: "print", lines: ["bye"], errors: [] });
        const lines: string[] = [];
        for await (const line of runtime.logs("p-0", {
          follow: true,
          signal: new AbortController().signal,
        })) {
          lines.push(line.text);
          await runtime.remove("p-0");
        }
        expect(lines).toEqual(["bye"]);
      });
    });

    describe("exec", () => {
      const exec = (id: string, program: SuiteProgram): Promise<ExecSession> =>
        runtime.exec(id, { args: harness.argsOf(program), env: [] });
      const outputOf = async (session: ExecSession): Promise<string> => {
        const decoder = new TextDecoder();
        let text = "";
        for await (const chunk of session.output) text += decoder.decode(chunk.data, { stream: true });
        return text;
      };

      test("output and exit code", async () => {
        await run("q-0", { kind: "wait" });
        const printing = await exec("q-0", {
          kind: "print-and-exit",
          lines: ["from inside"],
        });
        expect(await outputOf(printing)).toBe("from inside\n");
        expect(await printing.exitCode).toBe(0);
        const failing = await exec("q-0", { kind: "exit", code: 9 });
        expect(await outputOf(failing)).toBe("");
        expect(await failing.exitCode).toBe(9);
        expect((await statusOf("q-0"))?.phase).toBe("running");
      });

      test("input reaches the process", async () => {
        await run("r-0", { kind: "wait" });
        const session = await exec("r-0", { kind: "cat" });
        await session.write(new TextEncoder().encode("over there\n"));
        await session.closeInput();
        expect(await outputOf(session)).toBe("over there\n");
        expect(await session.exitCode).toBe(0);
      });

      test("kill ends the process, not the container", async () => {
        await run("s-0", { kind: "wait" });
        const session = await exec("s-0", { kind: "ignore-term" });
        session.kill();
        await outputOf(session);
        expect(await session.exitCode).toBe(137);
        session.kill();
        expect((await statusOf("s-0"))?.phase).toBe("running");
      });

      test("a program that is not there ends with 127, and says so", async () => {
        await run("u-0", { kind: "wait" });
        const session = await exec("u-0", { kind: "missing" });
        expect(await outputOf(session)).toMatch(/not found|no such|ENOENT/i);
        expect(await session.exitCode).toBe(127);
        session.kill();
        expect((await statusOf("u-0"))?.phase).toBe("running");
      });

      test("only in what runs", async () => {
        const missing = await rejection(exec("t-0", { kind: "cat" }));
        expect(missing.info.code).toBe("no-such-container");
        await run("t-1", { kind: "exit", code: 0 });
        await phase("t-1", "exited");
        const ended = await rejection(exec("t-1", { kind: "cat" }));
        expect(ended.info.code).toBe("not-running");
      });
    });
  });
}

async function rejection(attempt: Promise<unknown>): Promise<RuntimeError> {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof RuntimeError) return error;
    throw error;
  }
  throw new Error("expected a RuntimeError, and it succeeded");
}
