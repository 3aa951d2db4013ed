/** attach, cp, stats and top against a fleet in memory. */
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { singleContainer } from "../../model/template.ts";
import { FakeNodeApi } from "../api/fake-node-api.ts";
import { createApi, type Api } from "../api/server.ts";
import type { CliContext, ConsoleTerminal } from "./console.ts";
import { runCli } from "./run-cli.ts";
import { beforeKeys } from "./session-console.ts";

const directory = mkdtempSync(join(tmpdir(), "muster-cli-containers-"));
const socketPath = join(directory, "muster.sock");
let node: FakeNodeApi;
let api: Api | undefined;

beforeEach(async () => {
  await api?.close(0);
  node = new FakeNodeApi();
  api = await createApi(node, { socketPath });
  const interactive = { image: "nginx", stdin: true, terminal: true } as const;
  for (const [name, container] of [
    ["web", { image: "nginx" }],
    ["shell", interactive],
    ["pipe", { image: "nginx", stdin: true as const }],
  ] as const)
    await node.declare(
      { namespace: "default", name, replicas: 1, template: singleContainer(container) },
      { requestId: name, createOnly: true },
    );
});
afterAll(async () => {
  await api?.close(0);
  rmSync(directory, { recursive: true });
});

interface Settings {
  readonly input?: readonly (string | Uint8Array)[];
  readonly interrupted?: AbortSignal;
  readonly terminal?: ConsoleTerminal;
  /** Called with all that was printed, after each piece. */
  readonly printed?: (out: string) => void;
}

async function muster(args: readonly string[], settings: Settings = {}) {
  const chunks: Buffer[] = [];
  let errors = "";
  const context: CliContext = {
    env: { MUSTER_SOCKET: socketPath },
    exitCode: 0,
    console: {
      write: async (data) => {
        chunks.push(Buffer.from(data));
        settings.printed?.(Buffer.concat(chunks).toString());
      },
      complain: async (data) => void (errors += Buffer.from(data).toString()),
      input: async function* () {
        for (const piece of settings.input ?? []) yield Buffer.from(piece);
      },
      interrupted: settings.interrupted ?? new AbortController().signal,
      terminal: settings.terminal,
    },
  };
  const code = await runCli(args, context);
  const bytes = Buffer.concat(chunks);
  return { code, out: bytes.toString(), bytes, errors };
}

function fakeTerminal(): { readonly terminal: ConsoleTerminal; readonly states: string[]; resize(): void } {
  const states: string[] = [];
  const listeners: (() => void)[] = [];
  return {
    states,
    resize: () => listeners.forEach((listener) => listener()),
    terminal: {
      size: () => ({ columns: 91, rows: 33 }),
      raw: () => {
        states.push("raw");
        return () => states.push("as it was");
      },
      onResize: (listener) => {
        listeners.push(listener);
        return () => states.push("not listening");
      },
    },
  };
}

describe("attach", () => {
  test("without an input of the program nothing is passed on, and interruption lets go with 0", async () => {
    const abort = new AbortController();
    const running = muster(["attach", "web/0"], { input: ["unheard\n"], interrupted: abort.signal });
    // The echo has an end when its input has: what is not interactive has no input.
    expect((await running).out).toBe("");
    expect(node.containers.asked).toEqual([
      { key: { namespace: "default", name: "web" }, choice: { replica: 0, container: "main" } },
    ]);
  });

  test("input goes to the program, output comes back", async () => {
    const { code, out } = await muster(["attach", "pipe"], { input: ["one\n", "two\n"] });
    expect(out).toBe("one\ntwo\n");
    expect(code).toBe(0);
    expect(node.containers.terminals).toEqual([undefined]);
  });

  test("interrupted, it lets go and has not failed", async () => {
    const abort = new AbortController();
    const endless = muster(["attach", "pipe", "-n", "default"], {
      input: ["x\n"],
      interrupted: abort.signal,
      printed: () => abort.abort(),
    });
    expect((await endless).code).toBe(0);
  });

  test("a terminal is told its size, is put back, and two keys let go", async () => {
    const { terminal, states } = fakeTerminal();
    const { code, errors } = await muster(["attach", "shell"], {
      terminal,
      input: [Uint8Array.of(16), Uint8Array.of(17)],
    });
    expect(code).toBe(0);
    expect(errors).toContain("control-P control-Q");
    expect(node.containers.terminals[0]).toEqual({ columns: 91, rows: 33 });
    await node.containers.letGo.promise;
    expect(states).toEqual(["raw", "not listening", "as it was"]);
  });

  test("a container that is not there is named with those that are", async () => {
    const { code, errors } = await muster(["attach", "web", "-c", "side"]);
    expect(code).toBe(2);
    expect(errors).toContain("has no container side");
    expect(errors).toContain("main");
  });
});

