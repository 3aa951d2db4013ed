/** Each checker can fail: here is a fleet with one part that does wrong, and what the checker says of it. */
import { expect, test } from "bun:test";
import { logDefaults } from "../src/node/group.ts";
import type { ContainerRuntime } from "../src/ports/container-runtime.ts";
import type { Store } from "../src/ports/store.ts";
import { activity, changes, difference } from "./checkers/convergence.ts";
import { QuietChecker } from "./checkers/quiet.ts";
import { SafetyChecker } from "./checkers/safety.ts";
import { WriteLedger } from "./checkers/writes.ts";
import { templateOf } from "./workloads/profile.ts";
import { lanLink, World, type Doubles } from "./world/world.ts";

interface Rig {
  readonly world: World;
  readonly ledger: WriteLedger;
  readonly safety: SafetyChecker;
}

/** A fleet of three with one deployment of three. */
async function withFleet(doubles: Doubles, play: (rig: Rig) => Promise<void>): Promise<void> {
  const world = new World({
    seed: 7,
    nodes: 3,
    link: lanLink,
    runtimeFailures: 0,
    log: logDefaults,
    doubles,
  });
  try {
    const rig = { world, ledger: new WriteLedger(world), safety: new SafetyChecker(world) };
    await world.boot();
    const spec = { namespace: "default", name: "web", replicas: 3, template: templateOf("web", 0) };
    await write(rig, "r1", "declare 3 v0", async (agent) =>
      agent.declare(spec, { requestId: "r1", createOnly: false }),
    );
    await play(rig);
  } finally {
    await world.close();
  }
}

type Agent = NonNullable<World["nodes"][number]["agent"]>;

async function write(
  { world, ledger }: Rig,
  requestId: string,
  what: string,
  act: (agent: Agent) => ReturnType<Agent["declare"]>,
): Promise<void> {
  const { agent } = world.node(1);
  if (agent === undefined) throw new Error("the first node is up");
  ledger.sent(requestId, "web", what);
  const outcome = await world.settle(act(agent), 10_000);
  if (outcome?.ok !== true) throw new Error(`${requestId}: ${JSON.stringify(outcome)}`);
  ledger.acknowledged(requestId, outcome.value);
}

const key = { namespace: "default", name: "web" };
const scaled = async (rig: Rig, requestId: string, replicas: number): Promise<void> =>
  write(rig, requestId, `scale ${replicas}`, async (agent) => agent.scale(key, replicas, { requestId }));

test("a healthy fleet has nothing to object to", async () => {
  await withFleet({}, async ({ world, ledger, safety }) => {
    expect(await world.until(() => difference(world, ledger, ["web"]) === undefined, 10_000)).toBe(true);
    const before = activity(world);
    const quiet = new QuietChecker(world);
    await world.run(10_000);
    safety.check();
    ledger.judge(["web"]);
    expect(changes(before, activity(world))).toBe("");
    expect([...safety.violations, ...ledger.violations, ...quiet.violations(), ...world.failures]).toEqual(
      [],
    );
  });
});

test("W1: a runtime that starts everything twice", async () => {
  const twice = (runtime: ContainerRuntime): ContainerRuntime => ({
    ...runtime,
    create: async (spec) => {
      await runtime.create(spec);
      await runtime.create({ ...spec, id: `${spec.id}-twin` });
    },
    start: async (id) => {
      await runtime.start(id);
      await runtime.start(`${id}-twin`);
    },
  });
  await withFleet({ runtime: twice }, async ({ world, safety }) => {
    await world.until(() => {
      safety.check();
      return safety.violations.length > 0;
    }, 5_000);
    expect(safety.violations[0]).toContain("W1");
  });
});

test("convergence: a runtime that stops nothing", async () => {
  const stubborn = (runtime: ContainerRuntime): ContainerRuntime => ({
    ...runtime,
    signal: async () => {},
    remove: async () => {},
  });
  await withFleet({ runtime: stubborn }, async (rig) => {
    const { world, ledger } = rig;
    await world.until(() => difference(world, ledger, ["web"]) === undefined, 10_000);
    await scaled(rig, "r2", 1);
    await world.run(30_000);
    expect(difference(world, ledger, ["web"])).toContain("web");
  });
});

