import { expect, test } from "bun:test";
import { firstCommand } from "./first-command.ts";

test("the command is found behind flags, their values, and before its own arguments", () => {
  expect(firstCommand(["up"])).toBe("up");
  expect(firstCommand(["--json", "--data-dir", "up", "ps"])).toBe("ps");
  expect(firstCommand(["--data-dir=/tmp/x", "up", "--name", "n1"])).toBe("up");
  expect(firstCommand(["-n", "shop", "run", "up"])).toBe("run");
  expect(firstCommand(["--version"])).toBeUndefined();
  expect(firstCommand([])).toBeUndefined();
});
