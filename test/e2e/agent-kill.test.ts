/**
 * One machine whose agent is killed at any moment, under load, `E2E_KILLS` times (50; 500 for a long look), and that loses power:
 * nothing is lost, nothing is doubled, and in the end the machine is as it was before.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { PromiseView } from "../../src/model/views.ts";
import { missingTools, until } from "./binary.ts";
import { Fleet, type Container } from "./fleet.ts";
import { pictureOf, type MachinePicture } from "./machine-picture.ts";

const missing = missingTools();
if (missing.length > 0) console.log(`skipped, not on this machine: ${missing.join(", ")}`);

const kills = Number(process.env["E2E_KILLS"] ?? 50);
const seed = Number(process.env["E2E_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
let state = seed;
/** Below `limit`. */
function dice(limit: number): number {
  state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
  return Math.floor((state / 2 ** 31) * limit);
}

const machine = "n1";
const perKillMs = 3_000;

describe.skipIf(missing.length > 0)("one machine", () => {
  let fleet: Fleet;
  let before: MachinePicture;
  beforeAll(async () => {
    console.log(`    E2E_SEED=${seed} E2E_KILLS=${kills}`);
    fleet = await Fleet.up("e2ekill", 1);
    // What the first deployment makes for good (a bridge of rules, the image) is not a leftover.
    await fleet.text(machine, "run", fleet.image, "--name", "first", "-p", "18080:80", "--wait");
    await fleet.text(machine, "delete", "first", "--wait");
    await untilNothingPromised();
    before = await pictureOf(fleet, machine);
  }, 120_000);
  afterAll(async () => fleet?.down(), 60_000);

  /** Scales, makes and deletes without pause, whatever is answered; the last acknowledged size, or -1 when nobody knows. */
  class Load {
    readonly #over = new AbortController();
    readonly #ended: Promise<void>;
    acknowledged = 2;

    constructor() {
      this.#ended = Promise.all([this.#scale(), this.#comeAndGo()]).then(() => undefined);
    }

    async stop(): Promise<void> {
      this.#over.abort();
      await this.#ended;
    }

    async #scale(): Promise<void> {
      for (let turn = 0; !this.#over.signal.aborted; turn++) {
        const wanted = 1 + (turn % 5);
        const said = await fleet.on(machine, "scale", "tide", String(wanted));
        this.acknowledged = said.code === 0 ? wanted : -1;
      }
    }

    async #comeAndGo(): Promise<void> {
      for (let turn = 0; !this.#over.signal.aborted; turn++) {
        const port = `${18_100 + (turn % 50)}:80`;
        await fleet.on(machine, "run", fleet.image, "--name", "foam", "-p", port);
        await fleet.on(machine, "delete", "foam");
      }
    }
  }

  async function untilNothingPromised(): Promise<void> {
    await until("nothing is promised", 60_000, async () => {
      const said = await fleet.on(machine, "promises", "--node", "--json");
      if (said.code !== 0) return said.errors;
      const { promises }: { readonly promises: readonly PromiseView[] } = JSON.parse(said.out);
      return promises.length === 0 ? undefined : said.out;
    });
  }

  /** Each replica at most once, at any moment. */
  function expectNoDoubles(name: string): void {
    const replicas = fleet.containers(name).map((one: Container) => one.replica);
    expect(replicas).toEqual([...new Set(replicas)]);
  }

  async function untilSettled(load: Load): Promise<void> {
    let desired = -1;
    await until("the size of tide is known", 30_000, async () => {
      const said = await fleet.on(machine, "inspect", "tide", "--json");
      if (said.code !== 0) return said.errors;
      desired = JSON.parse(said.out).desired;
      return undefined;
    });
    if (load.acknowledged > 0) expect(desired).toBe(load.acknowledged);
    await fleet.untilExactly(machine, "tide", desired, 60_000);
  }

  async function untilAsBefore(): Promise<void> {
    for (const { name } of await fleet.json<readonly { readonly name: string }[]>(machine, "ps"))
      await until(`${name} is deleted`, 30_000, async () => {
        const said = await fleet.on(machine, "delete", name, "--wait");
        return said.code === 0 || /no deployment/.test(said.errors) ? undefined : said.errors;
      });
    await untilNothingPromised();
    let after: MachinePicture | undefined;
    await until("the machine is as it was", 40_000, async () => {
      after = await pictureOf(fleet, machine);
      return Bun.deepEquals(after, before) ? undefined : "not yet";
    }).catch(() => undefined);
    expect(after).toEqual(before);
  }

  test(
    "its agent is killed at any moment under load: nothing is lost, doubled or left behind",
    async () => {
      await fleet.text(machine, "run", fleet.image, "--name", "rock", "-r", "3", "-p", "80", "--wait");
      await fleet.text(machine, "run", fleet.image, "--name", "tide", "-r", "2", "--wait");
      const rocks = fleet.containers("rock");
      const load = new Load();
      try {
        for (let round = 0; round < kills; round++) {
          // Short waits meet a start, long ones a step of a container.
          await Bun.sleep(dice(round % 3 === 0 ? 40 : 400));
          await fleet.lab("kill-agent", machine);
          // As of an agent that was killed between making a container's directory and writing what it is.
          if (round === 0) mkdirSync(join(fleet.dataDirectory(machine), "containers/containers/lost-0"));
          expect(fleet.containers("rock")).toEqual(rocks);
          expectNoDoubles("tide");
          await fleet.lab("start-agent", machine);
          expect(fleet.containers("rock")).toEqual(rocks);
          expectNoDoubles("tide");
        }
      } finally {
        await load.stop();
      }
      await untilSettled(load);
      expect(fleet.containers("rock")).toEqual(rocks);
      const restarts = (await fleet.inspect(machine, "rock")).replicas.map((replica) => replica.restarts);
      expect(restarts).toEqual([0, 0, 0]);
      await untilAsBefore();
    },
    60_000 + kills * perKillMs + 120_000,
  );

  test("it loses power under load: what was promised returns, and nothing else", async () => {
    await fleet.text(machine, "run", fleet.image, "--name", "rock", "-p", "18090:80", "--wait");
    await fleet.text(machine, "run", fleet.image, "--name", "tide", "-r", "2", "--wait");
    for (let round = 0; round < 8; round++) {
      const load = new Load();
      await Bun.sleep(100 + dice(600));
      await fleet.lab("kill", machine);
      await load.stop();
      expect([...fleet.containers("rock"), ...fleet.containers("tide")]).toEqual([]);
      await fleet.lab("start", machine);
      await fleet.untilExactly(machine, "rock", 1, 30_000);
      await untilSettled(load);
    }
    await untilAsBefore();
  }, 240_000);
});
