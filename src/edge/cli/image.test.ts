import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeNodeApi } from "../api/fake-node-api.ts";
import { createApi, type Api } from "../api/server.ts";
import type { CliContext } from "./console.ts";
import { formatSize } from "./image-words.ts";
import { runCli } from "./run-cli.ts";

const directory = mkdtempSync(join(tmpdir(), "muster-image-cli-"));
const socketPath = join(directory, "muster.sock");
let node: FakeNodeApi;
let api: Api | undefined;

beforeEach(async () => {
  await api?.close(0);
  node = new FakeNodeApi();
  api = await createApi(node, { socketPath });
});
afterAll(async () => {
  await api?.close(0);
  rmSync(directory, { recursive: true });
});

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly errors: string;
}

async function image(args: readonly string[], isTerminal = false): Promise<Ran> {
  let out = "";
  let errors = "";
  const text = (data: string | Uint8Array) =>
    typeof data === "string" ? data : Buffer.from(data).toString();
  const terminal = {
    size: () => ({ columns: 40, rows: 24 }),
    raw: () => () => {},
    onResize: () => () => {},
  };
  const context: CliContext = {
    env: { MUSTER_SOCKET: socketPath },
    exitCode: 0,
    console: {
      write: async (data) => void (out += text(data)),
      complain: async (data) => void (errors += text(data)),
      input: async function* () {},
      interrupted: new AbortController().signal,
      terminal: isTerminal ? terminal : undefined,
    },
  };
  const code = await runCli(["image", ...args], context);
  return { code, out, errors };
}

describe("muster image", () => {
  test("pull asks for the newest, and says what came", async () => {
    const { code, out, errors } = await image(["pull", "web:1"]);
    expect({ code, errors }).toEqual({ code: 0, errors: "" });
    expect(out).toBe("web:1  aaaaaaaaaaaa  3.0 MB\n");
    expect(node.images.pulls).toEqual([{ reference: "web:1", pull: "always" }]);
    expect(JSON.parse((await image(["pull", "web:1", "--json"])).out)).toMatchObject({ reference: "web:1" });
  });

  test("on a terminal a line says how far it is, no wider than the terminal, and goes away", async () => {
    const { out, errors } = await image(["pull", "registry.example/team/web:1"], true);
    const lines = errors.split("\r").filter((line) => line !== "");
    expect(lines.length).toBeGreaterThan(1);
    expect(lines[0]).toContain("pulling registry.example/team/web:1: 50");
    expect(lines.at(-1)).toBe("\u001b[K");
    for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThan(40);
    expect(out).toStartWith("registry.example/team/web:1");
  });

  test("a failed pull is told once, as text and as JSON", async () => {
    const { code, out, errors } = await image(["pull", "missing:1"]);
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(errors).toBe("muster: there is no image missing:1\n");
    expect(JSON.parse((await image(["pull", "missing:1", "--json"])).errors).problem.code).toBe("not-found");
  });

  test("ls, inspect, rm and prune", async () => {
    for (const reference of ["web:1", "db:2", "old:3"]) await image(["pull", reference]);
    const table = (await image(["ls"])).out.split("\n");
    expect(table[0]).toMatch(/^IMAGE +DIGEST +SIZE +PULLED +STATUS$/);
    expect(table.slice(1, 4).map((line) => line.split(" ")[0])).toEqual(["db:2", "old:3", "web:1"]);
    const details = (await image(["inspect", "web:1"])).out;
    for (const part of ["platform:", "linux/amd64", '"serve"', "80/tcp", "maintainer=nobody", "cccccccccccc"])
      expect(details).toContain(part);
    node.images.used.add("web:1");
    expect(await image(["rm", "web:1"])).toMatchObject({ code: 1, out: "" });
    const some = await image(["rm", "nothing:1", "old:3"]);
    expect(some).toMatchObject({ code: 1, out: "removed old:3\n3.0 MB freed\n" });
    expect(some.errors).toContain("nothing:1 is not on this node");
    expect((await image(["prune"])).out).toBe("0 B freed\n");
    expect((await image(["prune", "--all"])).out).toBe("removed db:2\n3.0 MB freed\n");
    expect(JSON.parse((await image(["ls", "--json"])).out)).toHaveLength(1);
    expect((await image(["inspect", "gone:1"])).code).toBe(1);
  });

  test("what cannot be understood is refused by the API, too", async () => {
    const ask = (path: string, init: RequestInit) =>
      fetch(`http://muster${path}`, { unix: socketPath, ...init });
    const bad = { method: "POST", body: JSON.stringify({ reference: "a", pull: "sometimes" }) };
    expect((await ask("/v1/images/pull", bad)).status).toBe(400);
    expect((await ask("/v1/images?name=a", { method: "DELETE" })).status).toBe(400);
    expect((await ask("/v1/images?x=1", {})).status).toBe(400);
    expect((await image(["rm"])).code).toBe(2);
  });
});

test("sizes", () => {
  expect([0, 999, 1000, 1234, 99_400, 99_960, 999_600, 3_210_000_000].map(formatSize)).toEqual([
    "0 B",
    "999 B",
    "1.0 kB",
    "1.2 kB",
    "99.4 kB",
    "100 kB",
    "1.0 MB",
    "3.2 GB",
  ]);
});

describe("archives", () => {
  test("load takes files by their whole path, and standard input as a file that goes away", async () => {
    const loaded = await image(["load", "./some.tar"]);
    expect(loaded.out).toBe("some.tar:1  aaaaaaaaaaaa  3.0 MB\nsome.tar:2  aaaaaaaaaaaa  3.0 MB\n");
    expect(node.images.loads).toEqual([join(process.cwd(), "some.tar")]);
    const piped = await image(["load", "-", "--name", "piped", "--json"]);
    expect(JSON.parse(piped.out)).toMatchObject([{ reference: "piped:1" }, { reference: "piped:2" }]);
    expect(existsSync(node.images.loads.at(-1) ?? "")).toBe(false);
  });

  test("save writes the whole or nothing", async () => {
    for (const reference of ["a:1", "broken:1"]) await image(["pull", reference]);
    expect((await image(["save", "a:1"])).out).toBe("a:1\n");
    expect((await image(["save", "a:1"], true)).code).toBe(2);
    const path = join(directory, "saved.tar");
    expect((await image(["save", "a:1", "-o", path])).out).toBe(`${path}: 4 B\n`);
    expect(readFileSync(path, "utf8")).toBe("a:1\n");
    const half = join(directory, "half.tar");
    const broken = await image(["save", "a:1", "broken:1", "-o", half]);
    expect(broken.code).not.toBe(0);
    expect(existsSync(half)).toBe(false);
    expect((await image(["save", "gone:1"])).errors).toContain("not on this node");
  });

  test("push sends under the name it has, or another", async () => {
    await image(["pull", "a:1"]);
    expect((await image(["push", "a:1"])).out).toStartWith("a:1  ");
    expect((await image(["push", "a:1", "b.example/a:2"])).out).toStartWith("b.example/a:2  ");
    expect((await image(["push", "gone:1"])).code).toBe(1);
  });

  test("a path that is not absolute is refused by the API", async () => {
    const init = { method: "POST", body: JSON.stringify({ path: "some.tar" }) };
    const { status } = await fetch("http://muster/v1/images/load", { unix: socketPath, ...init });
    expect(status).toBe(400);
  });
});
