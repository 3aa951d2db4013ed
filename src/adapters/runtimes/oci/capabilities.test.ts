import { expect, test } from "bun:test";
import { grantCapabilities, parseCapabilities, effectiveCapabilities } from "./capabilities.ts";

const everything = parseCapabilities("Name:\tx\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n");
const granted = (add: string[], drop: string[], own = everything): readonly string[] | string => {
  const result = grantCapabilities({ add, drop }, own);
  return result.ok ? result.names : result.detail;
};

test("nothing asked: Docker's fourteen", () => {
  const result = grantCapabilities(undefined, everything);
  expect(result).toMatchObject({ ok: true });
  // a80425fb, as /proc shows it in a container of Docker's.
  const bits = result.ok ? result.names.length : 0;
  expect(bits).toBe(14);
});

test("added and dropped, with and without CAP_", () => {
  expect(granted(["CAP_NET_ADMIN"], ["mknod"])).toContain("CAP_NET_ADMIN");
  expect(granted(["CAP_NET_ADMIN"], ["mknod"])).not.toContain("CAP_MKNOD");
});

test("ALL dropped leaves what is added, ALL added leaves out what is dropped", () => {
  expect(granted(["CHOWN"], ["ALL"])).toEqual(["CAP_CHOWN"]);
  expect(granted([], ["ALL"])).toEqual([]);
  expect(granted(["ALL"], ["SYS_ADMIN"]).length).toBe(40);
  expect(granted(["ALL"], ["SYS_ADMIN"])).not.toContain("CAP_SYS_ADMIN");
});

test("what the agent lacks cannot be given: left out of ALL and the defaults, refused by name", () => {
  const own = parseCapabilities("CapEff:\t000001fffeffffff\n");
  expect(granted(["ALL"], [], own)).not.toContain("CAP_SYS_RESOURCE");
  expect(granted(["SYS_RESOURCE"], [], own)).toContain("SYS_RESOURCE");
  expect(granted([], [], new Set(["CHOWN"]))).toEqual(["CAP_CHOWN"]);
});

test("a name that no kernel knows is refused", () => {
  expect(granted(["SYS_MAGIC"], [])).toBe("there is no capability SYS_MAGIC");
});

test("only root holds them from the start", () => {
  expect(effectiveCapabilities(0, ["CAP_CHOWN"]).effective).toEqual(["CAP_CHOWN"]);
  expect(effectiveCapabilities(7, ["CAP_CHOWN"])).toEqual({
    bounding: ["CAP_CHOWN"],
    effective: [],
    permitted: [],
  });
});
