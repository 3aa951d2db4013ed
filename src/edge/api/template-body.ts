/** What runs, as a request's body carries it: resolved, every field present that means nothing by its absence. */
import * as v from "valibot";
import type { ContainerTemplate, PortSpec, ReplicaTemplate } from "../../model/spec.ts";
import { portsOf } from "../../model/template.ts";
import { closedObject } from "../manifest/check.ts";
import {
  envNamePattern,
  imageLengthMax,
  imagePattern,
  listLengthMax,
  namePattern,
  publishedTwice,
  sortedEnv,
  stopTimeoutMsMax,
} from "../manifest/fields.ts";
import { memoryBytesMin } from "../manifest/quantity.ts";
import { flag, found, text, texts, whole } from "./body-values.ts";

const name = v.pipe(v.string(found("a name")), v.regex(namePattern, found("a DNS label")));
const path = v.pipe(text, v.startsWith("/", found("an absolute path")));
const count = whole(0, Number.MAX_SAFE_INTEGER);
const portNumber = whole(1, 65_535);

function listOf<const Item extends v.GenericSchema>(what: string, item: Item) {
  return v.pipe(
    v.array(item, found(`a list of ${what}`)),
    v.maxLength(listLengthMax, `more than ${listLengthMax} items`),
  );
}

const portSchema = v.pipe(
  closedObject({
    container: portNumber,
    published: v.exactOptional(portNumber),
    protocol: v.picklist(["tcp", "udp"], found("tcp or udp")),
  }),
  // Without the index signature that a closed object's type carries.
  v.transform(({ container, published, protocol }): PortSpec =>
    published === undefined ? { container, protocol } : { container, published, protocol },
  ),
);

const labelsSchema = v.record(v.string(), text, found("a map of texts"));
const execSchema = closedObject({ kind: v.literal("exec"), command: texts });
const httpSchema = closedObject({
  kind: v.literal("http"),
  port: portNumber,
  path: text,
  scheme: v.picklist(["http", "https"], found("http or https")),
  headers: labelsSchema,
});
const actionSchema = v.union(
  [
    execSchema,
    httpSchema,
    closedObject({ kind: v.literal("tcp"), port: portNumber }),
    closedObject({ kind: v.literal("grpc"), port: portNumber, service: text }),
  ],
  found("an action of kind exec, http, tcp or grpc"),
);
const probeSchema = closedObject({
  action: actionSchema,
  initialDelayMs: count,
  periodMs: whole(1, Number.MAX_SAFE_INTEGER),
  timeoutMs: whole(1, Number.MAX_SAFE_INTEGER),
  successThreshold: whole(1, 1_000),
  failureThreshold: whole(1, 1_000),
});
const mountSchema = v.union(
  [
    closedObject({ kind: v.literal("volume"), volume: name, target: path, readOnly: flag }),
    closedObject({ kind: v.literal("bind"), source: path, target: path, readOnly: flag }),
    closedObject({ kind: v.literal("tmpfs"), target: path, sizeBytes: count }),
  ],
  found("a mount of kind volume, bind or tmpfs"),
);

const containerSchema = v.pipe(
  closedObject({
    name,
    image: v.pipe(
      v.string(found("an image reference")),
      v.maxLength(imageLengthMax, `longer than ${imageLengthMax} characters`),
      v.regex(imagePattern, found("an image reference")),
    ),
    pull: v.picklist(["missing", "always", "never"], found("missing, always or never")),
    entrypoint: v.exactOptional(texts),
    command: v.exactOptional(texts),
    env: v.pipe(
      v.record(
        v.pipe(v.string(), v.regex(envNamePattern, found("the name of a variable"))),
        text,
        found("a map of texts"),
      ),
      v.transform((env) => sortedEnv(new Map(Object.entries(env)))),
    ),
    workingDirectory: v.exactOptional(path),
    user: v.exactOptional(text),
    resources: closedObject({
      cpuMillis: count,
      memoryBytes: v.pipe(
        count,
        v.check(
          (bytes) => bytes === 0 || bytes >= memoryBytesMin,
          `expected 0 or at least ${memoryBytesMin}`,
        ),
      ),
      pids: whole(1, 4_194_304),
      ephemeralBytes: count,
    }),
    ports: listOf("ports", portSchema),
    probes: closedObject({
      startup: v.exactOptional(probeSchema),
      readiness: v.exactOptional(probeSchema),
      liveness: v.exactOptional(probeSchema),
    }),
    preStop: v.exactOptional(v.union([execSchema, httpSchema], found("an action of kind exec or http"))),
    stopSignal: v.exactOptional(text),
    capabilities: closedObject({ add: texts, drop: texts }),
    readOnlyRoot: flag,
    allowNewPrivileges: flag,
    userNamespace: flag,
    mounts: listOf("mounts", mountSchema),
    files: listOf("files", closedObject({ path, content: text, mode: whole(0, 0o7777) })),
    logs: closedObject({ fileBytes: count, files: whole(1, 100) }),
  }),
  v.transform((container): ContainerTemplate => container),
);

export const templateSchema = v.pipe(
  closedObject({
    labels: labelsSchema,
    initContainers: listOf("containers", containerSchema),
    containers: v.pipe(listOf("containers", containerSchema), v.minLength(1, "expected a container")),
    restart: v.picklist(["always", "on-failure", "never"], found("always, on-failure or never")),
    stopTimeoutMs: whole(0, stopTimeoutMsMax),
    runtime: v.exactOptional(name),
    hostname: v.exactOptional(name),
  }),
  v.transform((template): ReplicaTemplate => template),
  v.check(
    (template) => publishedTwice(portsOf(template)).length === 0,
    "two of its ports are published as the same",
  ),
);
