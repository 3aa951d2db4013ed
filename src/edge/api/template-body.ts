/**
 * What runs, as a request's body carries it: resolved, every field present that means nothing by its absence. Each
 * value is as the manifest's parsers leave it, so what they refuse is refused here, too.
 */
import * as v from "valibot";
import type { Outcome } from "../../model/outcome.ts";
import type { ContainerTemplate, PortSpec, ReplicaTemplate } from "../../model/spec.ts";
import { canonicalTemplate } from "../manifest/canonical.ts";
import { closedObject, describe } from "../manifest/check.ts";
import { conflictsOf } from "../manifest/conflicts.ts";
import {
  contentLengthMax,
  parseCapabilityName,
  parseHostname,
  parsePath,
  parseRuntime,
  parseStopSignal,
  parseTarget,
  parseUser,
  parseVolumeName,
  pidsMax,
} from "../manifest/container-values.ts";
import {
  containersMax,
  envNamePattern,
  headerNamePattern,
  httpPathPattern,
  imageLengthMax,
  imagePattern,
  labelPattern,
  listLengthMax,
  logFilesMax,
  namePattern,
  spanMsMax,
  stopTimeoutMsMax,
} from "../manifest/fields.ts";
import { logBytesMin, memoryBytesMin, sizeBytesMin } from "../manifest/quantity.ts";
import { issuePath, plainText } from "../manifest/text-schemas.ts";
import { flag, found, text, texts, whole } from "./body-values.ts";

/** Text that `parse` leaves as it is. */
function parsed(parse: (text: string) => Outcome<string, string>) {
  return v.pipe(
    text,
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const outcome = parse(dataset.value);
      if (!outcome.ok) addIssue({ message: `${describe(dataset.value)} ${outcome.error}` });
      else if (outcome.value !== dataset.value)
        addIssue({ message: `${describe(dataset.value)} is to be written as ${describe(outcome.value)}` });
    }),
  );
}

const name = v.pipe(v.string(found("a name")), v.regex(namePattern, found("a DNS label")));
const portNumber = whole(1, 65_535);

/** Bytes; 0 for no limit. */
function bytes(min: number) {
  return v.pipe(
    whole(0, Number.MAX_SAFE_INTEGER),
    v.check((value) => value === 0 || value >= min, `expected 0 or at least ${min}`),
  );
}

function listOf<const Item extends v.GenericSchema>(what: string, item: Item, max = listLengthMax) {
  return v.pipe(v.array(item, found(`a list of ${what}`)), v.maxLength(max, `more than ${max} items`));
}

function mapOf(what: string, pattern: RegExp) {
  return v.record(
    v.pipe(v.string(), v.regex(pattern, found(`the name of a ${what}`))),
    text,
    found("a map of texts"),
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

const execSchema = closedObject({
  kind: v.literal("exec"),
  command: v.pipe(texts, v.minLength(1, "expected a command")),
});
const httpSchema = closedObject({
  kind: v.literal("http"),
  port: portNumber,
  path: v.pipe(text, v.regex(httpPathPattern, found("a path such as /healthz"))),
  scheme: v.picklist(["http", "https"], found("http or https")),
  headers: v.pipe(
    mapOf("header", headerNamePattern),
    v.check(
      (headers) => Object.values(headers).every((value) => !/[\r\n]/.test(value)),
      "a header's value must be one line",
    ),
  ),
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
  initialDelayMs: whole(0, spanMsMax),
  periodMs: whole(1, spanMsMax),
  timeoutMs: whole(1, spanMsMax),
  successThreshold: whole(1, 1_000),
  failureThreshold: whole(1, 1_000),
});

const target = parsed(parseTarget);
const mountSchema = v.union(
  [
    closedObject({ kind: v.literal("volume"), volume: parsed(parseVolumeName), target, readOnly: flag }),
    closedObject({ kind: v.literal("bind"), source: parsed(parsePath), target, readOnly: flag }),
    closedObject({ kind: v.literal("tmpfs"), target, sizeBytes: bytes(sizeBytesMin) }),
  ],
  found("a mount of kind volume, bind or tmpfs"),
);
const contentSchema = v.pipe(
  v.string(found("text")),
  v.maxLength(contentLengthMax, `longer than ${contentLengthMax} characters`),
  plainText(),
);

const capabilityList = listOf("capabilities", parsed(parseCapabilityName));

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
    env: mapOf("variable", envNamePattern),
    workingDirectory: v.exactOptional(parsed(parsePath)),
    user: v.exactOptional(parsed(parseUser)),
    resources: closedObject({
      cpuMillis: whole(0, Number.MAX_SAFE_INTEGER),
      memoryBytes: bytes(memoryBytesMin),
      pids: whole(1, pidsMax),
      ephemeralBytes: bytes(memoryBytesMin),
    }),
    ports: listOf("ports", portSchema),
    probes: closedObject({
      startup: v.exactOptional(probeSchema),
      readiness: v.exactOptional(probeSchema),
      liveness: v.exactOptional(probeSchema),
    }),
    preStop: v.exactOptional(v.union([execSchema, httpSchema], found("an action of kind exec or http"))),
    stopSignal: v.exactOptional(parsed(parseStopSignal)),
    capabilities: closedObject({ add: capabilityList, drop: capabilityList }),
    readOnlyRoot: flag,
    allowNewPrivileges: flag,
    userNamespace: flag,
    stdin: v.exactOptional(v.literal(true, found("true"))),
    terminal: v.exactOptional(v.literal(true, found("true"))),
    mounts: listOf("mounts", mountSchema),
    files: listOf("files", closedObject({ path: target, content: contentSchema, mode: whole(0, 0o7777) })),
    logs: closedObject({
      fileBytes: whole(logBytesMin, Number.MAX_SAFE_INTEGER),
      files: whole(1, logFilesMax),
    }),
  }),
  v.transform((container): ContainerTemplate => container),
);

const containers = listOf("containers", containerSchema, containersMax);

export const templateSchema = v.pipe(
  closedObject({
    labels: mapOf("label", labelPattern),
    initContainers: containers,
    containers: v.pipe(containers, v.minLength(1, "expected a container")),
    restart: v.picklist(["always", "on-failure", "never"], found("always, on-failure or never")),
    stopTimeoutMs: whole(0, stopTimeoutMsMax),
    runtime: v.exactOptional(parsed(parseRuntime)),
    hostname: v.exactOptional(parsed(parseHostname)),
  }),
  v.transform((template): ReplicaTemplate => template),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    for (const { path, message } of conflictsOf(dataset.value, (list, index) => [list, index])) {
      const items = issuePath(dataset.value, path);
      addIssue({ message, ...(items === undefined ? {} : { path: items }) });
    }
  }),
  v.transform(canonicalTemplate),
);
