import { expect, test } from "bun:test";
import { defined } from "../src/model/assert.ts";
import { logDefaults } from "../src/node/group.ts";
import { lanLink, World } from "./world/world.ts";
import { containerResourcesDefault, singleContainer } from "../src/model/template.ts";

const key = { namespace: "default", name: "web" };
const template = singleContainer({
  image: "web",
  resources: { ...containerResourcesDefault, cpuMillis: 100, memoryBytes: 0 },
});

test("a write gets through although its node is cut off from the steward alone", async () => {
  const world = new World({ seed: 11, nodes: 3, link: lanLink, runtimeFailures: 0, log: logDefaults });
  try {
    await world.boot();
    const first = defined(world.node(1).agent, "an agent");
    const spec = { ...key, replicas: 3, template };
    const declared = await world.settle(first.declare(spec, { requestId: "r1", createOnly: true }), 5_000);
    expect(declared?.ok).toBe(true);
    expect(await world.until(() => world.running().length === 3, 10_000)).toBe(true);
    const view = await world.settle(first.inspect(key), 5_000);
    const stewardId = view?.ok === true ? view.value.steward : undefined;
    const steward = defined(
      world.nodes.find(({ id }) => id === stewardId),
      "the steward's node",
    );
    const asker = defined(
      world.nodes.find((node) => node !== steward),
      "another node",
    );
    world.net.cut(steward.id, asker.id);
    const before = world.clock.now();
    const agent = defined(asker.agent, "an agent");
    const scaled = await world.settle(agent.scale(key, 4, { requestId: "r2" }), 5_000);
    expect(scaled?.ok).toBe(true);
    expect(world.clock.now() - before).toBeLessThan(1_950);
  } finally {
    await world.close();
  }
});
