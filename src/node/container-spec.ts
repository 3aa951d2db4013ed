/** What a promise's terms and its image make together: the container to run. Pure. */
import { containerLabels } from "../core/keeper/container-ids.ts";
import type { PromiseTerms } from "../model/promise.ts";
import type { ContainerSpec } from "../ports/container-runtime.ts";
import type { Image } from "../ports/image-store.ts";
import { mainContainer } from "../model/template.ts";

export interface ContainerPlace {
  readonly containerId: string;
  readonly attempt: number;
  readonly networkNamespace?: string;
  /** Of the replica, as its own host name resolves. */
  readonly addresses: readonly string[];
}

const hostNameMax = 63;

export function containerSpecOf(terms: PromiseTerms, image: Image, place: ContainerPlace): ContainerSpec {
  const container = mainContainer(terms.template);
  return {
    id: place.containerId,
    labels: containerLabels(terms, place.attempt),
    layers: image.layers,
    args: argumentsOf(terms, image),
    env: environmentOf(terms, image),
    workingDirectory: image.config.workingDirectory === "" ? "/" : image.config.workingDirectory,
    user: image.config.user,
    hostname: `${terms.name}-${terms.replica}`.slice(-hostNameMax).replace(/^-+/, ""),
    addresses: place.addresses,
    ...(place.networkNamespace === undefined ? {} : { networkNamespace: place.networkNamespace }),
    cpuMillis: container.resources.cpuMillis,
    memoryBytes: container.resources.memoryBytes,
    ...(terms.template.runtime === undefined ? {} : { runtime: terms.template.runtime }),
  };
}

/** As Docker does: another entrypoint drops the image's command, another command keeps its entrypoint. */
function argumentsOf({ template }: PromiseTerms, { config }: Image): readonly string[] {
  const given = mainContainer(template);
  const entrypoint = given.entrypoint ?? config.entrypoint;
  const command = given.command ?? (given.entrypoint === undefined ? config.command : []);
  return [...entrypoint, ...command];
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

function environmentOf({ template, name, replica }: PromiseTerms, { config }: Image): readonly string[] {
  const lines = new Map<string, string>();
  for (const line of [defaultPath, `HOSTNAME=${name}-${replica}`, ...config.env])
    lines.set(nameOf(line), line);
  for (const [key, value] of Object.entries(mainContainer(template).env)) lines.set(key, `${key}=${value}`);
  return [...lines.values()];
}

function nameOf(line: string): string {
  const end = line.indexOf("=");
  return end === -1 ? line : line.slice(0, end);
}
