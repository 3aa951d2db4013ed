import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { parseManifests } from "./manifest.ts";
import { everyField, explain, manualOfSpec, type FieldManual } from "./manual.ts";
import { otherNames } from "./other-names.ts";
import { withReference } from "./reference.ts";

const pagePath = join(import.meta.dir, "../../../docs/guide/spec.md");

test("the page is as the schema says: bun scripts/spec-page.ts makes it so", async () => {
  const page = await Bun.file(pagePath).text();
  expect(withReference(page)).toBe(page);
});

test("every manifest of the page is right", async () => {
  const page = await Bun.file(pagePath).text();
  const manifests = [...page.matchAll(/^```yaml\n(.*?)^```/gms)].map((match) => match[1] ?? "");
  expect(manifests.length).toBeGreaterThanOrEqual(3);
  for (const text of manifests) expect(parseManifests([{ text }], "default")).toMatchObject({ ok: true });
});

/** What has to stand beside an example to make it a whole: one of several that exclude each other. */
const companions: readonly { readonly below: RegExp; readonly text: Readonly<Record<string, string>> }[] = [
  {
    below: /\.probes\.\w+\.(initialDelay|period|timeout|successThreshold|failureThreshold)$/,
    text: { tcp: "80", period: "10s" },
  },
  { below: /\.mounts\.(target|readOnly)$/, text: { volume: "data" } },
];

/** A manifest in which only what must stand beside the field stands beside it. */
function manifestWith(field: FieldManual): string {
  const keys = field.path.split(".");
  let text = field.example;
  for (let depth = keys.length - 1; depth >= 0; depth -= 1) {
    const parentPath = keys.slice(0, depth).join(".");
    const parent = everyField(manualOfSpec()).find(({ path }) => path === parentPath);
    const members = new Map<string, string>();
    for (const one of parent?.fields ?? manualOfSpec())
      if (one.isRequired) members.set(one.name, one.example);
    for (const { below, text: beside } of companions)
      if (depth === keys.length - 1 && below.test(field.path))
        for (const [name, value] of Object.entries(beside)) members.set(name, value);
    members.set(keys[depth] ?? "", text);
    const map = `{${[...members].map(([name, value]) => `${name}: ${value}`).join(", ")}}`;
    text = parent?.isList === true ? `[${map}]` : map;
  }
  return text;
}

describe("every field", () => {
  for (const field of everyField(manualOfSpec()))
    test(`${field.path} has an example that is right`, () => {
      const text = manifestWith(field);
      expect([text, parseManifests([{ text }], "default")]).toMatchObject([text, { ok: true }]);
      expect(field.meaning).toEndWith(".");
    });

  test("is found by its path, with and without what may be left out", () => {
    for (const field of everyField(manualOfSpec()))
      for (const path of [field.path, `spec.${field.path}`, field.path.replace("ainers.", "ainers[3].")])
        expect(explain(path)).toMatchObject({ ok: true, value: { field: { path: field.path } } });
    expect(explain("resources.cpu")).toMatchObject({
      ok: true,
      value: { field: { path: "containers.resources.cpu" } },
    });
  });
});

test("a wrong path is told what may have been meant", () => {
  const messages = [
    "spec.containers.resource",
    "cpu",
    "spec.contaners",
    "ports.publish",
    "image.tag",
    "qqqqqq",
    "spec.containers.livenessProbe",
  ].map((path) => {
    const found = explain(path);
    return found.ok ? "found" : found.error.message;
  });
  expect(messages).toEqual([
    'spec.containers has no field "resource"; did you mean spec.containers.resources?',
    'spec has no field "cpu"; did you mean spec.containers.resources.cpu?',
    'spec has no field "contaners"; did you mean spec.containers?',
    'spec.containers.ports has no field "publish"; did you mean spec.containers.ports.published?',
    'spec.containers.image has no field "tag"',
    'spec has no field "qqqqqq"',
    'spec.containers has no field "livenessProbe"; did you mean spec.containers.probes.liveness?',
  ]);
});

test("names from elsewhere lead to fields that there are, and are none themselves", () => {
  const fields = everyField(manualOfSpec());
  const paths = fields.map(({ path }) => `.${path}`);
  const wrong = [...otherNames].filter(
    ([theirs, ours]) =>
      !paths.some((path) => path.endsWith(`.${ours}`)) || fields.some(({ name }) => name === theirs),
  );
  expect(wrong).toEqual([]);
});