test("the keys that let go are found across pieces, and what only looks like them passes", async () => {
  const pass = async (...pieces: readonly (readonly number[])[]): Promise<[number[], boolean]> => {
    let isFound = false;
    const source = async function* () {
      for (const piece of pieces) yield Uint8Array.from(piece);
    };
    const passed: number[] = [];
    for await (const piece of beforeKeys(source(), [16, 17], () => (isFound = true))) passed.push(...piece);
    return [passed, isFound];
  };
  expect(await pass([1, 16, 17, 2])).toEqual([[1], true]);
  expect(await pass([1, 16], [17, 2])).toEqual([[1], true]);
  expect(await pass([16, 1, 17])).toEqual([[16, 1, 17], false]);
  expect(await pass([16, 16], [17])).toEqual([[16], true]);
  expect(await pass([1], [16])).toEqual([[1, 16], false]);
});

describe("cp", () => {
  const from = (path: string) => node.containers.archives.get(path);
  const place = (name: string): string => {
    const path = join(directory, `${name}-${Bun.randomUUIDv7()}`);
    mkdirSync(path);
    return path;
  };
  const shelve = async (path: string, files: Record<string, string>): Promise<void> => {
    node.containers.archives.set(path, await new Bun.Archive(files).bytes());
  };

  test("a directory goes in as one archive with its name first", async () => {
    const source = place("site");
    writeFileSync(join(source, "page"), "a page", { mode: 0o640 });
    symlinkSync("page", join(source, "link"));
    const { code, out } = await muster(["cp", source, "web/0:/srv"]);
    expect({ code, out }).toEqual({ code: 0, out: "" });
    expect(node.containers.asked[0]).toEqual({
      key: { namespace: "default", name: "web" },
      choice: { replica: 0 },
      path: "/srv",
    });
    const listed = await Bun.$`tar --list --verbose --file=- < ${new Response(from("/srv") ?? "")}`
      .quiet()
      .text();
    expect(listed).toMatch(/-rw-r----- .* site-[\w-]+\/page$/m);
    expect(listed).toMatch(/link -> page$/m);
  });

  test("what is in a directory goes in without the directory", async () => {
    const source = place("inner");
    writeFileSync(join(source, "page"), "a page");
    await muster(["cp", `${source}/.`, "web:srv"]);
    const files = await new Bun.Archive(from("/srv") ?? new Uint8Array()).files();
    expect([...files.keys()].map((name) => name.replace(/^\.\//, ""))).toEqual(["page"]);
  });

  test("a file comes out under its name, under another one, and over one that is there", async () => {
    await shelve("/etc/note", { note: "what it says" });
    const target = place("out");
    const { out } = await muster(["cp", "web:/etc/note", target, "--json"]);
    expect(JSON.parse(out)).toMatchObject({ from: "web:/etc/note", to: target });
    expect(readFileSync(join(target, "note"), "utf8")).toBe("what it says");
    await muster(["cp", "web:/etc/note", join(target, "renamed")]);
    expect(readFileSync(join(target, "renamed"), "utf8")).toBe("what it says");
    await shelve("/etc/note", { note: "something else" });
    await muster(["cp", "web:/etc/note", target]);
    expect(readFileSync(join(target, "note"), "utf8")).toBe("something else");
    expect(readdirSync(target).toSorted()).toEqual(["note", "renamed"]);
  });

  test("a directory is joined with the one that is there", async () => {
    await shelve("/srv/site", { "site/new": "new", "site/old": "newer" });
    const target = place("joined");
    mkdirSync(join(target, "site"));
    writeFileSync(join(target, "site/old"), "old");
    writeFileSync(join(target, "site/kept"), "kept");
    expect((await muster(["cp", "web:/srv/site", target])).code).toBe(0);
    const read = (name: string): string => readFileSync(join(target, "site", name), "utf8");
    expect(["kept", "new", "old"].map(read)).toEqual(["kept", "new", "newer"]);
  });

  test("no archive writes beside its place", async () => {
    const target = place("guarded");
    const evil = place("evil");
    writeFileSync(join(evil, "x"), "planted");
    const up =
      await Bun.$`tar --create --absolute-names --file=- --directory=${evil} --transform=s,^,../, x`.quiet();
    node.containers.archives.set("/evil", new Uint8Array(up.stdout));
    expect((await muster(["cp", "web:/evil", target])).code).toBe(1);
    symlinkSync(directory, join(evil, "way"));
    mkdirSync(join(evil, "real"));
    writeFileSync(join(evil, "real/planted"), "planted");
    const archive = join(evil, "archive.tar");
    await Bun.$`tar --create --file=${archive} --directory=${evil} way`.quiet();
    await Bun.$`tar --append --file=${archive} --directory=${evil} --transform=s,^real,way, real/planted`.quiet();
    node.containers.archives.set("/evil", new Uint8Array(readFileSync(archive)));
    expect((await muster(["cp", "web:/evil", target])).code).toBe(1);
    expect(existsSync(join(directory, "planted"))).toBe(false);
    expect(existsSync(join(directory, "x"))).toBe(false);
    expect(readdirSync(target)).toEqual([]);
  });

  test("a copy that breaks off leaves nothing and says so", async () => {
    await shelve("/big", { big: "b".repeat(100_000) });
    node.containers.breaksOff = true;
    const target = place("broken");
    expect((await muster(["cp", "web:/big", join(target, "big")])).code).not.toBe(0);
    expect(readdirSync(target)).toEqual([]);
  });

  test("archives on standard input and output", async () => {
    await shelve("/note", { note: "n" });
    const { bytes } = await muster(["cp", "web:/note", "-"]);
    expect((await new Bun.Archive(new Uint8Array(bytes)).files()).has("note")).toBe(true);
    await muster(["cp", "-", "web:/copy"], { input: [bytes] });
    expect(from("/copy")).toEqual(new Uint8Array(bytes));
  });

  test("what cannot be is refused with what to do", async () => {
    for (const [args, word] of [
      [["cp", "web:/a", "web:/b"], "both ends"],
      [["cp", "/tmp", "/var"], "neither end"],
      [["cp", "web:", "/tmp"], "names no path"],
      [["cp", "Web:/x", "/tmp"], "names no deployment"],
    ] as const) {
      const { code, errors } = await muster(args);
      expect(code).toBe(2);
      expect(errors).toContain(word);
    }
    expect((await muster(["cp", "/no/such/file", "web:/tmp"])).errors).toContain("there is no /no/such/file");
    expect((await muster(["cp", "web:/none", directory])).errors).toContain("there is no /none");
    await shelve("/x", { x: "x" });
    expect((await muster(["cp", "web:/x", join(directory, "none/")])).errors).toContain(
      "there is no directory",
    );
    expect(statSync(directory).isDirectory()).toBe(true);
  });
});

describe("stats and top", () => {
  test("a table, once", async () => {
    const { code, out } = await muster(["stats"]);
    expect(code).toBe(0);
    expect(out).toMatch(
      /^REPLICA .*\nweb\/0 +main +one +10\.0% +32Mi +64Mi +3 +2Ki +1Ki +0 +4Ki\nnot answering: two\n$/,
    );
  });

  test("of one replica, of another namespace, of this node alone", async () => {
    expect((await muster(["stats", "web/0", "--json"])).out).toContain('"replica":0');
    expect((await muster(["stats", "web/1", "--json"])).out).toBe("[]\n");
    expect((await muster(["stats", "-n", "other", "--json"])).out).toBe("[]\n");
    expect((await muster(["stats", "-n", "other", "-A", "--node"])).out).not.toContain("not answering");
  });

  test("again and again until interrupted, one JSON value a line", async () => {
    const abort = new AbortController();
    const printed = (out: string): void => {
      if (out.split("\n").length > 3) abort.abort();
    };
    const { code, out } = await muster(["stats", "-f", "--interval", "10ms", "--json"], {
      interrupted: abort.signal,
      printed,
    });
    expect(code).toBe(0);
    const lines = out.trim().split("\n");
    expect(lines.length).toBe(3);
    for (const line of lines) expect(JSON.parse(line)[0].cpuMillis).toBe(100);
  });

  test("machines and replicas, redrawn in place on a terminal", async () => {
    const once = await muster(["top"]);
    expect(once.out).toMatch(
      /^NODE .*\none +50\.0% +2 +1Gi +4Gi +1\nnot answering: two\n\nNAMESPACE .*\ndefault +web\/0 +one +10\.0%/,
    );
    const abort = new AbortController();
    const { out } = await muster(["top", "--interval", "10ms"], {
      terminal: fakeTerminal().terminal,
      interrupted: abort.signal,
      printed: (text) => {
        if (text.split("\u001b[H").length > 2) abort.abort();
      },
    });
    expect(out.startsWith("\u001b[H")).toBe(true);
    expect(JSON.parse((await muster(["top", "--json"])).out).replicas[0].name).toBe("web");
  });
});
