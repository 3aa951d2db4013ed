/**
 * Breaks things on purpose and measures how long a deployment is not whole. What counts is what runs:
 * the answer of a node that lives must agree with the processes that are on the machines.
 */
import { LabError } from "./errors.ts";
import type { Lab } from "./lab.ts";
import { innerPid, isAlive, killProcess } from "./processes.ts";
import type { CohortView, DeploymentView } from "../model/views.ts";
import type { DeploymentKey } from "../node/node-api.ts";
import { Witness } from "./witness.ts";

/** `replica`: a container's first process. `holder`, `steward`: the power of a machine that is one. */
export const victims = ["replica", "holder", "steward"] as const;
export type Victim = (typeof victims)[number];

export interface ChaosRound {
  readonly killed: Victim;
  readonly machine: string;
  /** From the moment of the kill until all desired replicas run on machines that have power. */
  readonly wholeAfterMs: number;
  /** From giving the machine power again until fleet, cohort and deployment are as before. */
  readonly restoredAfterMs: number;
}

export interface ChaosOptions {
  readonly key: DeploymentKey;
  readonly victim: Victim;
  /** How long to wait for whole, and then again for restored, before giving up. */
  readonly timeoutMs: number;
  /** A number in [0, 1) that chooses among the candidates. */
  readonly dice: () => number;
}

/** Resolves when nothing is missing: every machine, every voter with the whole log, exactly the desired replicas. */
export async function waitRestored(lab: Lab, key: DeploymentKey, timeoutMs: number): Promise<void> {
  const witness = new Witness(lab, key);
  await until(`${key.namespace}/${key.name} and its cohort are whole`, timeoutMs, async () => {
    for (const { name } of lab.machines) {
      const nodes = await witness.nodesSeenBy(name);
      if (nodes === undefined) return `${name} does not answer`;
      const missing = nodes.filter((node) => node.status !== "alive" && node.status !== "left");
      if (missing.length > 0 || nodes.length < lab.machines.length)
        return `${name} does not see all machines`;
    }
    const view = await witness.deployment();
    const cohort = await witness.cohort();
    if (view === undefined || cohort === undefined) return "no steward answers";
    if (view.replicas.some((replica) => replica.phase !== "running"))
      return "something is still being released";
    return witness.missing(view) ?? witness.surplus(view) ?? missingVoters(cohort, lab.machines.length);
  });
}

/** Kills once, waits until whole, gives power back, waits until all is as before. */
export async function chaosRound(lab: Lab, options: ChaosOptions): Promise<ChaosRound> {
  const { key, victim, timeoutMs } = options;
  const witness = new Witness(lab, key);
  const view = await witness.mustSee();
  const steward = (await witness.cohort())?.members.find((member) => member.roles.includes("steward"))?.name;
  if (steward === undefined)
    throw new LabError(`${key.name} has no steward`, { code: "unsuitable", what: "steward" });
  const strike = chooseStrike(lab, view, { ...options, steward });
  const startedAt = performance.now();
  await strike.act();
  await until(`${key.namespace}/${key.name} is whole`, timeoutMs, async () => {
    // What runs is cheap to see, and answers are only asked for when they can be yes.
    if (strike.dead.some((pid) => isAlive(pid))) return "it has not died yet";
    if (witness.live().length < view.desired) return `${witness.live().length} of ${view.desired} run`;
    const now = await witness.deployment();
    return now === undefined ? "no node answers" : witness.missing(now);
  });
  const wholeAfterMs = performance.now() - startedAt;
  const restoringAt = performance.now();
  await strike.mend();
  await waitRestored(lab, key, timeoutMs);
  const restoredAfterMs = performance.now() - restoringAt;
  return { killed: victim, machine: strike.machine, wholeAfterMs, restoredAfterMs };
}

interface Strike {
  readonly machine: string;
  /** Processes that are gone when it has hit. */
  readonly dead: readonly number[];
  readonly act: () => Promise<void>;
  readonly mend: () => Promise<void>;
}

function chooseStrike(
  lab: Lab,
  view: DeploymentView,
  { victim, dice, steward }: ChaosOptions & { readonly steward: string },
): Strike {
  if (victim === "replica") {
    const replica = pick(view.replicas, dice);
    const pids = new Witness(lab, view).processesOf(replica);
    const first = pids.find((pid) => innerPid(pid) === 1) ?? pids[0];
    if (first === undefined) throw new LabError("no process of it", { code: "unsuitable", what: "replica" });
    const act = async (): Promise<void> => killProcess(first);
    return { machine: replica.nodeName, dead: [first], act, mend: async () => {} };
  }
  const holders = [...new Set(view.replicas.map((replica) => replica.nodeName))].toSorted();
  const others = holders.filter((name) => name !== steward);
  const machine = victim === "steward" ? steward : pick(others.length > 0 ? others : holders, dice);
  return { machine, dead: [], act: () => lab.kill(machine), mend: () => lab.start(machine) };
}

function pick<T>(from: readonly T[], dice: () => number): T {
  const chosen = from[Math.floor(dice() * from.length)];
  if (chosen !== undefined) return chosen;
  throw new LabError("there is nothing of that kind to kill", { code: "unsuitable", what: "victim" });
}

function missingVoters(cohort: CohortView, machines: number): string | undefined {
  const voters = cohort.members.filter((member) => member.roles.includes("voter"));
  if (voters.length < Math.min(3, machines)) return `${voters.length} voters`;
  const behind = voters.find(
    (voter) => voter.status !== "alive" || (voter.match !== undefined && voter.match < cohort.commitIndex),
  );
  return behind === undefined ? undefined : `voter ${behind.name} is ${behind.status} or behind`;
}

const pauseMs = 5;

/** Asks until `missing` says undefined: nothing. */
async function until(
  what: string,
  timeoutMs: number,
  missing: () => Promise<string | undefined>,
): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  for (;;) {
    const reason = await missing();
    if (reason === undefined) return;
    if (performance.now() > giveUpAt) {
      const message = `not so after ${timeoutMs / 1000} s: ${what}; ${reason}`;
      throw new LabError(message, { code: "timeout", what, afterMs: timeoutMs });
    }
    await Bun.sleep(pauseMs);
  }
}
