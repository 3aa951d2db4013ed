import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { completionScript, shells } from "./completion-scripts.ts";
import { completionTree, type CompletionCommand } from "./completion-tree.ts";
import type { CliContext } from "./console.ts";
import { examples } from "./examples.ts";
import { commands, createProgram } from "./program.ts";
import { runCli } from "./run-cli.ts";

const directory = mkdtempSync(join(tmpdir(), "muster-program-"));
afterAll(() => rmSync(directory, { recursive: true }));

function contextOf(env: Record<string, string> = {}) {
  const said = { out: "", errors: "" };
  const context: CliContext = {
    env,
    exitCode: 0,
    console: {
      write: async (data) => void (said.out += String(data)),
      complain: async (data) => void (said.errors += String(data)),
      input: async function* () {},
      interrupted: new AbortController().signal,
      terminal: undefined,
    },
  };
  return { context, said };
}

async function muster(args: readonly string[], env: Record<string, string> = {}) {
  const { context, said } = contextOf(env);
  return { code: await runCli(args, context), ...said };
}

async function wholeTree(): Promise<readonly CompletionCommand[]> {
  const output = { out: () => {}, error: () => {} };
  return completionTree(await createProgram(["completion"], contextOf().context, output));
}

describe("help", () => {
  test("every command has examples, in examples.ts", async () => {
    const names = commands.map(({ name }) => name);
    expect(names.filter((name) => (examples[name] ?? []).length === 0)).toEqual([]);
  });

  test("the flags of every example are flags of its command", async () => {
    const tree = await wholeTree();
    const flagsOf = (path: string): readonly string[] =>
      tree.find((command) => command.path === path)?.options.flatMap(({ names }) => names) ?? [];
    const breaches: string[] = [];
    const names = commands.map(({ name }) => name);
    for (const [name, lines] of Object.entries(examples).filter(([one]) => names.includes(one)))
      for (const line of lines) {
        const words =
          line
            .split(/[|<>&]/)[0]
            ?.split(" -- ")[0]
            ?.split(" ") ?? [];
        const sub = tree.find(({ path }) => path === `/${name}/${words[2]}`);
        for (const word of words.filter((one) => /^-[a-z-]/.test(one))) {
          const known = [...flagsOf(`/${name}`), ...(sub === undefined ? [] : flagsOf(sub.path))];
          const single = /^-[a-z]{2,}$/.test(word)
            ? [...word.slice(1)].map((letter) => `-${letter}`)
            : [word];
          if (!single.every((flag) => known.includes(flag))) breaches.push(`${line}: ${word}`);
        }
      }
    expect(breaches).toEqual([]);
  });

  test("spans, choices and lists read as they would be typed", async () => {
    const { out } = await muster(["scale", "--help"]);
    expect(out).toContain("(default: 60s)");
    expect(out).not.toContain("60000");
    expect(out).toContain("Examples:\n  muster scale web 5 --wait\n");
    expect((await muster(["up", "--help"])).out).not.toContain("default: [])");
    expect((await muster(["--help"])).out).toContain("Exit codes: 0 done");
  });

  test("the environment gives the data directory and the namespace", async () => {
    const env = { MUSTER_DATA_DIR: "/srv/muster", MUSTER_NAMESPACE: "shop" };
    const { out } = await muster(["ps", "--help"], env);
    expect(out).toContain("(default: /srv/muster)");
    expect(out).toContain("(default: shop)");
    expect((await muster(["ps"], { MUSTER_DATA_DIR: directory })).errors).toContain(
      join(directory, "muster.sock"),
    );
    const bad = await muster(["ps"], { MUSTER_NAMESPACE: "No Name" });
    expect([bad.code, bad.errors]).toEqual([2, expect.stringContaining("$MUSTER_NAMESPACE")]);
  });
});

/** What a shell proposes for a command line that ends at the cursor, sorted. */
async function proposals(shell: (typeof shells)[number], line: string): Promise<readonly string[]> {
  const script = join(directory, `muster.${shell}`);
  await Bun.write(script, completionScript(shell, await wholeTree()));
  const words = line.split(" ");
  const asked = {
    bash: [
      "bash",
      "--norc",
      "-c",
      `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _muster; printf '%s\\n' "\${COMPREPLY[@]}"`,
      "-",
      script,
      ...words,
    ],
    // compsys needs a terminal of its own; the functions below it do not.
    zsh: [
      "zsh",
      "-f",
      "-c",
      `_files() { print @path; }; compdef() {}; _describe() { print -l -- \${\${(P)2}%%:*}; }; script=$1; shift; source $script; words=("$@"); CURRENT=$#; PREFIX=$words[CURRENT]; _muster`,
      "-",
      script,
      ...words,
    ],
    fish: [
      "fish",
      "--no-config",
      "-c",
      `function muster; end; source $argv[1]; complete -C "$argv[2]"`,
      script,
      line,
    ],
  }[shell];
  const child = Bun.spawn(asked, { cwd: directory, stdio: ["ignore", "pipe", "pipe"] });
  const [out, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  expect([shell, line, await child.exited, errors]).toEqual([shell, line, expect.any(Number), ""]);
  return out
    .split("\n")
    .map((one) => one.split("\t")[0] ?? "")
    .filter((one) => one !== "" && one.startsWith(words.at(-1) ?? ""))
    .toSorted();
}

describe("completion", () => {
  for (const shell of shells) {
    const isThere = Bun.which(shell) !== null;
    if (!isThere) console.log(`completion of ${shell} is left out: ${shell} is not installed`);
    test.skipIf(!isThere)(`of ${shell} proposes commands, options and values`, async () => {
      expect(await proposals(shell, "muster sc")).toEqual(["scale"]);
      expect(await proposals(shell, "muster --data-dir /x sta")).toEqual(["stats", "status"]);
      expect(await proposals(shell, "muster cohort s")).toEqual(["show"]);
      expect(await proposals(shell, "muster scale --ti")).toEqual(["--timeout"]);
      expect(await proposals(shell, "muster up --log-level d")).toEqual(["debug"]);
      expect(await proposals(shell, "muster run --restart on")).toEqual(["on-failure"]);
      expect(await proposals(shell, "muster completion z")).toEqual(["zsh"]);
    });
  }

  test("all commands and options are in it, and names come from the agent", async () => {
    const tree = await wholeTree();
    expect(tree.filter(({ path }) => path.split("/").length === 2).map(({ path }) => path.slice(1))).toEqual(
      commands.map(({ name }) => name),
    );
    const inspect = tree.find(({ path }) => path === "/inspect");
    expect(inspect?.argument).toEqual({ kind: "deployment" });
    const silent = await muster(["completion", "names"], { MUSTER_SOCKET: join(directory, "none") });
    expect(silent).toEqual({ code: 0, out: "", errors: "" });
  });
});
