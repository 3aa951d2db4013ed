/** Schemas of what runs, for everything that comes from a peer or from disk. Bounded, like all that enters. */
import * as v from "valibot";
import { countSchema } from "./scalars.ts";

const portNumberSchema = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535));
const argumentSchema = v.pipe(v.string(), v.maxLength(131_072));
const commandSchema = v.pipe(v.array(argumentSchema), v.maxLength(4_096));
const wordSchema = v.pipe(v.string(), v.minLength(1), v.maxLength(1_024));
const pathSchema = v.pipe(v.string(), v.maxLength(4_096), v.startsWith("/"));

function listOf<const Item extends v.GenericSchema>(item: Item) {
  return v.pipe(v.array(item), v.maxLength(256));
}

export const portSchema = v.object({
  container: portNumberSchema,
  published: v.exactOptional(portNumberSchema),
  protocol: v.picklist(["tcp", "udp"]),
});

export const resourcesSchema = v.object({ cpuMillis: countSchema, memoryBytes: countSchema });

const containerResourcesSchema = v.object({
  ...resourcesSchema.entries,
  pids: countSchema,
  ephemeralBytes: countSchema,
});

const execActionSchema = v.object({ kind: v.literal("exec"), command: commandSchema });
const httpActionSchema = v.object({
  kind: v.literal("http"),
  port: portNumberSchema,
  path: v.pipe(v.string(), v.maxLength(4_096)),
  scheme: v.picklist(["http", "https"]),
  headers: v.record(v.string(), v.string()),
});

const probeSchema = v.object({
  action: v.variant("kind", [
    execActionSchema,
    httpActionSchema,
    v.object({ kind: v.literal("tcp"), port: portNumberSchema }),
    v.object({ kind: v.literal("grpc"), port: portNumberSchema, service: v.string() }),
  ]),
  initialDelayMs: countSchema,
  periodMs: countSchema,
  timeoutMs: countSchema,
  successThreshold: countSchema,
  failureThreshold: countSchema,
});

const mountSchema = v.variant("kind", [
  v.object({ kind: v.literal("volume"), volume: wordSchema, target: pathSchema, readOnly: v.boolean() }),
  v.object({ kind: v.literal("bind"), source: pathSchema, target: pathSchema, readOnly: v.boolean() }),
  v.object({ kind: v.literal("tmpfs"), target: pathSchema, sizeBytes: countSchema }),
]);

const fileSchema = v.object({
  path: pathSchema,
  content: v.pipe(v.string(), v.maxLength(1_048_576)),
  mode: countSchema,
});

export const containerSchema = v.object({
  name: wordSchema,
  image: wordSchema,
  pull: v.picklist(["missing", "always", "never"]),
  entrypoint: v.exactOptional(commandSchema),
  command: v.exactOptional(commandSchema),
  env: v.record(v.string(), argumentSchema),
  workingDirectory: v.exactOptional(pathSchema),
  user: v.exactOptional(wordSchema),
  resources: containerResourcesSchema,
  ports: listOf(portSchema),
  probes: v.object({
    startup: v.exactOptional(probeSchema),
    readiness: v.exactOptional(probeSchema),
    liveness: v.exactOptional(probeSchema),
  }),
  preStop: v.exactOptional(v.variant("kind", [execActionSchema, httpActionSchema])),
  stopSignal: v.exactOptional(wordSchema),
  capabilities: v.object({ add: listOf(wordSchema), drop: listOf(wordSchema) }),
  readOnlyRoot: v.boolean(),
  allowNewPrivileges: v.boolean(),
  userNamespace: v.boolean(),
  stdin: v.exactOptional(v.literal(true)),
  terminal: v.exactOptional(v.literal(true)),
  mounts: listOf(mountSchema),
  files: listOf(fileSchema),
  logs: v.object({ fileBytes: countSchema, files: countSchema }),
});

export const templateSchema = v.object({
  labels: v.record(v.string(), v.string()),
  initContainers: v.pipe(v.array(containerSchema), v.maxLength(64)),
  containers: v.pipe(v.array(containerSchema), v.minLength(1), v.maxLength(64)),
  restart: v.picklist(["always", "on-failure", "never"]),
  stopTimeoutMs: countSchema,
  runtime: v.exactOptional(wordSchema),
  hostname: v.exactOptional(wordSchema),
});
