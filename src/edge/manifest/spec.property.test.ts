/** What holds for every spec there can be: all of its forms say the same, and each of them is understood. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import { capabilityNames } from "../../model/capability.ts";
import type { Probe, ProbeAction } from "../../model/probe.ts";
import { signalNames } from "../../model/signal.ts";
import type {
  ContainerTemplate,
  DeploymentSpec,
  Mount,
  PortSpec,
  ReplicaTemplate,
} from "../../model/spec.ts";
import { decode, encode } from "../../wire/codec.ts";
import { templateHashOf } from "../../wire/digest.ts";
import { templateSchema } from "../../wire/template.ts";
import { specSchema } from "../api/bodies.ts";
import { canonicalTemplate } from "./canonical.ts";
import { conflictsOf } from "./conflicts.ts";
import { differences } from "./differences.ts";
import { manifestText, shortManifest } from "./manifest-text.ts";
import { parseManifests } from "./manifest.ts";
import { exactBytes, formatSpan, formatCpu, parseCpu, parseMemory, parseSpan } from "./quantity.ts";
import { writtenMount, writtenPort, writtenSpec, type Written } from "./written.ts";

const name = fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,8}[a-z0-9]$/).filter((text) => text !== "tmpfs");
const port = fc.integer({ min: 1, max: 65_535 });
const text = fc.string({ maxLength: 12, unit: "grapheme" }).filter((value) => !value.includes("\0"));
const spanMs = fc.oneof(
  fc.integer({ min: 1, max: 3_600_000 }),
  fc.constantFrom(1_000, 60_000, 3_600_000, 90_000, 500),
);
const bytes = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 2 ** 20, max: 2 ** 40 }),
  fc.integer({ min: 1, max: 4_096 }).map((mebibytes) => mebibytes * 2 ** 20),
);
const path = fc
  .array(fc.stringMatching(/^[a-z0-9_.@ -]{1,6}$/), { minLength: 1, maxLength: 3 })
  .map((parts) => parts.filter((part) => part !== "." && part !== ".."))
  .filter((parts) => parts.length > 0 && parts[0] !== "proc")
  .map((parts) => `/${parts.join("/")}`);
const names = (pattern: RegExp) =>
  fc.dictionary(
    fc.stringMatching(pattern).filter((key) => !["__proto__", "constructor", "prototype"].includes(key)),
    text,
    { maxKeys: 4, noNullPrototype: true },
  );

const action: fc.Arbitrary<ProbeAction> = fc.oneof(
  fc.record({ kind: fc.constant("exec" as const), command: fc.array(text, { minLength: 1, maxLength: 3 }) }),
  fc.record({
    kind: fc.constant("http" as const),
    port,
    path: fc.stringMatching(/^\/[!-~]{0,8}$/),
    scheme: fc.constantFrom("http" as const, "https" as const),
    headers: names(/^[A-Za-z-]{1,8}$/).map((headers) =>
      Object.fromEntries(
        Object.entries(headers).map(([key, value]) => [key, value.replaceAll(/[\r\n]/g, "")]),
      ),
    ),
  }),
  fc.record({ kind: fc.constant("tcp" as const), port }),
  fc.record({ kind: fc.constant("grpc" as const), port, service: text }),
);

const probe = (most: number): fc.Arbitrary<Probe> =>
  fc
    .record({
      action,
      initialDelayMs: fc.oneof(fc.constant(0), spanMs),
      periodMs: spanMs,
      timeoutMs: spanMs,
      successThreshold: fc.integer({ min: 1, max: most }),
      failureThreshold: fc.integer({ min: 1, max: 1_000 }),
    })
    .map((one) => ({ ...one, timeoutMs: Math.min(one.timeoutMs, one.periodMs) }));

const portSpec: fc.Arbitrary<PortSpec> = fc.record(
  { container: port, published: port, protocol: fc.constantFrom("tcp" as const, "udp" as const) },
  { requiredKeys: ["container", "protocol"] },
);

const mount: fc.Arbitrary<Mount> = fc.oneof(
  fc.record({
    kind: fc.constant("volume" as const),
    volume: name,
    target: path,
    readOnly: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("bind" as const), source: path, target: path, readOnly: fc.boolean() }),
  fc.record({ kind: fc.constant("tmpfs" as const), target: path, sizeBytes: bytes }),
);

const program = fc.array(text, { maxLength: 3 });
const initFields = {
  name,
  image: fc.constantFrom("nginx", "nginx:1.27", "127.0.0.1:5000/team/app:1.2"),
  pull: fc.constantFrom("missing" as const, "always" as const, "never" as const),
  env: names(/^[A-Za-z_][A-Za-z0-9_]{0,6}$/),
  resources: fc.record({
    cpuMillis: fc.integer({ min: 0, max: 100_000 }),
    memoryBytes: bytes,
    pids: fc.integer({ min: 1, max: 4_194_304 }),
    ephemeralBytes: bytes,
  }),
  capabilities: fc
    .shuffledSubarray([...capabilityNames, "ALL"], { maxLength: 4 })
    .map((some) => ({ add: some.slice(0, 2), drop: some.slice(2) })),
  readOnlyRoot: fc.boolean(),
  allowNewPrivileges: fc.boolean(),
  userNamespace: fc.boolean(),
  mounts: fc.array(mount, { maxLength: 3 }),
  files: fc.array(fc.record({ path, content: text, mode: fc.integer({ min: 0, max: 0o7777 }) }), {
    maxLength: 2,
  }),
  logs: fc.record({
    fileBytes: fc.integer({ min: 65_536, max: 2 ** 40 }),
    files: fc.integer({ min: 1, max: 100 }),
  }),
};
const initOptional = {
  entrypoint: program,
  command: program,
  workingDirectory: path,
  user: fc.constantFrom("0", "1000:1000", "app:web"),
};
const emptyProbes: ContainerTemplate["probes"] = {};
const init: fc.Arbitrary<ContainerTemplate> = fc.record(
  { ...initFields, ...initOptional, ports: fc.constant([]), probes: fc.constant(emptyProbes) },
  {
    requiredKeys: [
      "name",
      "image",
      "pull",
      "env",
      "resources",
      "capabilities",
      "readOnlyRoot",
      "allowNewPrivileges",
      "userNamespace",
      "mounts",
      "files",
      "logs",
      "ports",
      "probes",
    ],
  },
);
const container: fc.Arbitrary<ContainerTemplate> = fc
  .tuple(
    init,
    fc.array(portSpec, { maxLength: 3 }),
    fc.record({ startup: probe(1), readiness: probe(9), liveness: probe(1) }, { requiredKeys: [] }),
    fc.record(
      {
        preStop: action.filter((one) => one.kind === "exec" || one.kind === "http"),
        stopSignal: fc.constantFrom(...signalNames, "SIGRTMIN+3"),
        stdin: fc.constant(true as const),
        terminal: fc.constant(true as const),
      },
      { requiredKeys: [] },
    ),
  )
  .map(([fields, ports, probes, stop]) => ({ ...fields, ports, probes, ...stop }));

const template: fc.Arbitrary<ReplicaTemplate> = fc
  .record(
    {
      labels: names(/^[a-z0-9]([a-z0-9./-]{0,6}[a-z0-9])?$/),
      initContainers: fc.array(init, { maxLength: 2 }),
      containers: fc.oneof(
        container.map((only) => [{ ...only, name: "main" }]),
        fc.array(container, { minLength: 1, maxLength: 3 }),
      ),
      restart: fc.constantFrom("always" as const, "on-failure" as const, "never" as const),
      stopTimeoutMs: spanMs,
      runtime: fc.constantFrom("runc", "/usr/bin/crun"),
      hostname: fc.constantFrom("web", "web.example.com"),
    },
    { requiredKeys: ["labels", "initContainers", "containers", "restart", "stopTimeoutMs"] },
  )
  .map(withoutConflicts)
  .map(canonicalTemplate);

const spec: fc.Arbitrary<DeploymentSpec> = fc.record({
  namespace: name,
  name,
  replicas: fc.integer({ min: 0, max: 10_000 }),
  template,
});

/** Takes away what does not fit, until all does: the last of a list that has a conflict. */
function withoutConflicts(generated: ReplicaTemplate): ReplicaTemplate {
  let clean = generated;
  for (;;) {
    const conflict = conflictsOf(clean, (list, index) => [list, index])[0];
    if (conflict === undefined) return clean;
    const [list, index, field, item] = conflict.path;
    if (list !== "containers" && list !== "initContainers") throw new Error(conflict.message);
    const containers = clean[list].map((one, at): ContainerTemplate => {
      if (at !== index) return one;
      if (field === "name") return { ...one, name: `${one.name}${list === "containers" ? "c" : "i"}${at}` };
      if (field === "ports" || field === "mounts" || field === "files")
        return { ...one, [field]: one[field].filter((_, position) => position !== item) };
      throw new Error(`${conflict.path.join(".")}: ${conflict.message}`);
    });
    clean = { ...clean, [list]: containers };
  }
}

