/**
 * An agent lives for months and mostly waits: its JavaScript runs interpreted, on one collector thread. Compiled code and the
 * pages of the compilers weigh a quarter of the process and cost more than they save
 * (docs/decisions/0016-agents-run-interpreted.md). The engine and its allocator read these settings once, when the process begins,
 * so the process replaces itself by the same program with them.
 */
import { dlopen, FFIType, ptr } from "bun:ffi";

/**
 * Names from JavaScriptCore's OptionsList.h, prefixed as Bun reads them. The pinned Bun refuses names it does not know.
 * The allocator's (milliseconds) is the pause between two searches for freed pages inside pages in use: as it comes, a
 * thread of its own searches after each wake of an idle agent, for a sixth of all the agent's CPU.
 */
const settings: Readonly<Record<string, string>> = {
  BUN_JSC_useDFGJIT: "0",
  BUN_JSC_useBaselineJIT: "0",
  BUN_JSC_useConcurrentGC: "0",
  BUN_JSC_numberOfGCMarkers: "1",
  MIMALLOC_PURGE_HOLES_MIN_INTERVAL: "30000",
};

/** Whether somebody has set the engine already: we, before this process began, or who started it and knows why. */
export function isEngineSet(env: Readonly<Record<string, string | undefined>>): boolean {
  return Object.keys(env).some((name) => name.startsWith("BUN_JSC_"));
}

/** Does not return when it works; when the system refuses, the process goes on as it is. */
export function replaceByLean(
  command: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): void {
  const path = command[0];
  if (path === undefined) return;
  const variables = Object.entries({ ...env, ...settings }).map(([name, value]) => `${name}=${value}`);
  try {
    const libc = dlopen("libc.so.6", {
      execve: { args: [FFIType.ptr, FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
    });
    const words = command.map(terminated);
    const lines = variables.map(terminated);
    libc.symbols.execve(ptr(terminated(path)), ptr(pointers(words)), ptr(pointers(lines)));
    libc.close();
  } catch {
    // No such libc: the agent is heavier, and whole.
  }
}

function terminated(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

/** A null-terminated array of pointers; `buffers` must outlive it. */
function pointers(buffers: readonly Buffer[]): BigUint64Array {
  return BigUint64Array.from([...buffers.map((buffer) => BigInt(ptr(buffer))), 0n]);
}
