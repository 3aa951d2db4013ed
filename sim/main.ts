/**
 * Runs seeded storms over simulated fleets.
 *
 *   bun sim/main.ts --seeds 100 [--from 1]   many; prints a line for each that fails
 *   bun sim/main.ts --seed 7 [--trace]       one, twice, and says whether both runs were the same
 */
import { parseArgs } from "node:util";
import { storm } from "./workloads/storm.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string", default: "100" },
    from: { type: "string", default: "1" },
    trace: { type: "boolean", default: false },
  },
});

let rejections = 0;
process.on("unhandledRejection", (reason) => {
  rejections += 1;
  console.log(
    `unhandled rejection: ${reason instanceof Error ? (reason.stack ?? reason.message) : String(reason)}`,
  );
});

async function one(seed: number): Promise<boolean> {
  const first = await storm({
    seed,
    ...(values.trace ? { trace: (line: string) => console.log(line) } : {}),
  });
  const second = await storm({ seed });
  console.log(JSON.stringify({ ...first, isReproducible: first.traceHash === second.traceHash }, null, 2));
  return first.problems.length === 0 && first.traceHash === second.traceHash;
}

async function many(from: number, count: number): Promise<boolean> {
  let failed = 0;
  let acknowledged = 0;
  let faults = 0;
  const converged: number[] = [];
  const startedAt = performance.now();
  for (let seed = from; seed < from + count; seed++) {
    const result = await storm({ seed });
    acknowledged += result.acknowledged;
    faults += result.faults;
    converged.push(result.convergedMs);
    if (result.problems.length === 0) continue;
    failed += 1;
    const found = [...new Set(result.problems)].slice(0, 3).join("; ");
    console.log(`seed ${seed} (${result.profile}, ${result.nodes} nodes): ${found}`);
    console.log(`  replay: bun sim/main.ts --seed ${seed} --trace`);
  }
  converged.sort((a, b) => a - b);
  const seconds = (performance.now() - startedAt) / 1_000;
  console.log(
    `${count} fleets, ${failed} failed; ${acknowledged} writes acknowledged, ${faults} faults; ` +
      `converged after ${Math.round(converged[Math.floor(count / 2)] ?? 0)} ms (median), ${Math.round(converged.at(-1) ?? 0)} ms (worst) of virtual time; ${seconds.toFixed(1)} s`,
  );
  return failed === 0;
}

const isClean =
  values.seed === undefined
    ? await many(Number(values.from), Number(values.seeds))
    : await one(Number(values.seed));
process.exit(isClean && rejections === 0 ? 0 : 1);