function parsedOne(manifest: string): DeploymentSpec {
  const parsed = parseManifests([{ file: "in.json", text: manifest }], "default");
  if (!parsed.ok) throw new Error(JSON.stringify([parsed.error.places, manifest]));
  const [only] = parsed.value;
  if (only === undefined) throw new Error("nothing was parsed");
  return only;
}

const runs = { numRuns: Number(process.env["SPEC_RUNS"] ?? 100) };

describe("every spec", () => {
  test("comes back from a manifest, a request's body, the wire and its bytes as it was", () => {
    fc.assert(
      fc.property(spec, (one) => {
        expect(parsedOne(JSON.stringify(writtenSpec(one)))).toEqual(one);
        const body: unknown = JSON.parse(JSON.stringify(one));
        expect<unknown>(v.parse(specSchema, body)).toEqual(one);
        expect<unknown>(v.parse(templateSchema, one.template)).toEqual(one.template);
        expect<unknown>(v.parse(templateSchema, decode(encode(one.template)))).toEqual(one.template);
      }),
      runs,
    );
  });

  test("comes back from the shortest manifest that says it", () => {
    fc.assert(
      fc.property(spec, (one) => {
        expect(parsedOne(manifestText(shortManifest(one)))).toEqual(one);
      }),
      { numRuns: Math.ceil(runs.numRuns / 2) },
    );
  });

  test("has no difference to itself, and one to each other", () => {
    fc.assert(
      fc.property(spec, spec, (one, other) => {
        expect(differences(one, one)).toEqual([]);
        const renamed = { ...other, namespace: one.namespace, name: one.name };
        const isSame =
          templateHashOf(one.template) === templateHashOf(renamed.template) &&
          one.replicas === renamed.replicas;
        expect(differences(one, renamed).length > 0).toBe(!isSame);
      }),
      runs,
    );
  });
});

