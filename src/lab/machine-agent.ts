/** The agent of one machine: started, found and killed from outside of it. */
import { openSync, closeSync, existsSync, readFileSync } from "node:fs";
import { LabError } from "./errors.ts";
import { inMachine } from "./machine.ts";
import { allPids, argumentsOf, isAlive, killProcess, pidNamespace } from "./processes.ts";

export interface AgentPlace {
  readonly machine: string;
  /** Process 1 of the machine. */
  readonly pid: number;
  readonly dataDirectory: string;
  readonly socketPath: string;
  readonly logPath: string;
}

const readyWaitMs = 20_000;
const answerWaitMs = 1_000;
const pollMs = 5;
const logTailChars = 1_500;

/** Starts the agent and resolves when its API answers. It outlives this process. */
export async function startAgent(place: AgentPlace, words: readonly string[]): Promise<void> {
  const log = openSync(place.logPath, "a", 0o600);
  const child = Bun.spawn(inMachine(place.pid, words), {
    cwd: "/",
    stdin: "ignore",
    stdout: log,
    stderr: log,
    detached: true,
  });
  closeSync(log);
  child.unref();
  const until = performance.now() + readyWaitMs;
  while ((await membersAlive(place.socketPath)) === 0) {
    const hasEnded = child.exitCode !== null || child.signalCode !== null;
    if (hasEnded || performance.now() > until) {
      const logTail = tailOf(place.logPath);
      const what = hasEnded ? "ended while it was starting" : `does not answer after ${readyWaitMs / 1000} s`;
      throw new LabError(`the agent of ${place.machine} ${what}:\n${logTail}`, {
        code: "agent-failed",
        machine: place.machine,
        logTail,
      });
    }
    await Bun.sleep(pollMs);
  }
}

/** Kills the agent and nothing else; resolves when it is gone. False when none ran. */
export async function killAgent(place: AgentPlace): Promise<boolean> {
  const pids = agentPids(place);
  for (const pid of pids) killProcess(pid);
  for (const pid of pids) while (isAlive(pid)) await Bun.sleep(1);
  return pids.length > 0;
}

/** Found by what they are, not by what was noted down: users may start an agent by hand too. */
export function agentPids(place: AgentPlace): readonly number[] {
  const namespace = pidNamespace(place.pid);
  if (namespace === undefined) return [];
  return allPids().filter((pid) => {
    const words = argumentsOf(pid) ?? [];
    return words.includes("up") && words.includes(place.dataDirectory) && pidNamespace(pid) === namespace;
  });
}

/** How many nodes the agent knows to live, itself among them; 0 when it does not answer. */
export async function membersAlive(socketPath: string): Promise<number> {
  if (!existsSync(socketPath)) return 0;
  try {
    const response = await fetch("http://agent/v1/status", {
      unix: socketPath,
      signal: AbortSignal.timeout(answerWaitMs),
    });
    const status: { members: { alive: number } } = JSON.parse(await response.text());
    return response.ok ? status.members.alive : 0;
  } catch {
    return 0;
  }
}

function tailOf(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8").slice(-logTailChars).trimEnd() : "";
}
