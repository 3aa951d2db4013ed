import { afterEach, expect, test } from "bun:test";
import type { MembershipEvent } from "../src/core/membership/protocol.ts";
import { startNode, type ExampleNode } from "./membership.ts";

const nodes: ExampleNode[] = [];

afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.stop()));
});

/** Resolves at the first event of this kind; the test's own timeout bounds the wait. */
function watcher(): { listen(event: MembershipEvent): void; until(holds: () => boolean): Promise<void> } {
  let wake = (): void => {};
  return {
    listen: () => wake(),
    until: async (holds) => {
      while (!holds()) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}

test("three nodes on loopback find each other, and a stopped one is refused, suspected and taken back", async () => {
  const { listen, until } = watcher();
  const events: MembershipEvent[] = [];
  const record = (event: MembershipEvent): void => {
    events.push(event);
    listen(event);
  };
  for (let i = 0; i < 3; i++) nodes.push(await startNode(0, record));
  const [first, second, third] = nodes;
  if (first === undefined || second === undefined || third === undefined) throw new Error("three nodes");
  second.join(first.address);
  third.join(first.address);
  await until(() => nodes.every(({ machine }) => machine.members().length === 3));
  expect(first.machine.members().map(({ status }) => status)).toEqual(["alive", "alive", "alive"]);

  await third.stop();
  await until(() => first.machine.member(third.machine.self.id)?.status === "suspect");
  // The machine answers, so it has the grace and is not dead.
  expect(events.some(({ kind }) => kind === "member-refused")).toBe(true);
  expect(events.some(({ kind }) => kind === "member-dead")).toBe(false);

  const port = Number(third.address.split(":")[1]);
  nodes[2] = await startNode(port, record);
  nodes[2].join(first.address);
  await until(() => first.machine.member(third.machine.self.id)?.status === "alive");
});
