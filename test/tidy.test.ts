/**
 * The house rules that no compiler or lint checks. Each test collects every breach before it fails, so that one run shows
 * all of them. Where code goes and why is in CONTRIBUTING.md.
 */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join, normalize } from "node:path";
import { Glob } from "bun";

const root = join(import.meta.dir, "..");
const self = "test/tidy.test.ts";

function list(...patterns: readonly string[]): readonly string[] {
  const found = patterns.flatMap((pattern) => [...new Glob(pattern).scanSync({ cwd: root, dot: true })]);
  return [...new Set(found)].toSorted();
}

const code = list(...["src", "sim", "test", "bench", "examples", "scripts"].map((top) => `${top}/**/*.ts`));
const documents = list(
  "*.md",
  ".github/**/*.md",
  ...["docs", "examples", "bench", "sim"].map((top) => `${top}/**/*.md`),
);
const shell = list("*.sh", "scripts/*", ".ci/*");
const texts = new Map(
  [...code, ...documents, ...shell].map((path) => [path, readFileSync(join(root, path), "utf8")]),
);

function textOf(path: string): string {
  const text = texts.get(path);
  if (text === undefined) throw new Error(`${path} was not read`);
  return text;
}

/** All but this file, which has to name what it looks for. */
const others = [...texts.keys()].filter((path) => path !== self);

const isTest = (path: string): boolean => path.endsWith(".test.ts");

/** Files that a file imports by a relative path, types and lazy imports included. */
function importsOf(path: string): readonly string[] {
  const found = textOf(path).matchAll(/(?:\bfrom|\bimport|\bimport\()\s*"(\.[^"]+)"/g);
  return [...found].map((match) => normalize(join(dirname(path), match[1] ?? "")));
}

