/** The fields of one container as a manifest writes them. */
import * as v from "valibot";
import type { ContainerTemplate, PortSpec } from "../../model/spec.ts";
import { closedObject } from "./check.ts";
import {
  parseCapabilityName,
  parseFlag,
  parsePath,
  parsePids,
  parseStopSignal,
  parseUser,
} from "./container-values.ts";
import { logFilesMax, parseImage, parseLogFiles, parsePort, parsePortNumber } from "./fields.ts";
import { filesSchema, mountsSchema } from "./mount-schema.ts";
import { probesSchema, stopHookSchema } from "./probe-schema.ts";
import { exactBytes, logBytesMin, parseCpu, parseLogBytes, parseMemory } from "./quantity.ts";
import {
  choice,
  field,
  listOf,
  namedTexts,
  parsedText,
  shortOrLong,
  textOf,
  variableNames,
} from "./text-schemas.ts";

const programSchema = listOf('a list of texts such as [sleep, "60"]', textOf("text"));
const flagSchema = parsedText("true or false", parseFlag);
const portNumber = parsedText("a port number", parsePortNumber);

const portSchema = shortOrLong(
  parsedText("a port", parsePort),
  v.pipe(
    closedObject({
      container: field(portNumber, {
        type: "port number",
        meaning: "The port that the program listens on.",
        example: "80",
      }),
      published: v.optional(
        field(portNumber, {
          type: "port number",
          meaning: "The port of each node that runs a replica, by which it is reached from outside.",
          example: "8080",
          absent: "not published",
        }),
      ),
      protocol: v.optional(
        field(choice(["tcp", "udp"]), {
          type: "tcp or udp",
          meaning: "How it is spoken to.",
          example: "udp",
        }),
        "tcp",
      ),
    }),
    v.transform(({ container, published, protocol }): PortSpec =>
      published === undefined ? { container, protocol } : { container, published, protocol },
    ),
  ),
);

const resourcesSchema = v.pipe(
  closedObject({
    cpu: v.optional(
      field(parsedText("an amount of CPU such as 500m", parseCpu), {
        type: "amount of CPU",
        meaning: "Cores to reserve, and the limit. 0 reserves nothing and sets no limit.",
        example: "500m",
      }),
      "0",
    ),
    memory: v.optional(
      field(parsedText("an amount of memory such as 64Mi", parseMemory), {
        type: "amount of memory",
        meaning: "Bytes to reserve, and the limit. 0 reserves nothing and sets no limit; else at least 1Mi.",
        example: "64Mi",
      }),
      "0",
    ),
    pids: v.optional(
      field(parsedText("a whole number", parsePids), {
        type: "whole number",
        meaning: "Most processes and threads at a time.",
        example: "100",
      }),
      "4096",
    ),
    disk: v.optional(
      field(parsedText("an amount of bytes such as 1Gi", parseMemory), {
        type: "amount of bytes",
        meaning:
          "Most bytes in the container's own layer and its logs together (Kubernetes: ephemeral-storage). 0 sets no limit; else at least 1Mi.",
        example: "1Gi",
      }),
      "0",
    ),
  }),
  v.transform(({ cpu, memory, pids, disk }) => ({
    cpuMillis: cpu,
    memoryBytes: memory,
    pids,
    ephemeralBytes: disk,
  })),
);

const capabilityList = listOf("a list of capabilities", parsedText("a capability", parseCapabilityName));
const capabilitiesSchema = v.pipe(
  closedObject({
    add: v.optional(
      field(capabilityList, {
        type: "list of capabilities",
        meaning: "Given in addition, with or without `CAP_`; `ALL` means all.",
        example: "[NET_ADMIN]",
      }),
      [],
    ),
    drop: v.optional(
      field(capabilityList, {
        type: "list of capabilities",
        meaning: "Taken away, before any is added; `ALL` means all.",
        example: "[ALL]",
      }),
      [],
    ),
  }),
  v.transform(({ add, drop }) => ({ add, drop })),
);

const logsSchema = v.pipe(
  closedObject({
    size: v.optional(
      field(parsedText("an amount of bytes such as 10Mi", parseLogBytes), {
        type: "amount of bytes",
        meaning: `How large a file may grow before the next one is begun; at least ${exactBytes(logBytesMin)}.`,
        example: "1Mi",
      }),
      "10Mi",
    ),
    files: v.optional(
      field(parsedText("a whole number", parseLogFiles), {
        type: "whole number",
        meaning: `How many files are kept, the one written to included; ${logFilesMax} at most.`,
        example: "5",
      }),
      "3",
    ),
  }),
  v.transform(({ size, files }) => ({ fileBytes: size, files })),
);