test("X1: disks that forget the log after having said that they have it", async () => {
  const forgetful = (store: Store): Store => ({
    commit: async (writes) => store.commit(writes.filter(({ kind }) => kind !== "append")),
    get: async (table, at) => store.get(table, at),
    scan: async (table) => store.scan(table),
    readLog: async (group) => store.readLog(group),
    close: async () => store.close(),
  });
  await withFleet({ store: forgetful }, async (rig) => {
    const { world, ledger } = rig;
    await scaled(rig, "r2", 5);
    for (const node of world.nodes) world.powerOff(node);
    for (const node of world.nodes) await world.startAgent(node);
    await world.until(() => ledger.living("web") !== undefined, 10_000);
    ledger.judge(["web"]);
    expect(ledger.violations.join()).toContain("X1");
  });
});

test("X1: an acknowledgement that nobody has in the log, and one that stands elsewhere", async () => {
  await withFleet({}, async (rig) => {
    const { ledger } = rig;
    ledger.sent("r2", "web", "scale 9");
    ledger.acknowledged("r2", { index: 9, epoch: 1 });
    await scaled(rig, "r3", 4);
    ledger.acknowledged("r3", { index: 999, epoch: 1 });
    ledger.judge(["web"]);
    expect(ledger.violations.join()).toContain("r2 (scale 9)");
    expect(ledger.violations.join()).toContain("r3 (scale 4)");
  });
});

test("X2: writes in another order than their users saw", async () => {
  await withFleet({}, async (rig) => {
    const { world, ledger } = rig;
    await scaled(rig, "r2", 4);
    await world.run(100);
    ledger.sent("r1", "web", "declare 3 v0");
    ledger.acknowledged("r1", { index: 1, epoch: 1 });
    ledger.judge(["web"]);
    expect(ledger.violations.join()).toContain("X2");
  });
});

test("X1: a deployment that is gone although nobody deleted it", async () => {
  await withFleet({}, async ({ world, ledger }) => {
    await world.run(1_000);
    for (const node of world.nodes) world.powerOff(node);
    ledger.judge(["web"]);
    expect(ledger.violations.join()).toContain("nobody deleted it");
  });
});

test("convergence: a replica whose program ends again and again", async () => {
  await withFleet({}, async ({ world, ledger }) => {
    await world.until(() => difference(world, ledger, ["web"]) === undefined, 10_000);
    const before = activity(world);
    for (const { node, promise } of world.running())
      for (const { spec } of node.machine.all())
        if (spec.labels["muster.promise"] === promise) node.machine.end(spec.id, 1);
    await world.run(500);
    expect(changes(before, activity(world))).not.toBe("");
  });
});

test("Q1: a node that talks too much", async () => {
  await withFleet({}, async ({ world }) => {
    const quiet = new QuietChecker(world);
    await world.run(5_000);
    world.node(2).traffic.posts += 1_000;
    expect(quiet.violations().join()).toContain("Q1: n2");
  });
});

test("W5: a container that nobody promised", async () => {
  const blind = (runtime: ContainerRuntime): ContainerRuntime => ({ ...runtime, list: async () => [] });
  await withFleet({ runtime: blind }, async ({ world, safety }) => {
    await world.run(3_000);
    const [running] = world.running();
    const container = running?.node.machine.all()[0];
    if (running === undefined || container === undefined) throw new Error("something runs");
    const labels = { ...container.spec.labels, "muster.promise": "nobody.1.00000000/1" };
    running.node.machine.create({ ...container.spec, id: "stray", labels });
    const stray = running.node.machine.get("stray");
    if (stray !== undefined) running.node.machine.start(stray);
    await world.until(() => {
      safety.check();
      return safety.violations.length > 0;
    }, 30_000);
    expect(safety.violations[0]).toContain("W5");
  });
});
