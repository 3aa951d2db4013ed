/** What this node promised to the network, on disk: written before the kernel hears of an endpoint, removed after all of it is gone. */
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PortSpec } from "../../../model/spec.ts";
import type { Endpoint } from "../../../ports/fabric.ts";
import { isIpv6 } from "./addresses.ts";

export interface EndpointRecord extends Endpoint {
  readonly ports: readonly PortSpec[];
  /** Words for people, as EndpointSpec has them. */
  readonly owner: string;
}

const suffix = ".json";

export class EndpointRecords {
  readonly #directory: string;
  readonly #records = new Map<string, EndpointRecord>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Reads what an earlier agent left; files that a power cut damaged are dropped, for the kernel forgot those endpoints too. */
  load(): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(this.#directory)) {
      const path = join(this.#directory, name);
      const record = name.endsWith(suffix) ? parseRecord(readFileSync(path, "utf8")) : undefined;
      if (record === undefined) rmSync(path, { force: true });
      else this.#records.set(record.id, record);
    }
  }

  get(id: string): EndpointRecord | undefined {
    return this.#records.get(id);
  }

  /** Ordered by id. */
  all(): readonly EndpointRecord[] {
    return [...this.#records.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  put(record: EndpointRecord): void {
    const path = this.#path(record.id);
    writeFileSync(`${path}.new`, JSON.stringify(record));
    renameSync(`${path}.new`, path);
    this.#records.set(record.id, record);
  }

  delete(id: string): void {
    rmSync(this.#path(id), { force: true });
    this.#records.delete(id);
  }

  #path(id: string): string {
    return join(this.#directory, id + suffix);
  }
}

function parseRecord(text: string): EndpointRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const id = stringField(value, "id");
  const ipv4 = stringField(value, "ipv4");
  const ipv6 = stringField(value, "ipv6");
  const networkNamespace = stringField(value, "networkNamespace");
  if (id === undefined || ipv4 === undefined || ipv6 === undefined) return undefined;
  if (networkNamespace === undefined || !isIpv6(ipv6)) return undefined;
  const list: unknown = "ports" in value ? value.ports : undefined;
  if (!Array.isArray(list)) return undefined;
  const ports = list.map(parsePort).filter((port) => port !== undefined);
  return { id, ipv4, ipv6, networkNamespace, ports, owner: stringField(value, "owner") ?? id };
}

function parsePort(value: unknown): PortSpec | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (!("container" in value) || typeof value.container !== "number") return undefined;
  const protocol = stringField(value, "protocol");
  if (protocol !== "tcp" && protocol !== "udp") return undefined;
  const port = { container: value.container, protocol } as const;
  const isPublished = "published" in value && typeof value.published === "number";
  return isPublished ? { ...port, published: Number(value.published) } : port;
}

function stringField(value: object, name: string): string | undefined {
  const field: unknown = Reflect.get(value, name);
  return typeof field === "string" ? field : undefined;
}