/** A copy with one value, wherever it stands, replaced. */
function replacedAt(value: unknown, at: { left: number }, other: unknown): unknown {
  at.left -= 1;
  if (at.left === 0) return other;
  if (Array.isArray(value)) return value.map((item) => replacedAt(item, at, other));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [key, replacedAt(member, at, other)]),
  );
}

test("what the API takes, peers and manifests take; what it does not, it refuses with a place", () => {
  const strange = fc.oneof(
    fc.constantFrom(
      0,
      -1,
      1.5,
      2 ** 53,
      "",
      "..",
      "/",
      "/../x",
      "ALL",
      "tmpfs",
      "SIGTERM",
      "x".repeat(70_000),
    ),
    fc.constantFrom(true, false, null, [], {}, [[]], ["a"], { kind: "exec", command: [] }, "\0", "\ud800"),
    fc.string({ unit: "binary", maxLength: 20 }),
    fc.integer(),
    name,
  );
  let taken = 0;
  fc.assert(
    fc.property(spec, fc.integer({ min: 1, max: 120 }), strange, (one, left, other) => {
      const body: unknown = replacedAt(JSON.parse(JSON.stringify(one)), { left }, other);
      const parsed = v.safeParse(specSchema, body);
      if (!parsed.success) {
        for (const issue of parsed.issues) expect(issue.message).not.toBe("");
        return;
      }
      taken += 1;
      const received = decode(encode(parsed.output.template));
      expect<unknown>(v.parse(templateSchema, received)).toEqual(parsed.output.template);
      expect(parsedOne(JSON.stringify(writtenSpec(parsed.output)))).toEqual(parsed.output);
    }),
    { numRuns: 4 * runs.numRuns },
  );
  expect(taken).toBeGreaterThan(0);
});

