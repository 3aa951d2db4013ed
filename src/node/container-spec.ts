/** What a promise's terms and an image make together: the container to run. Pure. */
import { containerLabels, endpointIdOf } from "../core/keeper/container-ids.ts";
import type { ContainerRun } from "../core/keeper/messages.ts";
import type { PromiseTerms } from "../model/promise.ts";
import type { ContainerTemplate } from "../model/spec.ts";
import type { ContainerMount, ContainerSpec } from "../ports/container-runtime.ts";
import type { Image } from "../ports/image-store.ts";

export interface ContainerPlace {
  readonly run: ContainerRun;
  readonly networkNamespace?: string;
  /** Of the replica, as its own host name resolves. */
  readonly addresses: readonly string[];
  /** Directories of the machine by the names of volumes. */
  readonly volumes: ReadonlyMap<string, string>;
}

const hostNameMax = 63;

export function containerSpecOf(terms: PromiseTerms, image: Image, place: ContainerPlace): ContainerSpec {
  const { id, attempt, template } = place.run;
  const { resources } = template;
  const { runtime, containers, initContainers } = terms.template;
  const hostname = hostnameOf(terms);
  const isAlone = containers.length + initContainers.length === 1;
  return {
    id,
    labels: containerLabels(terms, template.name, attempt),
    layers: image.layers,
    args: argumentsOf(template, image),
    env: environmentOf(template, image, hostname),
    workingDirectory: template.workingDirectory ?? (image.config.workingDirectory || "/"),
    user: template.user ?? image.config.user,
    hostname,
    addresses: place.addresses,
    ...(place.networkNamespace === undefined ? {} : { networkNamespace: place.networkNamespace }),
    ...(isAlone ? {} : { sandbox: endpointIdOf(terms) }),
    cpuMillis: resources.cpuMillis,
    memoryBytes: resources.memoryBytes,
    pids: resources.pids,
    ephemeralBytes: resources.ephemeralBytes,
    capabilities: template.capabilities,
    readOnlyRoot: template.readOnlyRoot,
    allowNewPrivileges: template.allowNewPrivileges,
    userNamespace: template.userNamespace,
    mounts: template.mounts.map((mount): ContainerMount => {
      if (mount.kind !== "volume") return mount;
      const { volume, target, readOnly } = mount;
      return { kind: "bind", source: place.volumes.get(volume) ?? "", target, readOnly };
    }),
    files: template.files,
    logs: template.logs,
    ...(template.stdin === true ? { stdin: true } : {}),
    ...(template.terminal === true ? { terminal: true } : {}),
    ...(runtime === undefined ? {} : { runtime }),
  };
}

/** Of the replica: all its containers share it. */
function hostnameOf({ name, replica, template }: PromiseTerms): string {
  return template.hostname ?? `${name}-${replica}`.slice(-hostNameMax).replace(/^-+/, "");
}

/** As Docker does: another entrypoint drops the image's command, another command keeps its entrypoint. */
function argumentsOf(given: ContainerTemplate, { config }: Image): readonly string[] {
  const entrypoint = given.entrypoint ?? config.entrypoint;
  const command = given.command ?? (given.entrypoint === undefined ? config.command : []);
  return [...entrypoint, ...command];
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

function environmentOf(given: ContainerTemplate, { config }: Image, hostname: string): readonly string[] {
  const lines = new Map<string, string>();
  for (const line of [defaultPath, `HOSTNAME=${hostname}`, ...config.env]) lines.set(nameOf(line), line);
  for (const [key, value] of Object.entries(given.env)) lines.set(key, `${key}=${value}`);
  return [...lines.values()];
}

function nameOf(line: string): string {
  const end = line.indexOf("=");
  return end === -1 ? line : line.slice(0, end);
}
