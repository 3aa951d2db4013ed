import {
  MemoryMachine,
  waitingProgram,
  type MemoryProgram,
} from "../../src/adapters/runtimes/memory-machine.ts";
import { MemoryRuntime } from "../../src/adapters/runtimes/memory-runtime.ts";
import { SystemClock } from "../../src/adapters/system/system-clock.ts";
import { runContainerRuntimeSuite, type SuiteProgram } from "./container-runtime-suite.ts";
import { runContainerStreamsSuite } from "./container-streams-suite.ts";

const programs = new Map<string, SuiteProgram>();

function argsOf(program: SuiteProgram): readonly string[] {
  const name = JSON.stringify(program);
  programs.set(name, program);
  return [name];
}

function programOf(args: readonly string[]): MemoryProgram {
  const program = programs.get(args[0] ?? "");
  switch (program?.kind) {
    case undefined:
    case "wait":
      return waitingProgram;
    case "ignore-term":
      return { ...waitingProgram, ignoresSignals: true };
    case "exit":
      return { ...waitingProgram, endsAfterMs: 0, exitCode: program.code };
    case "print":
      return {
        ...waitingProgram,
        output: [...lines("stdout", program.lines), ...lines("stderr", program.errors)],
      };
    case "print-and-exit":
      return { ...waitingProgram, output: lines("stdout", program.lines), endsAfterMs: 0 };
    case "cat":
      return { ...waitingProgram, echoesInput: true };
    case "missing":
      return { ...waitingProgram, exists: false };
  }
}

function lines(stream: "stdout" | "stderr", texts: readonly string[]): MemoryProgram["output"] {
  return texts.map((text) => ({ stream, text }));
}

const setup = async () => {
  const machine = new MemoryMachine({ clock: new SystemClock() }, { programOf });
  const open = (): MemoryRuntime => new MemoryRuntime({ machine });
  const runtime = open();
  return {
    runtime,
    argsOf,
    layers: ["/memory/layers/1"],
    reopen: async () => {
      await runtime.close();
      return open();
    },
    dispose: async () => {
      for (const { spec } of machine.all()) machine.remove(spec.id);
    },
  };
};
runContainerRuntimeSuite("memory", setup);
runContainerStreamsSuite("memory", setup, { hasTree: true });