/** Files that a file names in a string: a script to run in a child, beside it or from the root. */
function filesNamedBy(path: string): readonly string[] {
  const names = [...textOf(path).matchAll(/["'`/]([\w./-]+\.ts)["'`]/g)].map((match) => match[1] ?? "");
  return names
    .flatMap((name) => [normalize(join(dirname(path), name)), normalize(name)])
    .filter((one) => texts.has(one));
}

/** Lines that match, as `path:line: text`. */
function linesWith(paths: readonly string[], pattern: RegExp): readonly string[] {
  return paths.flatMap((path) =>
    textOf(path)
      .split("\n")
      .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
  );
}

test("file names say what is inside", () => {
  const forbidden = /^(utils?|helpers?|common|misc|shared|managers?|index|types|constants)$/;
  const breaches = code.filter((path) => {
    const parts = path.replace(/(\.\w+)*\.ts$/, "").split("/");
    return parts.some((part) => forbidden.test(part)) || !parts.every((part) => /^[a-z0-9.-]+$/.test(part));
  });
  expect(breaches).toEqual([]);
});

test("src is at most three folders deep below a layer's own", () => {
  expect(code.filter((path) => path.startsWith("src/") && path.split("/").length > 6)).toEqual([]);
});

/** The part of the tree a file belongs to: what the arrows connect. */
function layerOf(path: string): string {
  const [top, layer, name, ...rest] = path.split("/");
  if (top !== "src" || layer === undefined) return top ?? "";
  if (name === undefined) return "main";
  if (layer === "core") return rest.length === 0 ? "core" : `core/${name}`;
  return layer === "adapters" ? `adapters/${name}` : layer;
}

/** What each layer may import besides itself; `core` is what all cores share (machine.ts, rng.ts), `core/*` any core. */
const arrows: Readonly<Record<string, readonly string[]>> = {
  model: [],
  wire: ["model"],
  core: ["model"],
  "core/*": ["model", "core"],
  ports: ["model", "core"],
  "adapters/*": ["ports", "model", "wire", "core"],
  node: ["ports", "wire", "core", "core/*", "model"],
  edge: ["node", "ports", "wire", "model"],
  lab: ["edge", "node", "model"],
  main: ["edge"],
};

/** The places that reach further than their layer, and why. */
const exceptions: readonly { readonly from: string; readonly to: string; readonly why: string }[] = [
  { from: "src/node/compose.ts", to: "src/adapters/", why: "the one composition root" },
  {
    from: "src/main.ts",
    to: "src/adapters/images/oci/unpack.ts",
    why: "the unpacking child is this program",
  },
  { from: "src/main.ts", to: "src/node/identity/certify.ts", why: "so is the certifying child" },
  {
    from: "src/main.ts",
    to: "src/adapters/runtimes/process/launch.ts",
    why: "so is what becomes a program of the process runtime",
  },
  { from: "src/main.ts", to: "src/adapters/runtimes/copy/copy-child.ts", why: "so is the copying child" },
  {
    from: "src/adapters/runtimes/copy/",
    to: "src/adapters/images/oci/tar-reader.ts",
    why: "one reader of archives is enough",
  },
  { from: "src/edge/cli/program.ts", to: "src/lab/", why: "the table of commands loads them lazily" },
];

const wildcard = (layer: string): string => layer.replace(/^(core|adapters)\/.*/, "$1/*");

function isAllowed(path: string, target: string): boolean {
  const from = layerOf(path);
  const to = layerOf(target);
  if (from === to) return true;
  // A test may wire what it tests to other cores and to the parsers of test data; the arrows of adapters hold for it too.
  if (isTest(path) && (to === "test" || wildcard(to) === "core/*")) return true;
  if ((arrows[wildcard(from)] ?? []).includes(wildcard(to))) return true;
  return exceptions.some((one) => path.startsWith(one.from) && target.startsWith(one.to));
}

test("imports follow the arrows", () => {
  const breaches = code
    .filter((path) => path.startsWith("src/"))
    .flatMap((path) => importsOf(path).map((target) => ({ path, target })))
    .filter(({ path, target }) => !isAllowed(path, target))
    .map(({ path, target }) => `${path} imports ${target}`);
  expect(breaches).toEqual([]);
});

test("the simulator and benchmarks are imported by nobody in src", () => {
  expect(
    linesWith(
      code.filter((path) => path.startsWith("src/")),
      /from "[^"]*\/(sim|bench)\//,
    ),
  ).toEqual([]);
});

test("cores have no asynchronous code", () => {
  const cores = code.filter((path) => path.startsWith("src/core/") && !isTest(path));
  expect(linesWith(cores, /^[^*/]*\b(await|async|Promise)\b[ (<]/)).toEqual([]);
});

test("every port has a contract suite that runs over at least two adapters", () => {
  // What has one verb and no failure needs no suite: its memory twin is the simulator's.
  const plain = new Set(["clock", "entropy", "logger"]);
  const breaches = list("src/ports/*.ts").flatMap((port) => {
    const name = basename(port, ".ts");
    const suite = `test/contract/${name}-suite.ts`;
    if (plain.has(name)) return [];
    if (!texts.has(suite)) return [`${port} has no ${suite}`];
    const runners = [...textOf(suite).matchAll(/export (?:async )?function (\w+)/g)].map(
      (match) => match[1] ?? "",
    );
    const users = code.filter((path) => isTest(path) && importsOf(path).includes(suite));
    const runs = users.flatMap((path) =>
      runners.flatMap((run) => [...textOf(path).matchAll(new RegExp(`\\b${run}\\(`, "g"))]),
    );
    return runs.length >= 2 ? [] : [`${suite} runs over ${runs.length} adapters`];
  });
  expect(breaches).toEqual([]);
});

test("every file is reached from the program, a test, a simulation, a benchmark or an example", () => {
  const entries = code.filter(
    (path) =>
      isTest(path) || /^(src\/main|sim\/main|bench\/[^/]+|examples\/[^/]+|scripts\/[^/]+)\.ts$/.test(path),
  );
  const reached = new Set(entries);
  const queue = [...entries];
  for (let path = queue.pop(); path !== undefined; path = queue.pop())
    for (const next of [...importsOf(path), ...filesNamedBy(path)])
      if (texts.has(next) && !reached.has(next)) {
        reached.add(next);
        queue.push(next);
      }
  expect(code.filter((path) => !reached.has(path))).toEqual([]);
});

test("what is unfinished is not left as a note", () => {
  const marks = /FIXME|XXX\b|TODO(?!\(#\d+\))/;
  expect(linesWith(others, marks)).toEqual([]);
});

test("a test is left out only where it prints why", () => {
  const tests = code.filter((path) => isTest(path) || path.startsWith("test/"));
  const alone = linesWith(tests, /\b(test|it|describe)\.(only|todo)\b/);
  const silent = tests
    .filter((path) => /\b(test|it|describe)\.(skip|skipIf)\b/.test(textOf(path)))
    .filter((path) => path !== self && !/\bcanRun\(|console\.(warn|log)\(/.test(textOf(path)));
  expect([...alone, ...silent]).toEqual([]);
});

test("tests wait for conditions, not for time", () => {
  // Allowed are a pause between two looks at a condition, and one that makes a fault, with the reason above it.
  const pollers = /\b(until|eventually|waitFor|waitUntil)\b/;
  const tests = code.filter((path) => isTest(path) || path.startsWith("test/"));
  const breaches = tests
    .filter((path) => path !== self)
    .flatMap((path) => {
      const lines = textOf(path).split("\n");
      return lines.flatMap((line, index) => {
        if (!/Bun\.sleep\(|sleepSync\(|=> setTimeout\((resolve|done|r)\b/.test(line)) return [];
        const before = lines.slice(Math.max(0, index - 12), index + 1).join("\n");
        const isPolling = /\b(while|for) ?\(/.test(before) || pollers.test(before);
        const isExplained = /^\s*\/\/ /.test(lines[index - 1] ?? "");
        return isPolling || isExplained ? [] : [`${path}:${index + 1}: ${line.trim()}`];
      });
    });
  expect(breaches).toEqual([]);
});

test("nothing names the machine it was made on", () => {
  const places = /\/work\/|\/tmp\/brief|registry\.npmjs/;
  expect(linesWith(others, places)).toEqual([]);
});

/** A document without its code blocks and inline code. */
function proseOf(path: string): string {
  return textOf(path)
    .replace(/^(```|~~~)[\s\S]*?^\1/gm, "")
    .replace(/`[^`\n]*`/g, "");
}

/** The anchor that a heading gets. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replace(/\s/g, "-");

function hasAnchor(path: string, anchor: string): boolean {
  const text = textOf(path).replace(/^(```|~~~)[\s\S]*?^\1/gm, "");
  return [...text.matchAll(/^#+ (.*)$/gm)].some((match) => anchorOf(match[1] ?? "") === anchor);
}

test("links in documents lead somewhere", () => {
  const breaches = documents.flatMap((path) =>
    [...proseOf(path).matchAll(/\]\(([^)\s]+)\)/g)].flatMap((match) => {
      const link = match[1] ?? "";
      if (/^[a-z]+:/.test(link)) return [];
      const [file = "", anchor] = link.split("#");
      const target = file === "" ? path : normalize(join(dirname(path), file));
      if (!existsSync(join(root, target))) return [`${path}: ${link}`];
      if (anchor !== undefined && texts.has(target) && !hasAnchor(target, anchor))
        return [`${path}: ${link}: no such heading`];
      return [];
    }),
  );
  expect(breaches).toEqual([]);
});

test("files that documents name exist", () => {
  // What a build or a run makes is named before it is there.
  const made = /^(dist|node_modules|\.tools)\//;
  const breaches = documents
    .filter((path) => path !== "CHANGELOG.md")
    .flatMap((path) =>
      [...textOf(path).matchAll(/`((?:src|test|sim|bench|docs|examples|scripts)\/[\w./-]*)`/g)]
        .map((match) => match[1] ?? "")
        // Capital letters stand for any name.
        .filter((named) => !/[A-Z]{3}/.test(named))
        .filter((named) => !made.test(named) && !existsSync(join(root, named)))
        .map((named) => `${path}: ${named}`),
    );
  expect(breaches).toEqual([]);
});

test("every document has one title", () => {
  const breaches = documents.filter((path) => (proseOf(path).match(/^# /gm) ?? []).length !== 1);
  expect(breaches).toEqual([]);
});

test("decisions are numbered, each number once", () => {
  const names = list("docs/decisions/*").map((path) => basename(path));
  expect(names.filter((name) => !/^\d{4}-[a-z0-9-]+\.md$/.test(name))).toEqual([]);
  const numbers = names.map((name) => name.slice(0, 4));
  expect(numbers.filter((number, index) => numbers.indexOf(number) !== index)).toEqual([]);
});

test("every package is used, and what only tests use is not shipped", () => {
  const manifest: { dependencies: object; devDependencies: object } = JSON.parse(
    readFileSync(join(root, "package.json"), "utf8"),
  );
  const isImported = (name: string, paths: readonly string[]): boolean =>
    paths.some((path) => new RegExp(`["']${name}(["'/])`).test(textOf(path)));
  const shipped = code.filter((path) => path.startsWith("src/") && !isTest(path));
  expect(Object.keys(manifest.dependencies).filter((name) => !isImported(name, shipped))).toEqual([]);
  const versions = [...Object.values(manifest.dependencies), ...Object.values(manifest.devDependencies)];
  expect(versions.filter((version) => !/^\d+\.\d+\.\d+$/.test(String(version)))).toEqual([]);
});
