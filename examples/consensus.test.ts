import { expect, test } from "bun:test";
import { runExample } from "./consensus.ts";

test("the example survives the loss of its leader", () => {
  expect(runExample(() => undefined)).toEqual([
    ["hello", "world"],
    ["hello", "world"],
  ]);
});
