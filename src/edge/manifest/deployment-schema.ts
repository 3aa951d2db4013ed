/**
 * Muster's own manifest format. Scalars arrive as the text the user wrote (see source.ts), so each
 * field says what its text has to be. What `muster explain` and the reference say is in here, too.
 */
import * as v from "valibot";
import type { ContainerTemplate, DeploymentSpec, ReplicaTemplate } from "../../model/spec.ts";
import { mainContainerName, stopTimeoutMsDefault } from "../../model/template.ts";
import { canonicalTemplate } from "./canonical.ts";
import { closedObject } from "./check.ts";
import { conflictsOf, type Conflict } from "./conflicts.ts";
import { containerEntries, containerOf, initEntries } from "./container-schema.ts";
import { parseHostname, parseRuntime } from "./container-values.ts";
import { containersMax, labelPattern, parseName, parseReplicas, stopTimeoutMsMax } from "./fields.ts";
import { formatSpan, parseSpan } from "./quantity.ts";
import { choice, expected, field, issuePath, namedTexts, parsedText } from "./text-schemas.ts";

const stopTimeoutSchema = v.pipe(
  parsedText("a span of time such as 10s", parseSpan),
  v.maxValue(stopTimeoutMsMax, "longer than an hour"),
);

export const replicaEntries = {
  name: field(parsedText("a name", parseName), {
    type: "name",
    meaning:
      "A DNS label: lower-case letters, digits and hyphens, 63 characters at most. Unique within its namespace.",
    example: "web",
  }),
  namespace: v.optional(
    field(parsedText("a namespace", parseName), {
      type: "name",
      meaning: "A DNS label.",
      example: "shop",
      absent: "that of `-n`, or `default`",
    }),
  ),
  replicas: v.optional(
    field(parsedText("a whole number", parseReplicas), {
      type: "whole number",
      meaning: "How many run, 0 to 10,000.",
      example: "3",
    }),
    "1",
  ),
  labels: v.optional(
    field(namedTexts({ what: "label", pattern: labelPattern }), {
      type: "map, or list of NAME=value",
      meaning:
        "What users note of the deployment. They are a part of what runs: another label is another spec.",
      example: "{team: shop}",
    }),
    {},
  ),
  restart: v.optional(
    field(choice(["always", "on-failure", "never"]), {
      type: "always, on-failure or never",
      meaning:
        "When a container that ended is started again: `on-failure` after an exit code other than 0. The first time at once, then with growing pauses.",
      example: "on-failure",
    }),
    "always",
  ),
  stopTimeout: v.optional(
    field(stopTimeoutSchema, {
      type: "span of time",
      meaning: "Time between the stop signal and the kill, an hour at most. A bare number is seconds.",
      example: "30s",
    }),
    formatSpan(stopTimeoutMsDefault),
  ),
  runtime: v.optional(
    field(parsedText("a runtime", parseRuntime), {
      type: "name, or absolute path",
      meaning:
        "What runs the containers: a runtime of the node such as `runc`, the path of one, or `process` for programs of the machine itself.",
      example: "crun",
      absent: "the node's",
    }),
  ),
  hostname: v.optional(
    field(parsedText("a host name", parseHostname), {
      type: "host name",
      meaning: "What the machine is called inside, the same in every container and replica.",
      example: "web.example.com",
      absent: "NAME-REPLICA",
    }),
  ),
};

function containersOf<const Entries extends v.ObjectEntries>(entries: Entries) {
  return v.pipe(
    v.array(closedObject(entries), expected("a list of containers")),
    v.maxLength(containersMax, `more than ${containersMax} items`),
  );
}

/** Known fields that cannot be here, and why. */
function refusedEntries(keys: readonly string[], why: (key: string) => string) {
  return Object.fromEntries(
    keys.map((key) => [key, v.optional(v.custom<never>(() => false, why(key)))] as const),
  );
}

const containerName = parsedText("a name", parseName);
const nameWords = { type: "name", meaning: "Unique among the containers of a replica.", example: "web" };
const named = {
  name: v.optional(field(containerName, { ...nameWords, absent: "`main` for a container that is alone" })),
};

/** What only a container that goes on running can have, told as such. */
const notOfInit = refusedEntries(
  Object.keys(containerEntries).filter((key) => !(key in initEntries)),
  (key) => `an init container has no ${key}`,
);

