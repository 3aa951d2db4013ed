/** User names and passwords of registries, from Docker's config.json (`docker login` writes it). */
import { readFile } from "node:fs/promises";
import * as v from "valibot";
import type { Logger } from "../../../ports/logger.ts";

const entrySchema = v.object({
  auth: v.optional(v.string()),
  username: v.optional(v.string()),
  password: v.optional(v.string()),
  identitytoken: v.optional(v.string()),
});

const configSchema = v.object({
  auths: v.optional(v.record(v.string(), entrySchema), {}),
  credsStore: v.optional(v.string(), ""),
  credHelpers: v.optional(v.record(v.string(), v.string()), {}),
});

type DockerConfig = v.InferOutput<typeof configSchema>;

const dockerHubKeys = ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"];
const emptyConfig: DockerConfig = { auths: {}, credsStore: "", credHelpers: {} };

export class DockerCredentials {
  readonly #log: Logger;
  readonly #path: string | undefined;

  constructor(ports: { readonly log: Logger }, path: string | undefined) {
    this.#log = ports.log;
    this.#path = path;
  }

  /** `Basic ...` for a registry as references name it, or undefined. The file is read each time: logins change. */
  async basicFor(registry: string): Promise<string | undefined> {
    for (const entry of entriesFor(await this.#read(), registry)) {
      if (entry.auth !== undefined && entry.auth !== "") return `Basic ${entry.auth}`;
      if (entry.username !== undefined && entry.password !== undefined) {
        const plain = Buffer.from(`${entry.username}:${entry.password}`);
        return `Basic ${plain.toString("base64")}`;
      }
    }
    return undefined;
  }

  /** Why a login that the file speaks of is not used, in words; undefined when there is none. */
  async unusableFor(registry: string): Promise<string | undefined> {
    const config = await this.#read();
    if ((await this.basicFor(registry)) !== undefined) return undefined;
    if (entriesFor(config, registry).some(({ identitytoken }) => identitytoken !== undefined))
      return `${this.#path} has an identity token for it, which is not supported: log in with a password or an access token`;
    const helpers = new Map(Object.entries(config.credHelpers));
    const helper = keysFor(registry).map((key) => helpers.get(key));
    const store = helper.find((name) => name !== undefined) ?? config.credsStore;
    if (store === "") return undefined;
    return `${this.#path} leaves its password to the helper docker-credential-${store}, and the agent runs no such program: put the login under "auths"`;
  }

  async #read(): Promise<DockerConfig> {
    if (this.#path === undefined) return emptyConfig;
    try {
      const json: unknown = JSON.parse(await readFile(this.#path, "utf8"));
      return v.parse(configSchema, json);
    } catch (error) {
      const isAbsent = error instanceof Error && "code" in error && error.code === "ENOENT";
      // Its content must not reach the log: it holds passwords.
      if (!isAbsent)
        this.#log.warn("the registry credentials file cannot be used", {
          path: this.#path,
        });
      return emptyConfig;
    }
  }
}

function keysFor(registry: string): readonly string[] {
  const keys =
    registry === "docker.io" ? dockerHubKeys : [registry, `https://${registry}`, `http://${registry}`];
  return keys.flatMap((key) => [key, `${key}/`]);
}

function entriesFor(config: DockerConfig, registry: string): readonly v.InferOutput<typeof entrySchema>[] {
  const auths = new Map(Object.entries(config.auths));
  return keysFor(registry).flatMap((key) => auths.get(key) ?? []);
}
