/** `muster chaos`: breaks a lab's deployment again and again, and prints how long it was not whole. */
import { Option } from "@commander-js/extra-typings";
import type { CliContext } from "../edge/cli/console.ts";
import { CommandFailure, usageFailure } from "../edge/cli/failure.ts";
import { flag, parseCount } from "../edge/cli/flags.ts";
import { parseSpan } from "../edge/manifest/quantity.ts";
import type { Program } from "../edge/cli/root.ts";
import { formatTable } from "../edge/cli/table.ts";
import { deploymentTarget } from "../edge/cli/target.ts";
import { chaosRound, victims, waitRestored, type ChaosRound, type Victim } from "./chaos.ts";
import { parseLabName, placeOf } from "./cli.ts";
import { reportLabErrors } from "./failure.ts";
import { Lab } from "./lab.ts";

const timeoutMsDefault = 60_000;
const roundsMax = 10_000;

interface Summary {
  readonly killed: Victim;
  readonly rounds: number;
  readonly medianMs: number;
  readonly worstMs: number;
}

export function registerChaos(program: Program, context: CliContext): void {
  program
    .command("chaos")
    .argument("<name>", "deployment of the lab: NAME or NAMESPACE/NAME")
    .option("--rounds <number>", "how often each kind is killed", flag(parseCount), 1)
    .addOption(
      new Option("--kill <kind...>", "what is killed: a container's process, or the power of a machine")
        .choices(victims)
        .default(victims, "each in turn"),
    )
    .option(
      "--timeout <span>",
      "how long a deployment may take to be whole",
      flag(parseSpan),
      timeoutMsDefault,
    )
    .option("--lab <name>", "which lab (default: $MUSTER_LAB, or lab)", flag(parseLabName))
    .option("--dir <dir>", "where the lab's disks are")
    .action(async (name, options, self) => {
      const given = self.optsWithGlobals();
      if (options.rounds < 1 || options.rounds > roundsMax)
        throw usageFailure(`--rounds is 1 to ${roundsMax}`);
      const key = deploymentTarget(name, given.namespace);
      const kinds = victims.filter((kind) => options.kill.includes(kind));
      const { json } = given;
      await reportLabErrors(async () => {
        const lab = Lab.open(
          placeOf(
            {
              ...(options.lab === undefined ? {} : { name: options.lab }),
              ...(options.dir === undefined ? {} : { dir: options.dir }),
            },
            context.env,
          ),
        );
        await waitRestored(lab, key, options.timeout);
        const rounds: ChaosRound[] = [];
        for (let round = 0; round < options.rounds * kinds.length; round++) {
          if (context.console.interrupted.aborted)
            throw new CommandFailure({ code: "interrupted", message: `interrupted after ${round} rounds` });
          const victim = kinds[round % kinds.length] ?? "replica";
          const made = await chaosRound(lab, {
            key,
            victim,
            timeoutMs: options.timeout,
            dice: () => Math.random(),
          });
          rounds.push(made);
          if (json !== true) await context.console.write(`${describe(made)}\n`);
        }
        if (json === true) {
          const said = { rounds: rounds.map(rounded), summary: summaries(rounds) };
          await context.console.write(`${JSON.stringify(said)}\n`);
        } else if (options.rounds > 1) await context.console.write(formatSummary(rounds));
      });
    });
}

function describe(round: ChaosRound): string {
  const what =
    round.killed === "replica"
      ? `a replica on ${round.machine} killed`
      : `${round.killed} ${round.machine} without power`;
  return `${what}: whole after ${Math.round(round.wholeAfterMs)} ms`;
}

function rounded(round: ChaosRound): ChaosRound {
  return {
    ...round,
    wholeAfterMs: Math.round(round.wholeAfterMs),
    restoredAfterMs: Math.round(round.restoredAfterMs),
  };
}

export function summaries(rounds: readonly ChaosRound[]): readonly Summary[] {
  return victims.flatMap((killed) => {
    const times = rounds
      .filter((round) => round.killed === killed)
      .map((round) => Math.round(round.wholeAfterMs))
      .toSorted((a, b) => a - b);
    const worstMs = times.at(-1);
    if (worstMs === undefined) return [];
    return [{ killed, rounds: times.length, medianMs: medianOf(times), worstMs }];
  });
}

function medianOf(sorted: readonly number[]): number {
  const high = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const low = sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
  return Math.round((low + high) / 2);
}

function formatSummary(rounds: readonly ChaosRound[]): string {
  return `\n${formatTable(
    ["KILLED", "ROUNDS", "MEDIAN", "WORST"],
    summaries(rounds).map((one) => [
      one.killed,
      String(one.rounds),
      `${one.medianMs} ms`,
      `${one.worstMs} ms`,
    ]),
  )}`;
}