/** What init containers have, too. */
export const initEntries = {
  image: field(parsedText("an image reference", parseImage), {
    type: "image reference",
    meaning:
      "`[host[:port]/]path[:tag][@digest]`. Kept as it is written: another writing is another spec. `none` with the runtime `process`.",
    example: "registry.example.com/team/web:1.2",
  }),
  pull: v.optional(
    field(choice(["missing", "always", "never"]), {
      type: "missing, always or never",
      meaning: "When the registry is asked: when the node has no such image, at each start, or never.",
      example: "always",
    }),
    "missing",
  ),
  entrypoint: v.optional(
    field(programSchema, {
      type: "list of texts",
      meaning: "Replaces the image's entrypoint, and drops the image's command.",
      example: "[/bin/web]",
      absent: "the image's",
    }),
  ),
  command: v.optional(
    field(programSchema, {
      type: "list of texts",
      meaning: "Replaces the image's command: the arguments of the entrypoint.",
      example: '[--port, "80"]',
      absent: "the image's",
    }),
  ),
  env: v.optional(
    field(namedTexts(variableNames), {
      type: "map, or list of NAME=value",
      meaning: "Variables added to the image's environment. An empty value is the empty text.",
      example: "{GREETING: hello}",
    }),
    {},
  ),
  workingDir: v.optional(
    field(parsedText("an absolute path", parsePath), {
      type: "absolute path",
      meaning: "Where the program starts.",
      example: "/srv",
      absent: "the image's",
    }),
  ),
  user: v.optional(
    field(parsedText("a user", parseUser), {
      type: "USER[:GROUP]",
      meaning: "Names of the image, or numbers.",
      example: "1000:1000",
      absent: "the image's",
    }),
  ),
  resources: v.optional(
    field(resourcesSchema, {
      type: "map",
      meaning:
        "What the container may use. CPU and memory are reserved on the node, so that no node promises more than it has.",
      example: "{cpu: 500m, memory: 64Mi}",
    }),
    {},
  ),
  capabilities: v.optional(
    field(capabilitiesSchema, {
      type: "map",
      meaning: "Privileges of root, one by one, as a difference to those that Docker gives.",
      example: "{drop: [ALL], add: [NET_BIND_SERVICE]}",
    }),
    {},
  ),
  readOnlyRoot: v.optional(
    field(flagSchema, {
      type: "true or false",
      meaning: "The container cannot write to its image; mounts stay writable.",
      example: "true",
    }),
    "false",
  ),
  allowNewPrivileges: v.optional(
    field(flagSchema, {
      type: "true or false",
      meaning: "Processes may gain privileges by set-user-id programs such as sudo.",
      example: "true",
    }),
    "false",
  ),
  userNamespace: v.optional(
    field(flagSchema, {
      type: "true or false",
      meaning: "Root inside is an unprivileged user of the machine.",
      example: "true",
    }),
    "false",
  ),
  mounts: v.optional(
    field(mountsSchema, {
      type: "list of SOURCE:TARGET[:ro], or of maps",
      meaning:
        "What is put into the file tree. A source is the name of a volume, an absolute path of the machine, or `tmpfs` for memory (`tmpfs:TARGET[:SIZE]`).",
      example: "[data:/var/lib/data, /srv/www:/www:ro, tmpfs:/run:16Mi]",
    }),
    [],
  ),
  files: v.optional(
    field(filesSchema, {
      type: "list of maps",
      meaning: "Files with a literal content, written before the container starts; read-only inside.",
      example: "[{path: /etc/app.conf, content: listen 8080}]",
    }),
    [],
  ),
  logs: v.optional(
    field(logsSchema, {
      type: "map",
      meaning: "How much of its output is kept.",
      example: "{size: 1Mi, files: 5}",
    }),
    {},
  ),
};

export const containerEntries = {
  ...initEntries,
  ports: v.optional(
    field(listOf("a list of ports", portSchema), {
      type: "list of [PUBLISHED:]CONTAINER[/PROTOCOL], or of maps",
      meaning:
        "What the program listens on. A published port is taken on every node that runs a replica, so two replicas that publish one cannot share a node.",
      example: "[8080:80, 53/udp]",
    }),
    [],
  ),
  probes: v.optional(
    field(probesSchema, {
      type: "map",
      meaning: "How the container is asked whether it is well.",
      example: "{readiness: {http: 8080/ready}}",
    }),
    {},
  ),
  preStop: v.optional(
    field(stopHookSchema, {
      type: "map",
      meaning: "Done before the stop signal; its time counts towards the stop timeout.",
      example: "{exec: [nginx, -s, quit]}",
      absent: "nothing",
    }),
  ),
  stdin: v.optional(
    field(flagSchema, {
      type: "true or false",
      meaning: "Its standard input stays open for `muster attach`; otherwise it has none.",
      example: "true",
    }),
    "false",
  ),
  tty: v.optional(
    field(flagSchema, {
      type: "true or false",
      meaning: "It has a terminal of its own; all it writes is then standard output.",
      example: "true",
    }),
    "false",
  ),
  stopSignal: v.optional(
    field(parsedText("a signal", parseStopSignal), {
      type: "signal",
      meaning: "What asks the program to end: a name with or without `SIG`, or a number.",
      example: "SIGQUIT",
      absent: "the image's, or SIGTERM",
    }),
  ),
};

type Fields<Entries extends v.ObjectEntries> = v.InferOutput<v.ObjectSchema<Entries, undefined>>;

/** Checked, with defaults; an init container has fewer of them. */
export type ContainerFields = Fields<typeof initEntries> & Partial<Fields<typeof containerEntries>>;

export function containerOf(name: string, fields: ContainerFields): ContainerTemplate {
  const { entrypoint, command, user, preStop, stopSignal } = fields;
  return {
    name,
    image: fields.image,
    pull: fields.pull,
    ...(entrypoint === undefined ? {} : { entrypoint }),
    ...(command === undefined ? {} : { command }),
    env: fields.env,
    ...(fields.workingDir === undefined ? {} : { workingDirectory: fields.workingDir }),
    ...(user === undefined ? {} : { user }),
    resources: fields.resources,
    ports: fields.ports ?? [],
    probes: fields.probes ?? {},
    ...(preStop === undefined ? {} : { preStop }),
    ...(stopSignal === undefined ? {} : { stopSignal }),
    capabilities: fields.capabilities,
    readOnlyRoot: fields.readOnlyRoot,
    allowNewPrivileges: fields.allowNewPrivileges,
    userNamespace: fields.userNamespace,
    ...(fields.stdin === true ? { stdin: true } : {}),
    ...(fields.tty === true ? { terminal: true } : {}),
    mounts: fields.mounts,
    files: fields.files,
    logs: fields.logs,
  };
}