/** The same again, written as somebody else would: every choice is one of `coins`. */
function otherWriting(
  one: DeploymentSpec,
  coins: () => boolean,
): { readonly [key: string]: Written | undefined } {
  const lines = (map: Readonly<Record<string, string>>): Written =>
    coins()
      ? Object.entries(map)
          .map(([key, value]) => `${key}=${value}`)
          .toReversed()
      : map;
  const mixed = <T>(list: readonly T[]): readonly T[] => (coins() ? list.toReversed() : list);
  const span = (ms: number): string => (coins() ? `${ms}ms` : formatSpan(ms));
  const amount = (count: number): string => (coins() ? `${count}` : exactBytes(count));
  const unless = <T>(isDefault: boolean, value: T): T | undefined =>
    isDefault && coins() ? undefined : value;
  const mounted = (what: Mount): Written => {
    const { target } = what;
    if (target.includes(":") || (what.kind === "bind" && what.source.includes(":")) || coins())
      return writtenMount(what);
    if (what.kind === "tmpfs") return `tmpfs:${target}/${what.sizeBytes === 0 ? "" : `:${what.sizeBytes}`}`;
    return `${what.kind === "bind" ? what.source : what.volume}:/.${target}${what.readOnly ? ":ro" : coins() ? ":rw" : ""}`;
  };
  const capability = (known: string): string => (coins() ? `cap_${known.toLowerCase()}` : known);
  const fieldsOf = (given: ContainerTemplate, written: { readonly [key: string]: Written | undefined }) => ({
    ...written,
    pull: unless(given.pull === "missing", given.pull),
    env: lines(given.env),
    resources: {
      cpu: unless(
        given.resources.cpuMillis === 0,
        coins() ? `${given.resources.cpuMillis / 1000}` : formatCpu(given.resources.cpuMillis),
      ),
      memory: amount(given.resources.memoryBytes),
      pids: unless(given.resources.pids === 4096, `${given.resources.pids}`),
      disk: amount(given.resources.ephemeralBytes),
    },
    stopSignal: given.stopSignal?.replace(/^SIG/, "").toLowerCase(),
    capabilities: {
      add: mixed([...given.capabilities.add, ...given.capabilities.add]).map(capability),
      drop: mixed(given.capabilities.drop).map(capability),
    },
    readOnlyRoot: unless(!given.readOnlyRoot, `${given.readOnlyRoot}`),
    mounts: mixed(given.mounts).map(mounted),
    files: mixed(given.files).map(({ path: where, content, mode }) => ({
      path: where,
      content,
      mode: unless(mode === 0o644, `0o${mode.toString(8).padStart(3, "0")}`),
    })),
    logs: { size: amount(given.logs.fileBytes), files: `${given.logs.files}` },
    ...(given.ports.length === 0
      ? {}
      : {
          ports: mixed(given.ports).map((opened): Written =>
            coins()
              ? writtenPort(opened)
              : {
                  container: `${opened.container}`,
                  published: opened.published === undefined ? undefined : `${opened.published}`,
                  protocol: unless(opened.protocol === "tcp", opened.protocol),
                },
          ),
        }),
  });
  const written = writtenSpec(one);
  const asList = (list: Written | undefined) => (Array.isArray(list) ? list : []);
  const [containers, inits] = [asList(written["containers"]), asList(written["initContainers"])].map(
    (list, at) =>
      list.map((item, index) => {
        const given = (at === 0 ? one.template.containers : one.template.initContainers)[index];
        if (given === undefined) throw new Error("a container was not written");
        return fieldsOf(given, item);
      }),
  );
  const replica = {
    ...written,
    replicas: unless(one.replicas === 1, `${one.replicas}`),
    labels: lines(one.template.labels),
    stopTimeout: span(one.template.stopTimeoutMs),
    containers,
    initContainers: unless((inits ?? []).length === 0, inits),
  };
  const [only, second] = containers ?? [];
  if (only === undefined || second !== undefined || (inits ?? []).length > 0 || !coins()) return replica;
  if (one.template.containers[0]?.name !== "main") return replica;
  return { ...only, ...replica, containers: undefined, initContainers: undefined };
}

test("the same meaning in another writing is the same spec, and has the same hash", () => {
  fc.assert(
    fc.property(spec, fc.infiniteStream(fc.boolean()), (one, stream) => {
      const coins = (): boolean => stream.next().value === true;
      const other = parsedOne(JSON.stringify(otherWriting(one, coins)));
      expect(other).toEqual(one);
      expect(templateHashOf(other.template)).toBe(templateHashOf(one.template));
    }),
    runs,
  );
});

test("an amount that is written exactly is read as it was", () => {
  fc.assert(
    fc.property(fc.integer({ min: 2 ** 20, max: Number.MAX_SAFE_INTEGER }), (count) => {
      expect(parseMemory(exactBytes(count))).toEqual({ ok: true, value: count });
    }),
  );
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 999_999_999 }), (count) => {
      expect(parseSpan(formatSpan(count))).toEqual({ ok: true, value: count });
      expect(parseCpu(formatCpu(count))).toEqual({ ok: true, value: count });
    }),
  );
});
