import { expect, test } from "bun:test";
import { MemoryDisk, MemoryStore } from "../../src/adapters/stores/memory-store.ts";
import { LineLogger } from "../../src/adapters/system/line-logger.ts";
import { SystemClock } from "../../src/adapters/system/system-clock.ts";
import { SystemEntropy } from "../../src/adapters/system/system-entropy.ts";
import { bootstrapState } from "../../src/core/consensus/bootstrap.ts";
import { createSpreadPolicy } from "../../src/core/placement/policy.ts";
import { createRng } from "../../src/core/rng.ts";
import { defined } from "../../src/model/assert.ts";
import type { Charter } from "../../src/model/charter.ts";
import { logDefaults } from "../../src/node/group.ts";
import { Groups } from "../../src/node/groups.ts";
import { Turn } from "../../src/node/turn.ts";

const self = "a".repeat(32);
const deployment = "d".repeat(32);
const charter: Charter = {
  deployment,
  namespace: "default",
  name: "web",
  group: `${deployment}.1.00000001`,
  epoch: 1,
  version: 1,
  founder: self,
  voters: [self],
  deleted: false,
};

test("a founding that was refused leaves nothing when the disk has room again", async () => {
  const disk = new MemoryDisk();
  const store = new MemoryStore({ disk });
  const clock = new SystemClock();
  const logger = new LineLogger({ clock, write: () => {} }, { level: "error", format: "json", fields: {} });
  const turn = new Turn({ store, clock, logger });
  const groups = new Groups(
    {
      turn,
      clock,
      logger,
      store,
      entropy: new SystemEntropy(),
      policy: createSpreadPolicy(createRng(1)),
      fleet: () => ({ alive: [], suspect: [], dead: [] }),
      send: () => {},
      errand: () => {},
      publishCharter: () => {},
      retire: () => {},
    },
    { self, log: logDefaults },
  );
  disk.isFull = true;
  const snapshot = defined(bootstrapState([self], new Uint8Array()).snapshot, "a snapshot");
  const outcome = groups.found(charter, snapshot).then(
    () => "founded",
    (error: unknown) => String(error),
  );
  await groups.abandon(charter.group);
  disk.isFull = false;
  expect(await outcome).toContain("was taken back");
  expect(groups.all()).toEqual([]);
  expect(await store.scan("snapshots")).toEqual([]);
  expect(await store.scan("hard-states")).toEqual([]);
  groups.close();
  await turn.close();
});
