/** User names and passwords of registries, from Docker's config.json (`docker login` writes it). */
import { readFile } from "node:fs/promises";
import * as v from "valibot";
import type { Logger } from "../../../ports/logger.ts";

const configSchema = v.object({
  auths: v.optional(
    v.record(
      v.string(),
      v.object({
        auth: v.optional(v.string()),
        username: v.optional(v.string()),
        password: v.optional(v.string()),
      }),
    ),
    {},
  ),
});

const dockerHubKeys = ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"];

export class DockerCredentials {
  readonly #log: Logger;
  readonly #path: string | undefined;

  constructor(ports: { readonly log: Logger }, path: string | undefined) {
    this.#log = ports.log;
    this.#path = path;
  }

  /** `Basic ...` for a registry as references name it, or undefined. The file is read each time: logins change. */
  async basicFor(registry: string): Promise<string | undefined> {
    const auths = await this.#read();
    const keys =
      registry === "docker.io" ? dockerHubKeys : [registry, `https://${registry}`, `http://${registry}`];
    for (const key of keys) {
      const entry = auths.get(key) ?? auths.get(`${key}/`);
      if (entry === undefined) continue;
      if (entry.auth !== undefined && entry.auth !== "") return `Basic ${entry.auth}`;
      if (entry.username !== undefined && entry.password !== undefined) {
        const plain = Buffer.from(`${entry.username}:${entry.password}`);
        return `Basic ${plain.toString("base64")}`;
      }
    }
    return undefined;
  }

  async #read(): Promise<ReadonlyMap<string, v.InferOutput<typeof configSchema>["auths"][string]>> {
    if (this.#path === undefined) return new Map();
    try {
      const json: unknown = JSON.parse(await readFile(this.#path, "utf8"));
      return new Map(Object.entries(v.parse(configSchema, json).auths));
    } catch (error) {
      const isAbsent = error instanceof Error && "code" in error && error.code === "ENOENT";
      // Its content must not reach the log: it holds passwords.
      if (!isAbsent)
        this.#log.warn("the registry credentials file cannot be used", {
          path: this.#path,
        });
      return new Map();
    }
  }
}