export const longEntries = {
  containers: field(
    v.pipe(
      containersOf({ ...named, ...containerEntries }),
      v.minLength(1, "expected at least one container"),
    ),
    {
      type: "list of containers",
      meaning:
        "What a replica runs, side by side on one node: they share network, host name and IPC. Started in this order, stopped in the reverse. With one container, its fields may stand at the top instead.",
      example: "[{name: web, image: nginx}, {name: log, image: tail}]",
    },
  ),
  initContainers: v.optional(
    field(
      containersOf({
        name: field(containerName, { ...nameWords, example: "init" }),
        ...initEntries,
        ...notOfInit,
      }),
      {
        type: "list of containers",
        meaning:
          "Run one after another, each to a successful end, before any of `containers` starts. They have no ports, probes, hook and stop signal.",
        example: "[{name: init, image: busybox, command: [sleep, 1]}]",
      },
    ),
    [],
  ),
};

type At = (list: "containers" | "initContainers", index: number) => Conflict["path"];

function templateOf(
  fields: Pick<
    v.InferOutput<v.ObjectSchema<typeof replicaEntries, undefined>>,
    "labels" | "restart" | "stopTimeout" | "runtime" | "hostname"
  >,
  containers: readonly ContainerTemplate[],
  initContainers: readonly ContainerTemplate[],
): ReplicaTemplate {
  return {
    labels: fields.labels,
    initContainers,
    containers,
    restart: fields.restart,
    stopTimeoutMs: fields.stopTimeout,
    ...(fields.runtime === undefined ? {} : { runtime: fields.runtime }),
    ...(fields.hostname === undefined ? {} : { hostname: fields.hostname }),
  };
}

type AddIssue = (info: {
  readonly message: string;
  readonly path?: [v.IssuePathItem, ...v.IssuePathItem[]];
}) => void;

/** Names each conflict at its place in the document. */
function addConflicts(spec: { readonly template: ReplicaTemplate }, at: At, addIssue: AddIssue): void {
  for (const { path, message } of conflictsOf(spec.template, at)) {
    const items = issuePath(spec, path);
    addIssue({ message, ...(items === undefined ? {} : { path: items }) });
  }
}

const shortSchema = v.pipe(
  closedObject({ ...replicaEntries, ...containerEntries }),
  v.transform((fields) => ({
    namespace: fields.namespace,
    name: fields.name,
    replicas: fields.replicas,
    template: templateOf(fields, [containerOf(mainContainerName, fields)], []),
  })),
  v.rawCheck(({ dataset, addIssue }) => {
    if (dataset.typed) addConflicts(dataset.value, () => [], addIssue);
  }),
);

/** Fields that belong into one of the containers once these are listed. */
const misplaced = refusedEntries(
  Object.keys(containerEntries),
  () => "cannot stand beside containers: move it into the container that it is for",
);

const longSchema = v.pipe(
  closedObject({ ...replicaEntries, ...longEntries, ...misplaced }),
  v.rawTransform(({ dataset, addIssue }) => {
    const fields = dataset.value;
    const containers = fields.containers.map((container, index) => {
      const isAlone = fields.containers.length === 1;
      if (container.name === undefined && !isAlone) {
        const path = issuePath(fields, ["containers", index, "name"]);
        const message = "name is missing: a container that is not alone needs one";
        addIssue({ message, ...(path === undefined ? {} : { path }) });
      }
      return containerOf(container.name ?? mainContainerName, container);
    });
    const inits = fields.initContainers.map((container) => containerOf(container.name, container));
    return {
      namespace: fields.namespace,
      name: fields.name,
      replicas: fields.replicas,
      template: templateOf(fields, containers, inits),
    };
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (dataset.typed) addConflicts(dataset.value, (list, index) => [list, index], addIssue);
  }),
);

function isLong(input: unknown): boolean {
  return typeof input === "object" && input !== null && ("containers" in input || "initContainers" in input);
}

/** `namespace` is that of a deployment that names none. */
export const deploymentSchema = (namespace: string) =>
  v.pipe(
    v.lazy((input: unknown) => (isLong(input) ? longSchema : shortSchema)),
    v.transform((spec): DeploymentSpec => ({
      namespace: spec.namespace ?? namespace,
      name: spec.name,
      replicas: spec.replicas,
      template: canonicalTemplate(spec.template),
    })),
  );
