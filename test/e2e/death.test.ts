/** What dies and what must not: processes, agents, machines and links of a fleet of three, under load. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { HistoryEvent } from "../../src/model/event.ts";
import type { NodeView } from "../../src/model/views.ts";
import { binaryPath, missingTools, mustRun, until } from "./binary.ts";
import { Fleet } from "./fleet.ts";

const missing = missingTools();
if (missing.length > 0) console.log(`skipped, not on this machine: ${missing.join(", ")}`);

const seed = Number(process.env["E2E_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
let state = seed;
/** Below `limit`. */
function dice(limit: number): number {
  state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
  return Math.floor((state / 2 ** 31) * limit);
}

interface ChaosAnswer {
  readonly rounds: readonly { readonly killed: string; readonly wholeAfterMs: number }[];
  readonly summary: readonly {
    readonly killed: string;
    readonly medianMs: number;
    readonly worstMs: number;
  }[];
}

describe.skipIf(missing.length > 0)("deaths", () => {
  let fleet: Fleet;
  beforeAll(async () => {
    console.log(`    E2E_SEED=${seed}`);
    fleet = await Fleet.up("e2edeath", 3);
  }, 120_000);
  afterEach(async () => {
    // Each test finds all machines on and linked, whatever the one before it did.
    await fleet.lab("heal");
    for (const one of await fleet.status()) {
      if (one.power === "off") await fleet.lab("start", one.name);
      else if (one.agent === "stopped") await fleet.lab("start-agent", one.name);
    }
    await fleet.untilWhole();
    for (const view of await fleet.json<readonly { name: string }[]>("n1", "ps"))
      await fleet.text("n1", "delete", view.name, "--wait");
  }, 120_000);
  afterAll(async () => fleet?.down(), 60_000);

  const other = (machine: string) => fleet.machines.filter((one) => one !== machine);
  const anyOf = (from: readonly string[]): string => from[dice(from.length)] ?? "n1";
  const run = (name: string, replicas: number) =>
    fleet.text("n1", "run", fleet.image, "--name", name, "-r", String(replicas), "--wait");

  test("a replica, a holder, a steward die: whole within 10 s each", async () => {
    await run("web", 3);
    const answer: ChaosAnswer = JSON.parse(
      await mustRun([
        ...[binaryPath, "chaos", "web", "--rounds", "3", "--json"],
        ...["--lab", fleet.name, "--dir", join(fleet.directory, "lab")],
      ]),
    );
    expect(answer.rounds.length).toBe(9);
    for (const one of answer.summary)
      console.log(`    ${one.killed}: whole after ${one.medianMs} ms, at worst ${one.worstMs} ms`);
    for (const round of answer.rounds) expect(round.wholeAfterMs).toBeLessThan(10_000);
    await fleet.untilExactly("n2", "web", 3);
  }, 180_000);

  test("agents die at any moment under load: what runs goes on, is adopted, and is not doubled", async () => {
    await run("rock", 3);
    const before = fleet.containers("rock");
    await run("tide", 2);
    const over = new AbortController();
    let acknowledged = 2;
    const load = (async () => {
      for (let turn = 0; !over.signal.aborted; turn++) {
        const wanted = 1 + (turn % 5);
        const said = await fleet.on(anyOf(fleet.machines), "scale", "tide", String(wanted));
        if (said.code === 0) acknowledged = wanted;
        // Nobody knows whether a write that was not answered has been done.
        else if (said.code !== 1 || /unreachable|answer/.test(said.errors)) acknowledged = -1;
      }
    })();
    try {
      for (let round = 0; round < 25; round++) {
        const machine = anyOf(fleet.machines);
        await Bun.sleep(dice(300));
        await fleet.lab("kill-agent", machine);
        // What it had promised runs on without it.
        expect(fleet.containers("rock")).toEqual(before);
        await Bun.sleep(dice(200));
        await fleet.lab("start-agent", machine);
        expect(fleet.containers("rock")).toEqual(before);
      }
    } finally {
      over.abort();
      await load;
    }
    await fleet.untilWhole();
    await fleet.untilExactly("n1", "rock", 3);
    // The very processes of the beginning: nothing was restarted or moved.
    expect(fleet.containers("rock")).toEqual(before);
    const { desired } = await fleet.inspect("n1", "tide");
    if (acknowledged > 0) expect(desired).toBe(acknowledged);
    await fleet.untilExactly("n1", "tide", desired, 30_000);
    const restarts = (await fleet.inspect("n2", "rock")).replicas.map((replica) => replica.restarts);
    expect(restarts).toEqual([0, 0, 0]);
  }, 180_000);

  test("an acknowledged write outlives the steward's agent, killed right after it, 100 times", async () => {
    await run("ledger", 1);
    let wanted = 1;
    for (let round = 0; round < 100; round++) {
      const asked = anyOf(fleet.machines);
      wanted = 1 + ((wanted + dice(3)) % 4);
      const [answer] = await writeUntilAnswered(asked, "ledger", wanted);
      const steward =
        fleet.machines.find((name) => answer?.stewardName === name) ?? (await stewardOf("ledger"));
      await fleet.lab("kill-agent", steward);
      await expectDesired(anyOf(other(steward)), "ledger", wanted);
      await fleet.lab("start-agent", steward);
    }
    await fleet.untilExactly("n1", "ledger", wanted);
    const events = (await fleet.text("n2", "events", "ledger", "--json")).trim().split("\n");
    const scaled = events
      .map((line): HistoryEvent => JSON.parse(line))
      .filter((one) => one.kind === "scaled");
    expect(scaled.length).toBeGreaterThanOrEqual(changes);
  }, 400_000);

  test("an acknowledged write outlives the power of the steward's machine, lost right after it", async () => {
    await run("ledger", 1);
    for (let round = 0; round < 8; round++) {
      const wanted = 1 + ((round + 1) % 3);
      const steward = await stewardOf("ledger");
      const witness = anyOf(other(steward));
      await writeUntilAnswered(witness, "ledger", wanted);
      await fleet.lab("kill", steward);
      await expectDesired(witness, "ledger", wanted);
      await fleet.untilExactly(witness, "ledger", wanted);
      await fleet.lab("start", steward);
      await fleet.untilWhole();
    }
  }, 240_000);

  let changes = 0;

  /** A fleet that elects may refuse for a moment; each refusal says so. */
  async function writeUntilAnswered(
    machine: string,
    name: string,
    replicas: number,
  ): Promise<readonly { changed: boolean; stewardName?: string }[]> {
    let answer: readonly { changed: boolean }[] = [];
    await until(`${name} is scaled`, 20_000, async () => {
      const said = await fleet.on(machine, "scale", name, String(replicas), "--json");
      if (said.code !== 0) return said.errors;
      answer = JSON.parse(said.out);
      return undefined;
    });
    if (answer[0]?.changed === true) changes += 1;
    return answer;
  }

  async function stewardOf(name: string): Promise<string> {
    let steward = "";
    await until(`${name} has a steward`, 20_000, async () => {
      for (const machine of fleet.machines) {
        const said = await fleet.on(machine, "cohort", "show", name, "--json");
        if (said.code !== 0) continue;
        const members: readonly { name: string; roles: readonly string[] }[] = JSON.parse(said.out).members;
        steward = members.find((member) => member.roles.includes("steward"))?.name ?? "";
        if (steward !== "") return undefined;
      }
      return "nobody says";
    });
    return steward;
  }

  /** From the steward's own word, once there is one again. */
  async function expectDesired(machine: string, name: string, wanted: number): Promise<void> {
    let desired = -1;
    await until(`a steward of ${name} answers`, 20_000, async () => {
      const said = await fleet.on(machine, "inspect", name, "--json");
      if (said.code !== 0) return said.errors;
      const view = JSON.parse(said.out);
      if (view.freshness.source !== "steward") return `known from ${view.freshness.source}`;
      desired = view.desired;
      return undefined;
    });
    expect(desired).toBe(wanted);
  }

  test("a machine cut off and healed: its replicas are made elsewhere, and the doubled ones vanish", async () => {
    await run("web", 3);
    for (let round = 0; round < 3; round++) {
      const holders = [...new Set(fleet.containers("web").map((one) => one.machine))];
      const victim = anyOf(holders);
      const witness = anyOf(other(victim));
      const kept = fleet.containers("web").filter((one) => one.machine === victim);
      const cutAt = performance.now();
      await fleet.lab("cut", victim);
      await until("three run on the others", 20_000, async () => {
        const there = fleet.containers("web").filter((one) => one.machine !== victim);
        return there.length === 3 ? undefined : `${there.length} run there`;
      });
      const movedMs = Math.round(performance.now() - cutAt);
      // A node keeps what it promised while it is cut off from everybody.
      expect(fleet.containers("web").filter((one) => one.machine === victim)).toEqual(kept);
      const healedAt = performance.now();
      await fleet.lab("heal");
      await fleet.untilExactly(witness, "web", 3, 30_000);
      console.log(
        `    moved after ${movedMs} ms, single again ${Math.round(performance.now() - healedAt)} ms after healing`,
      );
      await fleet.untilWhole();
    }
  }, 180_000);

  test("delete sticks when a dead machine comes back", async () => {
    await run("gone", 3);
    const steward = await stewardOf("gone");
    for (const victim of [anyOf(other(steward)), steward]) {
      if (fleet.containers("gone").length === 0) await run("gone", 3);
      const witness = anyOf(other(victim));
      await fleet.lab("kill", victim);
      await until(`${victim} is dead`, 20_000, async () => {
        const nodes: readonly NodeView[] = await fleet.nodes(witness);
        return nodes.find((node) => node.name === victim)?.status === "dead" ? undefined : "not yet";
      });
      await until("deleted", 20_000, async () => {
        const said = await fleet.on(witness, "delete", "gone");
        return said.code === 0 ? undefined : said.errors;
      });
      await until("nothing runs", 20_000, async () =>
        fleet.containers("gone").length === 0 ? undefined : "something runs",
      );
      await fleet.lab("start", victim);
      await fleet.untilWhole();
      await until("nothing of it is left anywhere", 20_000, async () => {
        const live = fleet.containers("gone").length;
        if (live > 0) return `${live} containers run`;
        for (const machine of fleet.machines) {
          const { promises } = await fleet.json<{ promises: readonly unknown[] }>(
            machine,
            "promises",
            "--node",
          );
          if (promises.length > 0) return `${machine} holds ${JSON.stringify(promises)}`;
          const listed = await fleet.json<readonly unknown[]>(machine, "ps");
          if (listed.length > 0) return `${machine} lists ${JSON.stringify(listed)}`;
        }
        return undefined;
      });
    }
  }, 120_000);

  test("all machines lose power at once and come back: everything runs again", async () => {
    await run("web", 3);
    await Promise.all(fleet.machines.map((machine) => fleet.lab("kill", machine)));
    expect(fleet.containers("web")).toEqual([]);
    await Promise.all(fleet.machines.map((machine) => fleet.lab("start", machine)));
    await fleet.untilWhole();
    await fleet.untilExactly("n1", "web", 3, 30_000);
  }, 90_000);
});
