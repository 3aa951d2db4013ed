/**
 * Transcripts in testdata: input, a line `----`, and what came of it. `REWRITE=1` writes them anew; read the
 * difference before it is committed.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Problem } from "../../model/problem.ts";
import { formatPlace, parseManifests } from "./manifest.ts";
import { everyField, manualOfSpec, shortFormNames } from "./manual.ts";

const testdata = join(import.meta.dir, "testdata");

function outcomeOf(text: string): string {
  const outcome = parseManifests([{ file: "in.yaml", text }], "default");
  if (outcome.ok) return outcome.value.map((spec) => `${JSON.stringify(spec, undefined, 1)}\n`).join("");
  return formatPlaces(outcome.error);
}

function formatPlaces(problem: Problem): string {
  return (problem.places ?? [])
    .map(
      (place) =>
        `${formatPlace(place)}: ${place.path === undefined ? "" : `${place.path}: `}${place.message}\n`,
    )
    .join("");
}

describe("transcripts", () => {
  for (const name of readdirSync(testdata)
    .filter((file) => file.endsWith(".txt"))
    .toSorted())
    test(name, async () => {
      const path = join(testdata, name);
      const written = await Bun.file(path).text();
      const inputs = written.split(/^====\n/m).map((text) => text.split(/^----\n/m)[0] ?? "");
      const actual = inputs.map((input) => `${input}----\n${outcomeOf(input)}`).join("====\n");
      if (process.env["REWRITE"] === "1") await Bun.write(path, actual);
      else expect(actual).toBe(written);
    });
});

test("a deployment declared in two files is named with both places", () => {
  const text = "name: web\nimage: nginx\n";
  const outcome = parseManifests(
    [
      { file: "a.yaml", text },
      { file: "b.yaml", text: `namespace: default\n${text}` },
    ],
    "default",
  );
  if (outcome.ok) throw new Error("accepted");
  expect(formatPlaces(outcome.error)).toBe(
    "b.yaml:2:7: name: default/web is declared a second time, first at a.yaml:1:7\n",
  );
});

test("an alias bomb is refused, and at once", () => {
  const levels = Array.from(
    { length: 12 },
    (_, level) => `l${level + 1}: &l${level + 1} [${Array(10).fill(`*l${level}`).join(", ")}]`,
  );
  const text = ["name: web", "image: nginx", "l0: &l0 [x, x, x]", ...levels].join("\n");
  const before = process.cpuUsage();
  expect(outcomeOf(text)).toContain("the file holds too many values, aliases filled in");
  // Of this process: others may be at work on the machine.
  expect(process.cpuUsage(before).user / 1000).toBeLessThan(2000);
});

test("an alias to itself ends", () => {
  expect(outcomeOf("name: web\nimage: nginx\ncommand: &a [*a]\n")).toContain("deep");
});

test("deep nesting and long files are refused", () => {
  expect(outcomeOf("[".repeat(100_000))).toContain("in.yaml:1");
  expect(outcomeOf(`command: ${"[".repeat(5000)}${"]".repeat(5000)}\n`)).toContain("in.yaml:1");
  expect(outcomeOf("#".repeat(1024 * 1024 + 1))).toContain("larger than 1 MiB");
});

describe("whatever is read, it is a spec or a refusal with a place", () => {
  const check = (text: string): void => {
    const outcome = parseManifests([{ file: "in.yaml", text }], "default");
    if (outcome.ok) {
      // A spec says all there is to say: written out as a manifest again it is refused or the same.
      expect(outcome.value.length).toBeGreaterThan(0);
      return;
    }
    const places = outcome.error.places ?? [];
    expect(places.length).toBeGreaterThan(0);
    for (const place of places) {
      expect(place.line).toBeGreaterThanOrEqual(1);
      expect(place.column).toBeGreaterThanOrEqual(1);
      expect(place.message.length).toBeGreaterThan(0);
    }
  };
  const scalar = fc.oneof(
    fc.string({ maxLength: 12 }),
    fc.constantFrom(
      "web",
      "nginx:1.27",
      "3",
      "-1",
      "500m",
      "64Mi",
      "8080:80/tcp",
      "A=1",
      "10s",
      "true",
      "/srv",
      "data:/data:ro",
      "tmpfs:/run:1Mi",
      "8080/healthz",
      "SIGINT",
      "NET_ADMIN",
      "0644",
      "~",
      "null",
      "{}",
      "*a",
      "&a x",
      "!!int 3",
      "<<",
    ),
    fc.integer(),
    fc.double(),
    fc.boolean(),
    fc.constant(null),
  );
  const key = fc.oneof(
    fc.constantFrom(
      ...new Set(everyField(manualOfSpec()).map(({ name }) => name)),
      ...shortFormNames,
      "__proto__",
      "constructor",
    ),
    fc.string({ maxLength: 8 }),
  );
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      scalar,
      fc.array(tie("value"), { maxLength: 4 }),
      fc.dictionary(key, tie("value"), { maxKeys: 6 }),
    ),
  }));

  test("any text", () => {
    fc.assert(fc.property(fc.string({ maxLength: 200, unit: "binary" }), check), { numRuns: 800 });
  });

  test("any YAML-like text", () => {
    const piece = fc.oneof(
      key,
      scalar.map(String),
      fc.constantFrom(
        ": ",
        "\n",
        "\n  ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "---\n",
        "&a ",
        "*a",
        "'",
        '"',
        "|\n",
        "# ",
        "\t",
        "? ",
        "%YAML 1.1\n",
      ),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => check(pieces.join(""))),
      { numRuns: 800 },
    );
  });

  test("any document in JSON", () => {
    fc.assert(
      fc.property(fc.dictionary(key, value, { maxKeys: 8 }), (document) => check(JSON.stringify(document))),
      { numRuns: 800 },
    );
  });

  test("a good document with one field changed", () => {
    const good = {
      name: "web",
      image: "nginx",
      replicas: 2,
      command: ["a"],
      env: { A: "1" },
      resources: { cpu: "1" },
      ports: ["80"],
      mounts: ["data:/data"],
      files: [{ path: "/etc/a", content: "" }],
      probes: { liveness: { tcp: 80 } },
    };
    fc.assert(
      fc.property(key, value, (field, changed) => check(JSON.stringify({ ...good, [field]: changed }))),
      { numRuns: 800 },
    );
  });

  test("a good document of two containers with one field of one changed", () => {
    const log = { name: "log", image: "log", probes: { liveness: { exec: ["true"] } } };
    fc.assert(
      fc.property(key, value, (field, changed) =>
        check(
          JSON.stringify({
            name: "web",
            initContainers: [{ name: "init", image: "init", [field]: changed }],
            containers: [{ name: "web", image: "nginx", [field]: changed }, log],
          }),
        ),
      ),
      { numRuns: 800 },
    );
  });

  test("whatever stands in a probe, a mount or a file", () => {
    fc.assert(
      fc.property(fc.dictionary(key, value, { maxKeys: 4 }), value, (map, other) => {
        const probes = { liveness: map, readiness: { http: map }, startup: other };
        check(JSON.stringify({ name: "web", image: "nginx", probes, preStop: map, mounts: [map, other] }));
        check(
          JSON.stringify({ name: "web", image: "nginx", files: [map, other], capabilities: map, logs: map }),
        );
      }),
      { numRuns: 200 },
    );
  });
});
