/** What must come true once the faults have ended. */
import { freeOf } from "../../src/core/placement/book.ts";
import { isOccupying, type CohortState, type PromiseRecord } from "../../src/core/cohort/state.ts";
import type { World } from "../world/world.ts";
import type { WriteLedger } from "./writes.ts";
import { needsOf } from "../../src/model/template.ts";

/** Why the fleet is not as its users have declared it; undefined when it is. */
export function difference(world: World, ledger: WriteLedger, names: readonly string[]): string | undefined {
  for (const name of names) {
    const lineages = ledger.lineages(name);
    if (lineages.size > 1) return `${name} has ${lineages.size} cohorts: ${[...lineages].join(", ")}`;
  }
  const wanted = new Map<string, { readonly name: string; readonly record: PromiseRecord }>();
  for (const name of names) {
    const state = ledger.living(name);
    if (state === undefined) {
      const member = headless(world, name);
      if (member !== undefined) return `${name} has no steward, and ${member} takes its cohort for alive`;
      continue;
    }
    const wrong = slotsDifference(world, state) ?? membersDifference(world, state);
    if (wrong !== undefined) return wrong;
    for (const record of state.promises.values())
      if (isOccupying(record)) wanted.set(record.id, { name, record });
  }
  return containersDifference(world, wanted);
}

function headless(world: World, name: string): string | undefined {
  const hasActive = (node: World["nodes"][number]): boolean =>
    node.agent?.cohorts().some(({ state }) => state?.spec.name === name && state.status === "active") ??
    false;
  return world.live.find(hasActive)?.name;
}

function slotsDifference(world: World, state: CohortState): string | undefined {
  const { name, replicas } = state.spec;
  const served = new Set<number>();
  for (const promise of state.promises.values()) {
    if (!isOccupying(promise)) continue;
    const at = `${name}/${promise.replica} (${promise.id})`;
    if (promise.replica >= replicas) return `${at} is surplus`;
    if (promise.stage !== "promised") return `${at} is ${promise.stage}`;
    if (promise.phase !== "running" && promise.phase !== "completed") return `${at} is ${promise.phase}`;
    if (promise.templateHash !== state.templateHash && state.unplaced.key === "") return `${at} is outdated`;
    served.add(promise.replica);
  }
  const missing = replicas - served.size;
  if (missing === 0) return undefined;
  const place = placeFor(world, state);
  return place === undefined
    ? undefined
    : `${name} runs ${served.size} of ${replicas}, and ${place} has room`;
}

/** Whoever counts as a member and is up has the log. */
function membersDifference(world: World, { group, spec }: CohortState): string | undefined {
  for (const node of world.live) {
    const led = node.agent?.cohorts().find(({ id, isSteward }) => id === group && isSteward);
    if (led === undefined) continue;
    const { voters, learners, match, commitIndex } = led.status();
    for (const { id, name } of world.live)
      if ((voters.includes(id) || learners.includes(id)) && (match.get(id) ?? 0) < commitIndex)
        return `${spec.name}: ${name} has the log up to ${match.get(id) ?? 0} of ${commitIndex}`;
  }
  return undefined;
}

/** A node that could take one more replica. */
function placeFor(world: World, state: CohortState): string | undefined {
  const { resources, ports } = needsOf(state.spec.template);
  for (const node of world.live) {
    const book = node.agent?.bookSummary();
    if (book === undefined) continue;
    const free = freeOf(book);
    const isTaken = ports.some(
      ({ published, protocol }) =>
        published !== undefined &&
        book.lines.some((line) =>
          line.ports.some((own) => own.published === published && own.protocol === protocol),
        ),
    );
    if (!isTaken && free.cpuMillis >= resources.cpuMillis && free.memoryBytes >= resources.memoryBytes)
      return node.name;
  }
  return undefined;
}

/** Every container that runs belongs to a promise in the log, on its node, and the other way round. */
function containersDifference(
  world: World,
  wanted: ReadonlyMap<string, { readonly name: string; readonly record: PromiseRecord }>,
): string | undefined {
  const counts = new Map<string, number>();
  for (const { promise, container, node, deployment, replica } of world.running()) {
    const known = wanted.get(promise)?.record;
    if (known === undefined || known.node !== node.id)
      return `${deployment}/${replica} (${promise}) runs on ${node.name} and is in no log`;
    const key = `${promise} ${container}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
    if (counts.get(key) !== 1) return `${container} of ${promise} runs ${counts.get(key)} times`;
  }
  for (const [promise, { name, record }] of wanted) {
    const at = `${name}/${record.replica} (${promise})`;
    if (record.phase === "running" && !record.ready) return `${at} is not ready: ${record.message}`;
    for (const { name: container, phase } of record.containers)
      if (phase === "running" && !counts.has(`${promise} ${container}`))
        return `${container} of ${at} is said to run and does not`;
  }
  return undefined;
}

/** Marks that move when anything goes on: log positions, containers, books. */
export function activity(world: World): string {
  const marks: string[] = [];
  for (const node of world.live) {
    // A deleted cohort lingers for its members' sake, and then goes.
    for (const group of node.agent?.cohorts() ?? [])
      if (group.state?.status === "active") marks.push(`${node.name} ${group.id} ${group.state.index}`);
    for (const { spec, status } of node.machine.all()) marks.push(`${node.name} ${spec.id} ${status.phase}`);
    for (const { promise } of node.agent?.bookSummary().lines ?? []) marks.push(`${node.name} ${promise}`);
  }
  return marks.sort().join("\n");
}

/** What differs between two readings of `activity`. */
export function changes(before: string, after: string): string {
  const old = new Set(before.split("\n"));
  const now = new Set(after.split("\n"));
  const gone = [...old].filter((line) => !now.has(line)).map((line) => `- ${line}`);
  const come = [...now].filter((line) => !old.has(line)).map((line) => `+ ${line}`);
  return [...gone, ...come].slice(0, 20).join("\n");
}
